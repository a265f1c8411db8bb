# SPDX-License-Identifier: Apache-2.0
"""What the commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

from cliff import command

from rbdstore import exceptions
from rbdstore.cli import interrupts, usage
from rbdstore.cli.app import RbdStore
from rbdstore.store import Store


class Command(command.Command):
    """A verb of a noun."""

    synopsis: ClassVar[str] = ""
    """Its arguments, in one line; the options that may be left out are not named there."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.usage = f"{prog_name} [OPTION]... {self.synopsis}".rstrip()
        parser.allow_abbrev = False
        usage.in_one_line(parser)
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what only this command has."""

    @property
    def program(self) -> RbdStore:
        return cast(RbdStore, self.app)

    def store(self, backend: str | None = None) -> Store:
        """The backend that the command line names, or another one of its configuration."""
        found = self.program.store(backend)
        with interrupts.at_once():
            # A location has the cluster's id in it: who wants one connects.
            found.images.uri("any")
        return found

    def each(self, names: Sequence[str], act: Callable[[str], object]) -> int:
        """Do the same to several things, whatever becomes of one; return the exit status.

        Every error is said; the first is the one that the trace is of.
        """
        failed = 0
        for name in dict.fromkeys(names):
            try:
                act(name)
            except exceptions.RbdStoreError as error:
                if len(names) == 1:
                    raise
                failed = 1
                self.app.LOG.error(error, exc_info=self.program.options.debug)
        return failed


def add_wait_and_fence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=0,
        help="how long to wait for clients that have it open (default: %(default)s)",
    )
    add_fence(parser)


def add_fence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fence",
        action="store_true",
        help="cut off those that have it open then, dead or alive, from all images for a year",
    )


def add_json(parser: argparse._ActionsContainer, *, dest: str = "formatter") -> None:
    """``dest`` is where the parser has the format that it wants."""
    parser.add_argument(
        "--json",
        dest=dest,
        action="store_const",
        const="json",
        default=argparse.SUPPRESS,
        help="the same as --format json",
    )


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask, where it is more than one")
