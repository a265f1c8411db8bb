# SPDX-License-Identifier: Apache-2.0
"""Moving bytes: from a body into an image, and from an image to a reader.

One piece at a time, of the size of the image's objects, so that memory does not grow with the
image. A piece that is all zeros is not written: a new image reads as zeros anyway.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from rbdstore import exceptions
from rbdstore.driver import Image, Progress

# An image of unknown size grows by doubling, between these steps, and is trimmed once.
_LEAST_GROWTH = 64 * 1024 * 1024
_MOST_GROWTH = 16 * 1024 * 1024 * 1024

_READ_SIZE = 8 * 1024 * 1024


class Readable(Protocol):
    """What a file, a socket's file or a response body is to this library."""

    def read(self, size: int, /) -> bytes: ...


Body = Readable | Iterable[bytes] | bytes | bytearray


@dataclasses.dataclass(frozen=True, slots=True)
class Digests:
    """What was written: how much, its MD5, and a hash of the caller's choice, in hex."""

    size: int
    checksum: str
    os_hash_value: str


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
    image: Image, body: Body, size: int | None, algorithm: str, progress: Progress | None
) -> Digests:
    """Write a body into a new image and flush it.

    ``size`` is how many bytes the body must have; None: it ends where it ends, and the image,
    which begins empty, is made as large as that.

    :raises InvalidBody: the body is shorter or longer than ``size``, or does not give bytes
    """
    hasher = _Hasher(algorithm)
    zeros = bytes(image.object_size)
    room = image.size()
    for piece in _exactly(size, _pieces(body, image.object_size)):
        offset = hasher.size
        end = offset + len(piece)
        if end > room:
            room = end + min(max(room, _LEAST_GROWTH), _MOST_GROWTH)
            image.resize(room)
        hasher.update(piece)
        if piece != (zeros if len(piece) == len(zeros) else zeros[: len(piece)]):
            image.write(offset, piece)
        if progress is not None:
            progress(end, end if size is None else size)
    if room != hasher.size:
        image.resize(hasher.size, allow_shrink=True)
    image.flush()
    return hasher.digests()


def measure(body: Body, size: int | None, algorithm: str) -> Digests:
    """Read a body to its end and keep nothing but its digests.

    :raises InvalidBody: as for :func:`fill`
    """
    hasher = _Hasher(algorithm)
    for piece in _exactly(size, _pieces(body, _READ_SIZE)):
        hasher.update(piece)
    return hasher.digests()


def drain(image: Image, offset: int, length: int) -> Iterator[bytes]:
    """Read a stretch of an image, in pieces that end where its objects end."""
    end = offset + length
    while offset < end:
        piece_end = min(end, (offset // image.object_size + 1) * image.object_size)
        yield image.read(offset, piece_end - offset)
        offset = piece_end


class _Hasher:
    def __init__(self, algorithm: str) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._chosen = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, piece: bytes) -> None:
        self.size += len(piece)
        self._md5.update(piece)
        self._chosen.update(piece)

    def digests(self) -> Digests:
        return Digests(self.size, self._md5.hexdigest(), self._chosen.hexdigest())


def _exactly(size: int | None, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass ``pieces`` on, seeing that they are ``size`` bytes in all."""
    done = 0
    for piece in pieces:
        done += len(piece)
        if size is not None and done > size:
            raise exceptions.InvalidBody(
                f"the data goes on after the {size} bytes that were promised"
            )
        yield piece
    if size is not None and done < size:
        raise exceptions.InvalidBody(
            f"the data ends after {done} of the {size} bytes that were promised"
        )


def _pieces(body: Body, length: int) -> Iterator[bytes]:
    """The body in pieces of ``length`` bytes, the last one shorter."""
    buffer = bytearray()
    for part in _parts(body, length):
        if not buffer and len(part) == length:
            yield bytes(part)
            continue
        buffer += part
        while len(buffer) >= length:
            yield bytes(buffer[:length])
            del buffer[:length]
    if buffer:
        yield bytes(buffer)


def _parts(body: Body, length: int) -> Iterator[bytes | bytearray | memoryview]:
    if isinstance(body, bytes | bytearray):
        view = memoryview(body)
        for start in range(0, len(view), length):
            yield view[start : start + length]
        return
    reader: Any = getattr(body, "read", None)
    source: Iterable[Any] = iter(lambda: reader(length), b"") if reader is not None else body  # type: ignore[assignment]
    for part in source:
        piece = _bytes_of(part) if isinstance(part, memoryview) else part
        if not isinstance(piece, bytes | bytearray):
            raise exceptions.InvalidBody(
                f"the data comes as {type(part).__name__}, not as bytes; "
                "a file must be opened in binary mode"
            )
        if len(piece) == 0 and reader is not None:
            return
        yield piece


def _bytes_of(view: memoryview) -> bytes:
    # It may have wider elements, and gaps, and then its length is not that of its bytes.
    try:
        return view.tobytes()
    except ValueError as error:
        raise exceptions.InvalidBody(
            f"the data comes as a memoryview without data: {error}"
        ) from error


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
