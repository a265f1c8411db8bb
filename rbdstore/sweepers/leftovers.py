# SPDX-License-Identifier: Apache-2.0
"""What a sweeper is, and what it finds."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable

from rbdstore.sweepers.findings import Finding, Kind, Outcome
from rbdstore.sweepers.scanning import Scan


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Leftover:
    """Something that was left, and what can be done about it.

    Where there is no way to take it back, ``reason`` says why it is left alone; else why it is
    safe. ``take_back`` looks again whether it is, changes nothing where it is not, and may be
    called again after it was interrupted anywhere.

    :ivar rank: what is taken back before it has a smaller one
    :ivar is_cinders: Cinder takes it back, too, without a lease: it is to be given a moment
    :ivar may_go: of one that is left alone for its user: whether that one has gone; None: it never
        will, so far as can be told
    """

    item: str
    kind: Kind
    reason: str
    bytes: int | None = None
    since: float | None = None
    image_id: str = ""
    rank: int = 0
    is_cinders: bool = False
    take_back: Callable[[], object] | None = None
    is_gone: Callable[[], bool] = lambda: False
    may_go: Callable[[], bool | None] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.item, self.image_id

    def finding(self, outcome: Outcome, reason: str = "") -> Finding:
        return Finding(
            self.item,
            self.kind,
            self.bytes,
            reason or self.reason,
            outcome,
            self.since,
            self.image_id,
        )


class Sweeper(abc.ABC):
    """Knows one kind of leftovers."""

    @abc.abstractmethod
    def look(self, scan: Scan) -> Iterable[Leftover]:
        """What there is of the kind. Changes nothing."""
