# SPDX-License-Identifier: Apache-2.0
"""What a check of a set-up is, and what it comes to: the words ``rbdstore doctor`` speaks in.

A driver gives checks (:meth:`rbdstore.driver.Driver.checks`), and so does the doctor itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Literal

Verdict = Literal["pass", "warn", "fail", "skip"]
"""
pass
    it is as it should be
warn
    it works, and is not as it should be: something will be missed later
fail
    something that a service does will not work
skip
    it was not looked at, and why
"""

SHELL: Final = "shell"
SECTION: Final = "section"


@dataclasses.dataclass(frozen=True, slots=True)
class Mend:
    """A line to be pasted.

    :ivar where: ``SHELL``, of somebody who may administer the cluster and this host;
        ``SECTION``, the backend's own in the configuration; or a file with a section of it,
        as ``/etc/ceph/ceph.conf [global]``
    """

    line: str
    where: str = SHELL


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a check came to.

    :ivar seen: what was seen, in one line; no key is ever in it
    :ivar mends: lines that mend it, to be pasted in this order
    """

    verdict: Verdict
    seen: str
    mends: tuple[Mend, ...] = ()


def passed(seen: str) -> Outcome:
    return Outcome("pass", seen)


def warned(seen: str, *mends: Mend) -> Outcome:
    return Outcome("warn", seen, mends)


def failed(seen: str, *mends: Mend) -> Outcome:
    return Outcome("fail", seen, mends)


def skipped(why: str) -> Outcome:
    return Outcome("skip", why)


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing to be looked at.

    :ivar name: of one or two words, and no other check of a backend's
    :ivar look: looks at it. What it raises of :mod:`rbdstore.exceptions` is a failure of the
        check, and told as one
    :ivar needs: the names of checks without which it makes no sense to look. Where one of them
        did not pass, if only with a warning, this one is skipped
    :ivar vital: whether nothing can be done with the backend where it fails
    """

    name: str
    look: Callable[[], Outcome]
    needs: tuple[str, ...] = ()
    vital: bool = False
