# SPDX-License-Identifier: Apache-2.0
"""``tree``: which image, volume or snapshot was cloned from which."""

from __future__ import annotations

import argparse
import datetime
import io
import json
from typing import IO

import yaml

from rbdstore import loading
from rbdstore.cli import base, files, trees
from rbdstore.pictures import dot, html, svg
from rbdstore.views.forest import Forest


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
            choices=("tree", "dot", "svg", "html", "json", "yaml"),
            default="tree",
            help="lines of text; a graph for Graphviz; a drawing, to be printed; a page, to fold "
            "and to search; or plain values (default: %(default)s)",
        )
        parser.add_argument(
            "-o", "--output", metavar="FILE", default=files.STREAM, help="write it there"
        )
        parser.add_argument("--force", action="store_true", help="replace a file that is there")

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        names: list[str | None] = [*dict.fromkeys(parsed_args.backends)]
        if parsed_args.all and self.program.options.driver is None:
            names = [found.name for found in loading.backends(self.program.config_file)]
        first, *others = [self.store(name) for name in names or [None]]
        forest = first.forest(*others, every_object=parsed_args.every_object)
        if parsed_args.output == files.STREAM:
            _write(forest, parsed_args.format, self.app.stdout)
            return
        text = io.StringIO()
        _write(forest, parsed_args.format, text)
        with files.writing(parsed_args.output, force=parsed_args.force) as (file, _sparse):
            file.write(text.getvalue().encode(errors="backslashreplace"))


def _write(forest: Forest, how: str, out: IO[str]) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if how == "tree":
        trees.show(forest, out)
    elif how == "json":
        out.write(json.dumps(trees.as_dicts(forest), indent=2) + "\n")
    elif how == "yaml":
        yaml.safe_dump(trees.as_dicts(forest), out, sort_keys=False)
    elif how == "dot":
        out.write(dot.draw(forest))
    elif how == "svg":
        out.write(svg.draw(forest, now))
    else:
        out.write(html.draw(forest, now))
