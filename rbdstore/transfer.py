# SPDX-License-Identifier: Apache-2.0
"""Moving bytes: from a body into an image, and from an image to a reader.

Reading, hashing and writing go on at once, and so do several reads of an image, in pieces of the
size of its objects. How many bytes that keeps in memory does not depend on the image, nor on who
is slow: the body, the cluster or the reader. A piece that is all zeros is not written, and where
an image has no data nothing is read.

The caller's thread alone reads the body and calls the driver. On any error, an interrupt too, what
is in flight is waited for, and the error that came first is raised.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import io
import itertools
import types
from collections.abc import Iterable, Iterator
from typing import Final, Self

from rbdstore import bodies, exceptions
from rbdstore.bodies import Body, zeros
from rbdstore.completions import Completion, Ended
from rbdstore.driver import Extent, Image, Progress
from rbdstore.hashing import Digests, Hashes
from rbdstore.settings import TRANSFER_THREADS, TRANSFER_WINDOW
from rbdstore.window import Piece, Window

__all__ = [
    "Body",
    "Digests",
    "check_algorithm",
    "check_body",
    "check_progress",
    "drain",
    "fill",
    "measure",
]

# An image of unknown size grows by doubling, between these steps, and is trimmed once.
_LEAST_GROWTH: Final = 64 * 1024 * 1024
_MOST_GROWTH: Final = 16 * 1024 * 1024 * 1024

_READ_SIZE: Final = 8 * 1024 * 1024

# Pieces without data need no room; this many may be known of ahead.
_MOST_PIECES: Final = 64


def check_algorithm(name: object) -> str:
    """:raises InvalidInput: hashlib has no hash of a fixed length by that name"""
    try:
        if not isinstance(name, str) or hashlib.new(name).digest_size == 0:
            raise ValueError
    except (TypeError, ValueError):
        # TypeError is what OpenSSL has for text that it cannot take as a name.
        raise exceptions.InvalidInput(
            f"hashing_algo: {exceptions.shown(name)} is no hash algorithm; there are "
            + ", ".join(sorted(hashlib.algorithms_guaranteed))
        ) from None
    return str.__str__(name)


def check_progress(progress: object) -> None:
    """:raises InvalidInput: it cannot be called"""
    if progress is not None and not callable(progress):
        raise exceptions.InvalidInput(
            f"progress is called as progress(done, total), which a {type(progress).__name__} "
            "cannot be"
        )


def fill(
    image: Image,
    body: Body,
    size: int | None,
    algorithm: str,
    progress: Progress | None,
    *,
    window: int = TRANSFER_WINDOW,
    threads: int = TRANSFER_THREADS,
) -> Digests:
    """Write a body into a new image and flush it.

    ``size`` is how many bytes the body must have; None: it ends where it ends, and the image,
    which begins empty, is made as large as that.

    :param window: how many bytes are in memory at once, of those that are read, hashed or written
    :param threads: how many threads hash; none: the caller's does
    :raises InvalidBody: the body is shorter or longer than ``size``, or does not give bytes
    """
    room = image.size()
    object_size = image.object_size
    done = 0
    with _Intake(object_size, algorithm, window, threads) as intake:
        with _Writes(image, intake.window) as writes:
            for piece in intake.pieces(body, size):
                end = done + len(piece)
                if end > room:
                    writes.finish()
                    room = end + min(max(room, _LEAST_GROWTH), _MOST_GROWTH)
                    image.resize(room)
                if not _is_zeros(piece, object_size):
                    writes.begin(done, piece)
                intake.hash(piece)
                del piece
                done = end
                if progress is not None:
                    progress(end, end if size is None else size)
            writes.finish()
        if room != done:
            image.resize(done, allow_shrink=True)
        image.flush()
        return intake.digests()


def measure(
    body: Body,
    size: int | None,
    algorithm: str,
    *,
    window: int = TRANSFER_WINDOW,
    threads: int = TRANSFER_THREADS,
) -> Digests:
    """Read a body to its end and keep nothing but its digests.

    :raises InvalidBody: as for :func:`fill`
    """
    with _Intake(_READ_SIZE, algorithm, window, threads) as intake:
        for piece in intake.pieces(body, size):
            intake.hash(piece)
        return intake.digests()


def drain(
    image: Image, offset: int, length: int, *, window: int = TRANSFER_WINDOW
) -> Iterator[bytes]:
    """Read a stretch of an image, in pieces that end where its objects end.

    :param window: how many bytes are read ahead of whoever takes the pieces
    """
    object_size = image.object_size
    objects = _objects(image, object_size, offset, offset + length)
    reads = _Reads(image, window, object_size)
    try:
        while reads.look_ahead(objects):
            yield reads.take()
    finally:
        reads.wait()


class _Reads:
    """What is read ahead, in order."""

    def __init__(self, image: Image, window: int, object_size: int) -> None:
        self._image = image
        self._window = window
        self._zeros = zeros(object_size)
        self._object_size = object_size
        self._pieces: collections.deque[tuple[int, Completion[bytes]]] = collections.deque()
        self._taken = 0

    def look_ahead(self, objects: Iterator[tuple[int, int, bool]]) -> bool:
        """Begin as many reads as there is room for. False: everything has been taken."""
        while not self._pieces or (
            self._taken + self._object_size <= self._window and len(self._pieces) < _MOST_PIECES
        ):
            found = next(objects, None)
            if found is None:
                break
            self._begin(*found)
        return bool(self._pieces)

    def _begin(self, start: int, stop: int, has_data: bool) -> None:
        size = stop - start
        if has_data:
            self._pieces.append((size, self._image.aio_read(start, size)))
            self._taken += size
        else:
            whole = size == self._object_size
            self._pieces.append((0, Ended(self._zeros if whole else self._zeros[:size])))

    def take(self) -> bytes:
        """Wait for the next piece."""
        size, completion = self._pieces[0]
        piece = completion.result()
        self._pieces.popleft()
        self._taken -= size
        return piece

    def wait(self) -> None:
        """Return when nothing is in flight."""
        for _size, completion in self._pieces:
            completion.wait()


def _objects(
    image: Image, object_size: int, offset: int, end: int
) -> Iterator[tuple[int, int, bool]]:
    """Each object of a stretch: from where to where, and whether there may be data in it."""
    extents: Iterator[Extent] = iter([Extent(offset, end - offset, True)])
    # What a parent has would have to be asked for object by object.
    if offset < end and image.fast_diff() and image.parent() is None:
        extents = image.extents(offset, end - offset, whole_object=True)
    data = (extent for extent in extents if extent.exists)
    extent = next(data, None)
    while offset < end:
        stop = min(end, (offset // object_size + 1) * object_size)
        while extent is not None and extent.offset + extent.length <= offset:
            extent = next(data, None)
        yield offset, stop, extent is not None and extent.offset < stop
        offset = stop


class _Intake:
    """What every body goes through: it is cut, counted and hashed."""

    def __init__(self, length: int, algorithm: str, window: int, threads: int) -> None:
        """Cut pieces of ``length`` bytes."""
        self.window = Window(window, length)
        self._hashes = Hashes(algorithm, threads, self.window.fail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._hashes.close()

    def pieces(self, body: Body, size: int | None) -> Iterator[Piece]:
        """:raises InvalidBody: they are not ``size`` bytes in all, or no bytes"""
        return _exactly(size, bodies.cut(body, self.window))

    def hash(self, piece: Piece) -> None:
        """Take over a piece, which is released once it has been hashed."""
        self._hashes.update(piece, functools.partial(self.window.release, [piece]))

    def digests(self) -> Digests:
        return self._hashes.digests()


class _Writes:
    """The writes in flight to an image; none once the ``with`` is left, by whatever error.

    If that is none of theirs, but one of them had failed before, theirs is raised instead.
    """

    def __init__(self, image: Image, window: Window) -> None:
        self._image = image
        self._window = window
        self._numbers = itertools.count()
        self._flying: dict[int, Completion[None]] = {}
        # The numbers of those that have ended, in that order. Others' threads append to it.
        self._ended: collections.deque[int] = collections.deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        failed = len(self._ended)
        for completion in self._flying.values():
            completion.wait()
        if isinstance(error, Exception) and not self._failed:
            # What failed while the body was read did so before the body.
            self._check(failed)

    def begin(self, offset: int, piece: Piece) -> None:
        """Begin a write; the piece is free when this returns.

        :raises: what an earlier one has failed with
        """
        length = len(piece)
        # The driver makes a copy of its own.
        self._window.take(length, beside=self._window.length)
        self._check(len(self._ended))
        number = next(self._numbers)
        done = functools.partial(self._done, number, length)
        self._flying[number] = self._image.aio_write(offset, piece, done)

    def _done(self, number: int, length: int) -> None:
        self._ended.append(number)
        self._window.give(length)

    def finish(self) -> None:
        """Wait for all of them."""
        for completion in self._flying.values():
            completion.wait()
        self._check(len(self._ended))

    def _check(self, count: int) -> None:
        """Look how those went that have ended, the first ``count`` of them."""
        for _ in range(count):
            completion = self._flying.pop(self._ended.popleft())
            try:
                completion.result()
            except BaseException:
                self._failed = True
                raise


def _is_zeros(piece: Piece, length: int) -> bool:
    """:param length: that of all pieces but the last"""
    whole = zeros(length)
    return piece == (whole if len(piece) == length else whole[: len(piece)])


def _exactly(size: int | None, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Pass ``pieces`` on, seeing that they are ``size`` bytes in all."""
    done = 0
    for piece in pieces:
        done += len(piece)
        if size is not None and done > size:
            raise exceptions.InvalidBody(
                f"the data goes on after the {size} bytes that were promised"
            )
        yield piece
        # It is not to be in memory any more while the next one is waited for.
        del piece
    if size is not None and done < size:
        raise exceptions.InvalidBody(
            f"the data ends after {done} of the {size} bytes that were promised"
        )


def check_body(body: object) -> None:
    """:raises InvalidBody: nothing can be read from it"""
    if _is_closed(body):
        raise exceptions.InvalidBody("the data is a file that has been closed")
    if isinstance(body, io.TextIOBase):
        raise exceptions.InvalidBody("the data is a file in text mode; open it in binary mode")
    if isinstance(body, io.IOBase) and not body.readable():
        raise exceptions.InvalidBody("the data is a file that was not opened for reading")
    if not _can_be_read(body):
        raise exceptions.InvalidBody(
            "the data must be a binary file, bytes, or an iterable of bytes, "
            f"not {exceptions.shown(body) if isinstance(body, type) else type(body).__name__}"
        )


def _is_closed(body: object) -> bool:
    try:
        return getattr(body, "closed", False) is True
    except ValueError:
        # What it was opened on has been detached.
        return True


def _can_be_read(body: object) -> bool:
    if isinstance(body, bytes | bytearray):
        return True
    if isinstance(body, str | memoryview | type):
        return False
    if hasattr(body, "read"):
        return callable(body.read)
    return callable(getattr(type(body), "__iter__", None))
