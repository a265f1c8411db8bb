# SPDX-License-Identifier: Apache-2.0
"""``tree``: which image, volume or snapshot was cloned from which."""

from __future__ import annotations

import argparse
import json

import yaml

from rbdstore import loading
from rbdstore.cli import base, trees


class Show(base.Command):
    """Show the clone forest of a pool: what was cloned from what, and what each uses.

    Below each image are its clones, wherever they are; what is in the trash because clones need
    it is there, too. A depth beyond the backend's limit is marked with an exclamation mark. A
    question mark stands for what would only be known if every object were asked.
    """

    synopsis = "[BACKEND]..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "backends",
            metavar="BACKEND",
            nargs="*",
            help="backends of one cluster, whose pools to show (default: that of --backend)",
        )
        parser.add_argument("--all", action="store_true", help="all backends of the configuration")
        parser.add_argument(
            "--every-object",
            action="store_true",
            help="ask every object, where nothing else tells what is used; that may take long",
        )
        parser.add_argument(
            "-f",
            "--format",
            choices=("tree", "json", "yaml"),
            default="tree",
            help="the output format (default: %(default)s)",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        names: list[str | None] = [*dict.fromkeys(parsed_args.backends)]
        if parsed_args.all and self.program.options.driver is None:
            names = [found.name for found in loading.backends(self.program.config_file)]
        first, *others = [self.store(name) for name in names or [None]]
        forest = first.forest(*others, every_object=parsed_args.every_object)
        out = self.app.stdout
        if parsed_args.format == "tree":
            trees.show(forest, out)
        elif parsed_args.format == "json":
            out.write(json.dumps(trees.as_dicts(forest), indent=2) + "\n")
        else:
            yaml.safe_dump(trees.as_dicts(forest), out, sort_keys=False)
