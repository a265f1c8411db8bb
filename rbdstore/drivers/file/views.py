# SPDX-License-Identifier: Apache-2.0
"""Looking at an image, or at a snap of it: through its layers, and on into its parent.

A view is what the database said at one moment. Reading through it takes no lock; whoever read
loads the view again, and reads again if it is another one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from rbdstore import exceptions
from rbdstore.drivers.file.datadir import DataDirectory

T = TypeVar("T")
V = TypeVar("V")

# Up to so many objects are looked for one by one; for more, the folders are listed.
_ONE_BY_ONE: Final = 64

_CHAIN: Final = """
WITH RECURSIVE chain (number, below, depth) AS (
    SELECT number, below, 0 FROM layers WHERE number = ?
    UNION ALL
    SELECT layers.number, layers.below, depth + 1 FROM layers JOIN chain
        ON layers.number = chain.below
)
SELECT number FROM chain ORDER BY depth
"""

_OF_HEAD: Final = "SELECT number AS image, * FROM images WHERE number = ?"
_OF_SNAP: Final = """
SELECT images.pool, images.bits, snaps.* FROM snaps JOIN images ON images.number = snaps.image
WHERE snaps.number = ?
"""


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """An image as it is, or as it was at a snap.

    :ivar layers: the folders of its layers, the one that is looked into first at the beginning
    :ivar overlap: how many bytes of the parent show through
    """

    size: int
    object_size: int
    layers: tuple[str, ...]
    overlap: int
    parent: View | None

    def pieces(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Cut a stretch at the objects: the number of each, and where in it to start and stop."""
        end = offset + length
        while offset < end:
            number, start = divmod(offset, self.object_size)
            stop = min(self.object_size, start + end - offset)
            yield number, start, stop
            offset += stop - start

    def shared(self, number: int) -> tuple[View, int, int] | None:
        """The parent, and from where to where an object shows it; None: it does not."""
        first = number * self.object_size
        end = min(first + self.object_size, self.overlap)
        return (self.parent, first, end) if self.parent is not None and first < end else None


def load(
    data: DataDirectory, connection: sqlite3.Connection, image: int, snap: int | None = None
) -> View:
    """Return the view of an image, or of a snap.

    :raises NotFound: it is not there any more
    """
    if snap is None:
        row = connection.execute(_OF_HEAD, (image,)).fetchone()
    else:
        row = connection.execute(_OF_SNAP, (snap,)).fetchone()
    if row is None and snap is None:
        raise exceptions.ImageNotFound("no such image")
    if row is None:
        raise exceptions.SnapshotNotFound(f"no snapshot has id {snap}")
    layers = connection.execute(_CHAIN, (row["layer"],)).fetchall()
    return View(
        size=row["size"],
        object_size=1 << row["bits"],
        layers=tuple(
            data.layer_folder(row["pool"], row["image"], layer["number"]) for layer in layers
        ),
        overlap=row["overlap"],
        parent=None if row["parent"] is None else load(data, connection, 0, row["parent"]),
    )


def at_one_moment(view: V, again: Callable[[], V], at: Callable[[V], T]) -> T:
    """Return what is seen in ``view``, or in what ``again()`` gives if that is another by then.

    Several views may be looked at together, as one. Any of the parents may be flattened meanwhile,
    and what it let go of be overwritten.
    """
    while True:
        found = at(view)
        current = again()
        if current == view:
            return found
        view = current


def read(view: View, offset: int, length: int) -> bytes:
    """The bytes of a stretch, which is within the view."""
    parts = [_read(view, *piece) for piece in view.pieces(offset, length)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read(view: View, number: int, start: int, stop: int) -> bytes:
    with opened(view.layers, number) as fd:
        if fd is not None:
            return os.pread(fd, stop - start, start).ljust(stop - start, b"\0")
    below = view.shared(number)
    if below is None:
        return bytes(stop - start)
    parent, first, end = below
    found = read(parent, first + start, max(0, min(first + stop, end) - first - start))
    return found.ljust(stop - start, b"\0")


def object_path(layer: str, number: int) -> str:
    return os.path.join(layer, f"{number:x}")


@contextlib.contextmanager
def opened(layers: Sequence[str], number: int) -> Iterator[int | None]:
    """Give the file of the first layer that has an object; None: none has."""
    for layer in layers:
        try:
            fd = os.open(object_path(layer, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            yield fd
        finally:
            os.close(fd)
        return
    yield None


def place(view: View, number: int) -> tuple[int, int] | None:
    """Which file holds an object, own or the parent's: two that are the same are one file."""
    with opened(view.layers, number) as fd:
        if fd is not None:
            found = os.fstat(fd)
            return found.st_dev, found.st_ino
    return None


def stored(view: View, offset: int, end: int) -> Iterator[tuple[int, int]]:
    """Where in a stretch there are data: from where to where, in order. The rest is zeros."""
    for number in numbers(view, offset, end):
        first = number * view.object_size
        yield from stored_in(
            view, number, max(offset - first, 0), min(end - first, view.object_size)
        )


def stored_in(view: View, number: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The same within one object, as offsets in the image."""
    first = number * view.object_size
    with opened(view.layers, number) as fd:
        if fd is not None:
            for begin, end in _segments(fd, start, stop):
                yield first + begin, first + end
            return
    below = view.shared(number)
    if below is not None:
        parent, _first, end = below
        yield from stored(parent, first + start, min(first + stop, end))


def _segments(fd: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                return
            raise
        end = min(stop, os.lseek(fd, start, os.SEEK_HOLE))
        if start < end:
            yield start, end
        start = max(end, start + 1)


def numbers(view: View, offset: int, end: int) -> Sequence[int]:
    """The objects of a stretch that there may be something of, in order."""
    wanted = range(offset // view.object_size, -(-end // view.object_size))
    return wanted if len(wanted) <= _ONE_BY_ONE else sorted(_listed(view, wanted))


def _listed(view: View, wanted: range) -> set[int]:
    found: set[int] = set()
    for layer in view.layers:
        found.update(number for number in listed(layer) if number in wanted)
    if view.parent is not None:
        size = view.object_size
        start, end = wanted.start * size, min(wanted.stop * size, view.overlap)
        for number in numbers(view.parent, start, end) if start < end else ():
            first = max(number * view.parent.object_size, start)
            last = min((number + 1) * view.parent.object_size, end)
            found.update(range(first // size, -(-last // size)))
    return found


def listed(layer: str) -> list[int]:
    """The objects of a layer; none where it has no folder yet."""
    try:
        return [int(name, 16) for name in os.listdir(layer)]
    except FileNotFoundError:
        return []
