# SPDX-License-Identifier: Apache-2.0
"""``gc``: what crashes, and other drivers, have left in a pool."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cliff import lister

from rbdstore.cli import base, shapes

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Collect(base.Command, lister.Lister):
    """Find what crashes, and other drivers, have left in the pool; with --apply, reclaim it.

    Without --apply nothing is changed. Never touched is what somebody has open or is at work on,
    what has clones or a user's snapshot, and what has a name that is not known; the reason says
    so.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--apply", action="store_true", help="reclaim what is safe to, and tell the outcome"
        )
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            type=age,
            default=0,
            help="leave alone what is younger, or of unknown age: 30m, 12h, 7d",
        )
        parser.add_argument(
            "--json",
            dest="formatter",
            action="store_const",
            const="json",
            default=argparse.SUPPRESS,
            help="the same as --format json",
        )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found = self.store().gc(apply=parsed_args.apply, older_than=parsed_args.older_than)
        return ("item", "kind", "bytes", "outcome", "reason"), [
            (
                shapes.Name(each.item),
                each.kind,
                shapes.Size(each.bytes),
                each.outcome,
                shapes.Name(each.reason),
            )
            for each in found.findings
        ]


def age(text: str) -> float:
    """Seconds, from a number with a unit: ``90s``, ``30m``, ``12h``, ``7d``."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no age: give a number and a unit, such as 90s, 30m, 12h or 7d"
        )
    return float(match[1]) * _SECONDS[match[2]]
