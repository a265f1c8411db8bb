# SPDX-License-Identifier: Apache-2.0
"""What differs between two views of an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rbdstore.drivers.file import views
from rbdstore.drivers.file.views import View
from rbdstore.shapes import Extent

_BLOCK: Final = 4096


def extents(
    now: View, before: View | None, offset: int, end: int, *, whole_object: bool
) -> Iterator[Extent]:
    """What is stored in a stretch (``before`` is None), or what is other than it was before."""
    for number in _numbers(now, before, offset, end):
        first = number * now.object_size
        start = max(offset, first)
        stop = min(end, first + now.object_size)
        if before is not None:
            if _same_file(now, before, number):
                continue
            yield from _changed(now, before, start, stop, whole_object)
        elif not whole_object:
            yield from (Extent(a, b - a, True) for a, b in views.stored(now, start, stop))
        elif any(views.stored(now, first, first + now.object_size)):
            yield Extent(start, stop - start, True)


def _numbers(now: View, before: View | None, offset: int, end: int) -> list[int]:
    found = set(views.numbers(now, offset, end))
    if before is not None:
        found.update(views.numbers(before, offset, end))
    return sorted(found)


def _same_file(now: View, before: View, number: int) -> bool:
    # Neither has one: both show the same parent's, for a discard would have left one.
    return views.place(now, number) == views.place(before, number)


def _changed(now: View, before: View, start: int, stop: int, whole: bool) -> Iterator[Extent]:
    there = any(views.stored(now, start, stop))
    if not there and not any(views.stored(before, start, min(stop, before.size))):
        return
    if whole:
        yield Extent(start, stop - start, there)
        return
    new = views.read(now, start, stop - start)
    old = views.read(before, start, max(0, min(stop, before.size) - start))
    old = old.ljust(len(new), b"\0")
    begin: int | None = None
    for at in range(0, len(new), _BLOCK):
        differs = new[at : at + _BLOCK] != old[at : at + _BLOCK]
        if differs and begin is None:
            begin = at
        elif not differs and begin is not None:
            yield Extent(start + begin, at - begin, there)
            begin = None
    if begin is not None:
        yield Extent(start + begin, len(new) - begin, there)
