# SPDX-License-Identifier: Apache-2.0
"""Times on the command line: ``90s``, ``30m``, ``12h``, ``7d``."""

from __future__ import annotations

import argparse
import re
from typing import Final

_TIME: Final = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, what: str = "time") -> float:
    """Seconds, from a number with a unit."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no {what}: give a number and a unit, such as 90s, 30m, 12h or 7d"
        )
    return float(match[1]) * _SECONDS[match[2]]


def age(text: str) -> float:
    """How old something is."""
    return seconds(text, "age")


def period(text: str) -> float:
    """How much time is between two rounds: no less than a second."""
    found = seconds(text)
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is too short: give a second at least")
    return found


def period_or_never(text: str) -> float:
    """The same; 0 is never."""
    return 0.0 if text.strip() == "0" else period(text)
