# SPDX-License-Identifier: Apache-2.0
"""Telling what the main job does, how long it takes, and what is not as it should be."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from oslo_utils import units
from rich import console, progress

out = console.Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


class Mismatch(Exception):
    """Something is not what it should be."""


def check(good: bool, what: str) -> None:
    if not good:
        raise Mismatch(what)


def title(text: str) -> None:
    out.print(f"\n{text}")


def say(what: str) -> None:
    out.print(f"            {what}")


@contextlib.contextmanager
def timed(what: str) -> Iterator[list[str]]:
    """Print what was done, and how long it took, with the notes put into the list."""
    begun = time.monotonic()
    notes: list[str] = []
    yield notes
    seconds = time.monotonic() - begun
    out.print(f"  {seconds:6.2f} s  {what}{''.join(f'; {note}' for note in notes)}")


@contextlib.contextmanager
def transfer_meter(label: str, total: int) -> Iterator[Callable[[int, int | None], object]]:
    """Give a ``progress(done, total)`` that draws a bar, or prints lines if not on a terminal."""
    if out.is_terminal:
        columns = (
            progress.TextColumn("  {task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=out) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done, _total: bar.update(task, completed=done)
        return
    begun, quarters = time.monotonic(), 0

    def report(done: int, _total: int | None) -> None:
        nonlocal quarters
        if done * 4 // total > quarters:
            quarters = done * 4 // total
            rate = done / units.Mi / max(time.monotonic() - begun, 1e-6)
            out.print(f"            {label}: {done // units.Mi} MiB, {rate:.0f} MiB/s")

    yield report
