# SPDX-License-Identifier: Apache-2.0
"""Sweepers: each knows one kind of what is left in a pool, and what makes it safe to reclaim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rbdstore.sweepers.backups import Backups
from rbdstore.sweepers.debris import Debris, Strays
from rbdstore.sweepers.images import Images
from rbdstore.sweepers.journals import Journals
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.links import Links
from rbdstore.sweepers.records import Records
from rbdstore.sweepers.scanning import Scan

__all__ = ["SWEEPERS", "Leftover", "Scan", "Sweeper"]

SWEEPERS: Final[Sequence[Sweeper]] = (
    Journals(),
    Backups(),
    Links(),
    Images(),
    Records(),
    Debris(),
    Strays(),
)
"""In the order in which what they find is taken back."""
