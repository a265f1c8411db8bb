# SPDX-License-Identifier: Apache-2.0
"""Checks, one after the other; what depends on a failed one is skipped, and says so."""

from __future__ import annotations

import dataclasses
from typing import Final

from oslo_log import log

from rbdstore import exceptions
from rbdstore.checks import SECTION, Check, Mend, Outcome, Verdict, failed, skipped

LOG = log.getLogger(__name__)

_ORDER: Final[tuple[Verdict, ...]] = ("skip", "pass", "warn", "fail")


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a check came to.

    :ivar backend: the name of the backend that was looked at; empty: the configuration as a
        whole, or the one backend of the command line
    """

    backend: str
    check: str
    verdict: Verdict
    seen: str
    mends: tuple[Mend, ...] = ()


def worst(results: list[Result]) -> Verdict:
    """``fail`` or ``warn`` where there is one, else ``pass``."""
    return max((result.verdict for result in results), key=_ORDER.index, default="pass")


class Walk:
    """What is looked at of one backend, and what it came to so far.

    :param section: where a line for the backend's section is to be pasted
    """

    def __init__(self, backend: str, section: str) -> None:
        self.backend = backend
        self.broken = ""
        self._section = section
        self._verdicts: dict[str, Verdict] = {}

    def take(self, check: Check) -> Result:
        """Look, unless that makes no sense."""
        lacking = [name for name in check.needs if not self.holds(name)]
        if lacking or self.broken:
            outcome = skipped(
                f"needs {lacking[0] if lacking else self.broken}, which did not pass"
            )
        else:
            outcome = _looked(check)
        self._verdicts[check.name] = outcome.verdict
        if check.vital and outcome.verdict == "fail":
            self.broken = check.name
        return self._result(check.name, outcome)

    def tell(self, name: str, outcome: Outcome) -> Result:
        """What was found out already."""
        return self.take(Check(name, lambda: outcome))

    def holds(self, name: str) -> bool:
        """Whether a check has passed, if only with a warning."""
        return self._verdicts.get(name) in ("pass", "warn")

    def _result(self, name: str, outcome: Outcome) -> Result:
        mends = tuple(
            Mend(mend.line, self._section) if mend.where == SECTION else mend
            for mend in outcome.mends
        )
        # A text of the driver's may be of several lines.
        seen = " ".join(outcome.seen.split())
        return Result(self.backend, name, outcome.verdict, seen, mends)


def _looked(check: Check) -> Outcome:
    try:
        return check.look()
    except exceptions.PermissionDenied as error:
        said = f"{error.spec}: {error.lacking}" if error.spec else error.lacking
        return failed(said, *([Mend(error.mend)] if error.mend else ()))
    except exceptions.RbdStoreError as error:
        return failed("; ".join([str(error), *getattr(error, "__notes__", ())]))
    except Exception as error:
        # An answer of a release that nobody has seen yet, for one. All else is looked at still.
        LOG.debug("%s could not be looked at", check.name, exc_info=True)
        return failed(f"it could not be looked at: {type(error).__name__}: {error}")
