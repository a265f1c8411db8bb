# SPDX-License-Identifier: Apache-2.0
"""``flatten``: every volume of a pool that is deeper than it should be."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister

from rbdstore import exceptions
from rbdstore.cli import base, shapes, terminal
from rbdstore.store import Store
from rbdstore.views import depths
from rbdstore.views.looking import Tree


class Flatten(base.Command, lister.Lister):
    """Flatten the volumes of the backend's pool that have too many parents above them.

    Of a chain only as many are as need be: what was cloned from a flattened volume is less deep
    then. They stay in use. Whatever becomes of one, the others are flattened. To flatten a single
    one: volume flatten.
    """

    synopsis = "--deeper-than N"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--deeper-than",
            metavar="N",
            type=_depth,
            required=True,
            help="flatten so that no volume has more than so many parents above it",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell which ones these are"
        )
        base.add_yes(parser)

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.failed = 0
        return int(super().run(parsed_args)) or self.failed

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        store, most = self.store(), parsed_args.deeper_than
        planned = depths.too_deep(store.forest(), most)
        if parsed_args.dry_run:
            rows = [_row(tree, "would be flattened") for tree in planned]
        else:
            terminal.confirm("flatten", [tree.name for tree in planned], yes=parsed_args.yes)
            rows = [self._flatten(store, tree, most) for tree in planned]
        return ("name", "size", "parent", "depth", "outcome", "reason"), rows

    def _flatten(self, store: Store, tree: Tree, most: int) -> Sequence[Any]:
        try:
            # It was raised already where somebody else flattened one above it.
            if store.volumes.get(tree.name).depth <= most:
                return _row(tree, "left", f"it is no deeper than {most} any more")
            with terminal.steps(f"flatten {shapes.printable(tree.name)}") as progress:
                store.volumes.flatten(tree.name, progress=progress)
        except exceptions.ImageNotFound:
            return _row(tree, "left", "it is not there any more")
        except exceptions.RbdStoreError as error:
            self.failed = 1
            self.app.LOG.error(error, exc_info=self.program.options.debug)
            return _row(tree, "failed", str(error))
        return _row(tree, "flattened")


def _depth(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no depth: give a whole number, 0 or more")
    return number


def _row(tree: Tree, outcome: str, reason: str | None = None) -> Sequence[Any]:
    parent = None if tree.parent is None else tree.parent.spec
    return (
        shapes.Name(tree.name),
        shapes.Size(tree.size),
        shapes.parent(parent),
        tree.depth,
        outcome,
        shapes.Maybe(reason),
    )
