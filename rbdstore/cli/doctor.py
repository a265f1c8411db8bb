# SPDX-License-Identifier: Apache-2.0
"""``doctor``: what is wrong with a set-up, and the lines that mend it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import IO, Any, Final

from rich import console, table, text

from rbdstore.checks import SHELL, Mend, Verdict
from rbdstore.cli import base, interrupts, shapes, terminal
from rbdstore.doctor import Examination, Result, worst

_STATUS: Final[dict[Verdict, int]] = {"skip": 0, "pass": 0, "warn": 3, "fail": 1}  # nosec B105
_STYLES: Final[dict[Verdict, str]] = {
    "pass": "green",  # nosec B105: no password
    "warn": "yellow",
    "fail": "bold red",
    "skip": "dim",
}
_SECONDS: Final = 30


class Examine(base.Command):
    """Look at a set-up from end to end, and tell for each fault the lines that mend it.

    From the configuration and the keyring on this host to the cluster, its pools and the user's
    capabilities: these are tried by doing what a service does, with a small image that is removed
    again. The exit status is 0 where nothing is wrong, 1 where something failed, and 3 where there
    are only warnings.
    """

    synopsis = "[BACKEND]..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "backends",
            metavar="BACKEND",
            nargs="*",
            help="which to look at (default: that of --backend, or all that are enabled)",
        )
        parser.add_argument(
            "--read-only",
            action="store_true",
            help="change nothing in any pool: what is only to be tried by doing it is left out",
        )
        parser.add_argument(
            "--reads",
            metavar="BACKEND",
            action="append",
            default=[],
            help="its user is only to read in its pool, as Cinder's is in Glance's; may be given "
            "again",
        )
        parser.add_argument(
            "--timeout",
            metavar="SECONDS",
            type=_seconds,
            default=_SECONDS,
            help="how long to wait for any single answer (default: %(default)s)",
        )
        parser.add_argument(
            "-f",
            "--format",
            choices=("table", "json"),
            default="table",
            help="the output format (default: %(default)s)",
        )
        base.add_json(parser, dest="format")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        with self._examination(parsed_args) as examination, terminal.working() as tell:
            results = []
            # Nothing is begun here; and a monitor that is silent is waited for.
            with interrupts.at_once():
                for result in examination.look():
                    tell(f"{result.backend} {result.check}")
                    results.append(result)
            for result in examination.attempt():
                tell(f"{result.backend} {result.check}")
                results.append(result)
        # Both parts of a backend together.
        order = list(dict.fromkeys(result.backend for result in results))
        results.sort(key=lambda result: order.index(result.backend))
        out = self.app.stdout
        if parsed_args.format == "json":
            out.write(json.dumps(as_dict(results), indent=2) + "\n")
        else:
            show(results, out)
        return _STATUS[worst(results)]

    def _examination(self, parsed_args: argparse.Namespace) -> Examination:
        options = self.program.options
        how: dict[str, Any] = {
            "read_only": parsed_args.read_only,
            "seconds": parsed_args.timeout,
        }
        if options.driver is not None:
            return Examination.of_options(options.driver, dict(options.driver_options), **how)
        names = parsed_args.backends or ([options.backend] if options.backend else [])
        return Examination(self.program.config_file, names, reads=parsed_args.reads, **how)


def as_dict(results: Iterable[Result]) -> dict[str, Any]:
    """The shape of ``--json``, which stays; more may be added to it."""
    results = list(results)
    return {
        "result": worst(results),
        "checks": [
            {
                "backend": result.backend,
                "check": result.check,
                "result": result.verdict,
                "seen": result.seen,
                "mend": [{"where": mend.where, "line": mend.line} for mend in result.mends],
            }
            for result in results
        ],
    }


def show(results: Iterable[Result], out: IO[str]) -> None:
    """Write a table, and below it the lines that mend what is wrong, each whole, to be pasted."""
    results = list(results)
    writer = console.Console(file=out, markup=False, emoji=False, highlight=False)
    if not writer.is_terminal:
        # Else it would be folded for a terminal that is not there.
        widest = max((len(result.seen) for result in results), default=0)
        writer.width = widest + 80
    drawn = table.Table(box=None, pad_edge=False)
    for name in ("result", "backend", "check", "seen"):
        drawn.add_column(name, no_wrap=name != "seen", overflow="fold")
    for result in results:
        style = _STYLES[result.verdict]
        drawn.add_row(
            text.Text(result.verdict, style),
            shapes.printable(result.backend),
            result.check,
            shapes.printable(result.seen),
        )
    writer.print(drawn)
    for result in results:
        if result.verdict not in ("warn", "fail"):
            continue
        name = f"{result.backend}: {result.check}" if result.backend else result.check
        writer.print()
        writer.print(
            text.Text(f"{result.verdict} ", _STYLES[result.verdict])
            + f"{name}: {shapes.printable(result.seen)}",
            soft_wrap=True,
        )
        _show_mends(writer, result.mends)


def _show_mends(writer: console.Console, mends: Iterable[Mend]) -> None:
    where = ""
    for mend in mends:
        if mend.where != where:
            where = mend.where
            place = "an administrator's shell" if where == SHELL else where
            writer.print(f"  in {shapes.printable(place)}:", soft_wrap=True)
        writer.print(f"    {shapes.printable(mend.line)}", soft_wrap=True)


def _seconds(said: str) -> int:
    if not said.isdecimal() or not 1 <= int(said) <= 3600:
        raise argparse.ArgumentTypeError(f"{said!r} is no number of seconds from 1 to 3600")
    return int(said)
