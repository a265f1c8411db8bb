# SPDX-License-Identifier: Apache-2.0
"""``snapshot``: the states of a volume that one can go back to, or clone."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister

from rbdstore.cli import base, shapes, terminal


def _snapshot_argument(parser: argparse.ArgumentParser, **how: Any) -> None:
    parser.add_argument(
        "snapshot",
        metavar="VOLUME@SNAPSHOT",
        type=shapes.snapshot,
        help="names of volume and snapshot",
        **how,
    )


class Create(base.Command):
    """Snapshot a volume, in use or not."""

    synopsis = "VOLUME@SNAPSHOT"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _snapshot_argument(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.store().volumes.create_snapshot(*parsed_args.snapshot)


class List(base.Command, lister.Lister):
    """List the snapshots of a volume, oldest first."""

    synopsis = "VOLUME"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", help="its name")

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found = self.store().volumes.get(parsed_args.volume)
        return ("name",), [(shapes.Name(name),) for name in found.snapshots]


class Delete(base.Command):
    """Delete snapshots. One that is not there is no error."""

    synopsis = "VOLUME@SNAPSHOT..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _snapshot_argument(parser, nargs="+")
        base.add_yes(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        volumes = self.store().volumes
        named = {"@".join(pair): pair for pair in parsed_args.snapshot}
        terminal.confirm("delete", [*named], yes=parsed_args.yes)
        return self.each([*named], lambda name: volumes.delete_snapshot(*named[name]))


class Revert(base.Command):
    """Make a volume what it was when it was snapshotted. What was written since is lost."""

    synopsis = "VOLUME@SNAPSHOT"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _snapshot_argument(parser)
        base.add_wait_and_fence(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        volumes = self.store().volumes
        wait, fence = parsed_args.wait, parsed_args.fence
        volumes.revert_to_snapshot(*parsed_args.snapshot, wait=wait, fence=fence)
