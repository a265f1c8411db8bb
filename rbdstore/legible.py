# SPDX-License-Identifier: Apache-2.0
"""Sizes, counts and names as people read them."""

from __future__ import annotations

import decimal
import math
import time
from collections.abc import Iterable
from typing import Final

PREFIXES: Final = "KMGTPE"
_MOST_NAMES: Final = 5


def size_text(number: int) -> str:
    """A size with its unit, rounded: ``20 GiB``, ``1.5 GiB``, ``100 B``."""
    value, unit = decimal.Decimal(number), "B"
    for prefix in PREFIXES:
        if value < 1024:
            break
        value, unit = value / 1024, f"{prefix}iB"
    digits = f"{value:.1f}".removesuffix(".0")
    return f"{digits} {unit}"


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: other clients give images any name."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def kept_until(seconds: float) -> str:
    """Why what is in the trash stays there, whose time ends so many seconds after 1970."""
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(math.ceil(seconds)))
    return f"it is kept until {until}"


def count(number: int, what: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def some(names: Iterable[str]) -> str:
    """The first of many names, and how many more there are."""
    found = [printable(name) for name in names]
    shown = ", ".join(found[:_MOST_NAMES])
    more = len(found) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
