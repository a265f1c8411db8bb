# SPDX-License-Identifier: Apache-2.0
"""Moving bytes from a body into an image.

Reading, hashing and writing go on at once, in pieces of the size of the image's objects. How many
bytes that keeps in memory does not depend on the image, nor on who is slow. A piece that is all
zeros is not written: a new image reads as zeros anyway.

The caller's thread alone reads the body and calls the driver. On any error, an interrupt too, what
is in flight is waited for, and the error that came first is raised.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import Final

from rbdstore import exceptions
from rbdstore.closing import Closing
from rbdstore.driver import Image, Progress
from rbdstore.settings import TRANSFER_THREADS, TRANSFER_WINDOW
from rbdstore.transfer import bodies
from rbdstore.transfer.bodies import Body, zeros
from rbdstore.transfer.hashing import Digests, Hashes
from rbdstore.transfer.window import Piece, Window, piece_length
from rbdstore.transfer.writes import Writes

# An image of unknown size grows by doubling, between these steps, and is trimmed once.
_LEAST_GROWTH: Final = 64 * 1024 * 1024
_MOST_GROWTH: Final = 16 * 1024 * 1024 * 1024

_READ_SIZE: Final = 8 * 1024 * 1024


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
    algorithm: str | None,
    progress: Progress | None,
    *,
    window: int = TRANSFER_WINDOW,
    threads: int = TRANSFER_THREADS,
) -> Digests:
    """Write a body into a new image and flush it.

    ``size`` is how many bytes the body must have; None: it ends where it ends, and the image,
    which begins empty, is made as large as that.

    :param algorithm: None: nothing is hashed, and the digests tell no more than the size
    :param window: how many bytes are in memory at once, of those that are read, hashed or written
    :param threads: how many threads hash; none: the caller's does
    :raises InvalidBody: the body is shorter or longer than ``size``, or does not give bytes
    """
    room = image.size()
    length = piece_length(image.object_size, window)
    done = 0
    with _Intake(length, algorithm, window, threads) as intake:
        with Writes(image, intake.window) as writes:
            for piece in intake.pieces(body, size):
                end = done + len(piece)
                if end > room:
                    writes.finish()
                    room = end + min(max(room, _LEAST_GROWTH), _MOST_GROWTH)
                    image.resize(room)
                if not _is_zeros(piece, length):
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
    with _Intake(piece_length(_READ_SIZE, window), algorithm, window, threads) as intake:
        for piece in intake.pieces(body, size):
            intake.hash(piece)
        return intake.digests()


class _Intake(Closing):
    """What every body goes through: it is cut, counted and hashed."""

    def __init__(self, length: int, algorithm: str | None, window: int, threads: int) -> None:
        """Cut pieces of ``length`` bytes."""
        self.window = Window(window, length)
        self._hashes = Hashes(algorithm, threads, self.window.fail)

    def close(self) -> None:
        self._hashes.close()

    def pieces(self, body: Body, size: int | None) -> Iterator[Piece]:
        """:raises InvalidBody: they are not ``size`` bytes in all, or no bytes"""
        return _exactly(size, bodies.cut(body, self.window))

    def hash(self, piece: Piece) -> None:
        """Take over a piece, which is released once it has been hashed."""
        self._hashes.update(piece, functools.partial(self.window.release, [piece]))

    def digests(self) -> Digests:
        return self._hashes.digests()


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
