# SPDX-License-Identifier: Apache-2.0
"""What a terminal is for: progress that moves, and questions.

All of it is on stderr, so that stdout holds what was asked for and nothing else.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from rich import console, progress, text

from rbdstore import exceptions
from rbdstore.cli import shapes
from rbdstore.driver import Progress


class _Rate(progress.ProgressColumn):
    """Bytes a second, in the units of everything else here; rich's own are powers of ten."""

    def render(self, task: progress.Task) -> text.Text:
        speed = task.finished_speed or task.speed
        return text.Text("" if speed is None else f"{shapes.size_text(int(speed))}/s")


def stderr() -> console.Console:
    """For text that holds names: nothing in it is taken for markup."""
    return console.Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def meter(
    what: str, total: int | None = None, *, grows: bool = False
) -> Iterator[Progress | None]:
    """Give a ``progress(done, total)`` that draws bytes, rate and remaining time.

    With ``grows`` it is the one that knows the total, which may become more.

    Where stderr is no terminal there is nothing to draw on: None.
    """
    out = stderr()
    if not out.is_terminal:
        yield None
        return
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        _Rate(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def report(done: int, all_so_far: int) -> None:
            # Of a body of unknown size, "all" is what there was so far.
            bar.update(task, completed=done, total=all_so_far if grows else total)

        yield report


@contextlib.contextmanager
def steps(what: str) -> Iterator[Progress | None]:
    """The same for work that is counted in steps of no unit, such as flattening."""
    with many_steps() as begin:
        yield None if begin is None else begin(what)


@contextlib.contextmanager
def many_steps() -> Iterator[Callable[[str], Progress] | None]:
    """The same of several things at once: gives what begins a bar for each."""
    out = stderr()
    if not out.is_terminal:
        yield None
        return
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=out, transient=True) as bars:

        def begin(what: str) -> Progress:
            task = bars.add_task(what, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield begin


@contextlib.contextmanager
def working() -> Iterator[Callable[[str], object]]:
    """Give what shows, while something is waited for, how far it is: the last thing done."""
    out = stderr()
    if not out.is_terminal:
        yield lambda _text: None
        return
    with out.status("") as status:
        yield lambda said: status.update(text.Text(shapes.printable(said)))


def confirm(verb: str, things: Sequence[str], *, yes: bool) -> None:
    """Ask before several things are destroyed by one command.

    :raises InvalidInput: the answer is no, or there is nobody to ask
    """
    if yes or len(things) < 2:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise exceptions.InvalidInput(
            f"{verb} {len(things)} things at once? Nobody is there to ask: add --yes"
        )
    out = stderr()
    out.print(f"{verb} these {len(things)}?")
    for thing in things:
        out.print(f"  {thing}")
    if out.input("yes or no: ").strip().lower() not in ("y", "yes"):
        raise exceptions.InvalidInput("nothing was done")
