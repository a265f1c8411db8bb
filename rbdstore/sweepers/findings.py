# SPDX-License-Identifier: Apache-2.0
"""What was left in a pool, as it is told."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal[
    "journal",
    "draft",
    "snapshot",
    "export",
    "backup",
    "deleted",
    "trash",
    "record",
    "debris",
    "stray",
    "torn",
    "pool",
]
"""
journal
    the object of a lease: who is, or was, at work on a name, and how far
draft
    an image that was being made
snapshot
    one that carries clones only: this library's, or Cinder's ``.clone_snap``
export
    one that a volume or disk was to become an image by
backup
    what is left of one: its manifest with its image, the empty catalog, the snapshot of a volume
deleted
    a volume that was deleted and renamed, to be kept for its clones: Cinder's way
trash
    an image in the trash
record
    the object that says what was cloned from an image, and whether that is deleted
debris
    a name that is taken by something half made, half renamed or half removed
stray
    objects of an image that neither a name nor the trash leads to
torn
    a clone that its parent does not know of, or whose parent is gone; mended, it stays
pool
    a pool, or an image with its parent in one, that could not be looked into
"""

Outcome = Literal["reclaimable", "reclaimed", "left"]
"""It may be reclaimed; it was; it is left alone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A leftover, or what looks like one.

    :ivar item: where it is, as ``rbd`` writes it
    :ivar bytes: how many it holds; None: not known
    :ivar reason: why it is safe to reclaim, or why it is left alone
    :ivar since: when it was seen to be alive last, or else made, in seconds since 1970
    :ivar image_id: of an image, for one whose name does not tell which
    """

    item: str
    kind: Kind
    bytes: int | None
    reason: str
    outcome: Outcome
    since: float | None = None
    image_id: str = ""

    @property
    def is_safe(self) -> bool:
        return self.outcome != "left"

    @property
    def is_done(self) -> bool:
        return self.outcome == "reclaimed"


@dataclasses.dataclass(frozen=True, slots=True)
class Collected:
    """What one pass over a pool came to.

    :ivar applied: whether what may be reclaimed was to be; else it was only looked for
    """

    findings: tuple[Finding, ...]
    applied: bool

    @property
    def reclaimed(self) -> tuple[Finding, ...]:
        return tuple(found for found in self.findings if found.outcome == "reclaimed")

    @property
    def left(self) -> tuple[Finding, ...]:
        return tuple(found for found in self.findings if found.outcome == "left")
