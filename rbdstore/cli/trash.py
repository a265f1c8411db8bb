# SPDX-License-Identifier: Apache-2.0
"""``trash``: what is deleted and not gone yet."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister

from rbdstore.cli import base, shapes


class List(base.Command, lister.Lister):
    """List what is in the trash of the backend's pool, and why it stays there.

    Where no reason is given the next purge removes it.
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        return ("name", "id", "size", "kept_until", "clones", "ours", "reason"), [
            (
                shapes.Name(one.name),
                one.image_id,
                shapes.Size(one.size),
                shapes.Moment(one.kept_until),
                shapes.Lines([str(clone) for clone in one.clones or ()]),
                one.is_ours,
                shapes.Maybe(one.kept or None),
            )
            for one in self.store().trash.list()
        ]


class Restore(base.Command):
    """Bring back what was deleted and is still in the trash, under the name it had or another.

    What was cloned from it stays its clone. What rbdstore did not put there is not brought back;
    "rbd trash restore" does that.
    """

    synopsis = "NAME|ID..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "image", metavar="NAME|ID", nargs="+", help="the name it had, or its id in the trash"
        )
        parser.add_argument(
            "--name", metavar="NEW-NAME", help="the name that it gets (default: the one it had)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only see whether it can be done"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.name is not None and len(parsed_args.image) > 1:
            raise argparse.ArgumentTypeError("--name is for one image")
        trash, name = self.store().trash, parsed_args.name

        def restore(image: str) -> None:
            trash.restore(image, name)

        def check(image: str) -> None:
            found = trash.check_restore(image, name)
            self.app.stdout.write(f"would be restored: {shapes.printable(found)}\n")

        return self.each(parsed_args.image, check if parsed_args.dry_run else restore)


class Purge(base.Command, lister.Lister):
    """Remove for good what was deleted, where nothing needs it and its time in the trash is over.

    What rbdstore did not put there stays; so does what clones need. With the option
    enable_deferred_deletion this is done in the background as well.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell what would go, and what would not"
        )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        store = self.store()
        if parsed_args.dry_run:
            rows = [
                (
                    shapes.Name(one.name),
                    "kept" if one.kept else "would be purged",
                    shapes.Maybe(one.kept or None),
                )
                for one in store.trash.list()
            ]
            return ("name", "outcome", "reason"), rows
        found = store.purge_deleted()
        rows = [(shapes.Name(name), "purged", shapes.Maybe(None)) for name in found.purged]
        rows += [(shapes.Name(one.name), "kept", shapes.Maybe(one.reason)) for one in found.kept]
        return ("name", "outcome", "reason"), rows
