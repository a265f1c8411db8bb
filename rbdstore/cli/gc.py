# SPDX-License-Identifier: Apache-2.0
"""``gc``: what crashes, and other drivers, have left in a pool."""

from __future__ import annotations

import argparse
import datetime
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cliff import lister

from rbdstore import exceptions
from rbdstore.cli import base, interrupts, periods, shapes
from rbdstore.store import Store


class Collect(base.Command, lister.Lister):
    """Find what crashes, and other drivers, have left in the pool; with --apply, reclaim it.

    Without --apply nothing is changed. Never touched is what somebody has open or is at work on,
    what has clones or a user's snapshot, and what has a name that is not known; the reason says
    so.

    With --interval it is done again and again, until SIGTERM or Ctrl-C, with a line for each
    round, or a JSON object with --json. An outage is such a line, too. Any number of these may
    run side by side, also beside services.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--apply", action="store_true", help="reclaim what is safe to, and tell the outcome"
        )
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            type=periods.age,
            default=0,
            help="leave alone what is younger, or of unknown age: 30m, 12h, 7d",
        )
        parser.add_argument(
            "--interval",
            metavar="TIME",
            type=periods.period,
            help="do it again every so often, such as 1h, give or take a tenth",
        )
        base.add_json(parser)

    def run(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.interval is None:
            return int(super().run(parsed_args))
        # Opened once, though not connected yet: a configuration that is wrong is no outage.
        store = self.program.store()
        with interrupts.as_an_end():
            self._repeat(store, parsed_args)
        return 0

    def _repeat(self, store: Store, parsed_args: argparse.Namespace) -> None:
        while True:
            told = _round(store, parsed_args.apply, parsed_args.older_than)
            line = json.dumps(told) if parsed_args.formatter == "json" else _line(told)
            self.app.stdout.write(shapes.printable(line) + "\n")
            self.app.stdout.flush()
            # Not all of them at the same moment.
            time.sleep(parsed_args.interval * random.uniform(0.9, 1.1))  # nosec B311: only a jitter

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


def _round(store: Store, apply: bool, older_than: float) -> dict[str, Any]:
    """One pass, as it is told. Whatever the cluster says, there is a next one."""
    told: dict[str, Any] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "pool": store.pool_name,
    }
    begun = time.monotonic()
    try:
        found = store.gc(apply=apply, older_than=older_than).findings
    except exceptions.RbdStoreError as error:
        return {**told, "error": str(error)}
    told["found"] = len(found)
    for outcome in ("reclaimable", "reclaimed", "left"):
        told[outcome] = sum(each.outcome == outcome for each in found)
    return {**told, "seconds": round(time.monotonic() - begun, 3)}


def _line(told: Mapping[str, Any]) -> str:
    begin = f"{told['time']} pool {told['pool']}: "
    if "error" in told:
        return f"{begin}not this time: {told['error']}"
    return (
        f"{begin}{told['found']} found, {told['reclaimable']} reclaimable, "
        f"{told['reclaimed']} reclaimed, {told['left']} left, in {told['seconds']} s"
    )
