# SPDX-License-Identifier: Apache-2.0
"""Bodies: what users give as an image's data, cut into pieces of the size of its objects.

Whatever comes is copied once at most, into buffers that are used again. The holes of a file are
not read: a piece that is one is :func:`zeros`, and can be told by that.
"""

from __future__ import annotations

import collections
import errno
import functools
import io
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from rbdstore import exceptions

_FAR: Final = 1 << 63


class Readable(Protocol):
    """What a file, a socket's file or a response body is to this library."""

    def read(self, size: int, /) -> bytes: ...


Body = Readable | Iterable[bytes] | bytes | bytearray
Piece = bytes | bytearray


@functools.lru_cache(maxsize=4)
def zeros(length: int) -> bytes:
    """That many, of which there is one copy for all that are transferred at once."""
    return bytes(length)


class Buffers:
    """Memory for pieces, used again. May be given back by any thread."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._free: collections.deque[bytearray] = collections.deque(maxlen=1)

    def take(self) -> bytearray:
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(self.length)

    def give(self, piece: Piece) -> None:
        """Take back a piece that nobody looks at any more; what is no buffer is left alone."""
        if isinstance(piece, bytearray) and len(piece) == self.length:
            self._free.append(piece)


def cut(body: Body, buffers: Buffers) -> Iterator[Piece]:
    """The body in pieces of ``buffers.length``, the last one shorter.

    :raises InvalidBody: it gives something other than bytes
    """
    return _cut_file(body, buffers) if _is_regular_file(body) else _cut_parts(body, buffers)


def _is_regular_file(body: Any) -> bool:
    # Subclasses, and wrappers, may give other bytes than the file has.
    raw = body.raw if type(body) in (io.BufferedReader, io.BufferedRandom) else body
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _cut_parts(body: Body, buffers: Buffers) -> Iterator[Piece]:
    length = buffers.length
    buffer: bytearray | None = None
    filled = 0
    for part in _parts(body, length):
        if not filled and len(part) == length and type(part) is bytes:
            yield part
            del part
            continue
        with memoryview(part) as rest:
            start = 0
            while start < len(rest):
                if buffer is None:
                    buffer = buffers.take()
                stop = min(len(rest), start + length - filled)
                # Through a view: a bytearray would copy what it is given once more.
                with memoryview(buffer) as target:
                    target[filled : filled + stop - start] = rest[start:stop]
                filled += stop - start
                start = stop
                if filled == length:
                    full, buffer, filled = buffer, None, 0
                    yield full
                    del full
    if buffer is not None:
        del buffer[filled:]
        yield buffer


def _parts(body: Body, length: int) -> Iterator[bytes | bytearray | memoryview]:
    if isinstance(body, bytes | bytearray):
        yield body
        return
    reader: Any = getattr(body, "read", None)
    source: Iterable[Any] = iter(lambda: reader(length), b"") if reader is not None else body  # type: ignore[assignment]
    for part in source:
        if not isinstance(part, bytes | bytearray | memoryview):
            raise exceptions.InvalidBody(
                f"the data comes as {type(part).__name__}, not as bytes; "
                "a file must be opened in binary mode"
            )
        if len(part) == 0 and reader is not None:
            return
        # A view may have wider elements, and gaps, and then its length is not that of its bytes.
        yield part.tobytes() if isinstance(part, memoryview) else part
        # What was passed on must not be kept while the next part is waited for.
        del part


def _cut_file(file: Any, buffers: Buffers) -> Iterator[Piece]:
    length = buffers.length
    stretches = _Stretches(file)
    while True:
        if stretches.hole() >= length:
            stretches.skip(length)
            yield zeros(length)
            continue
        buffer = buffers.take()
        filled = 0
        with memoryview(buffer) as target:
            while filled < length:
                if hole := min(stretches.hole(), length - filled):
                    target[filled : filled + hole] = memoryview(zeros(length))[:hole]
                    stretches.skip(hole)
                    filled += hole
                elif done := stretches.read(target[filled:]):
                    filled += done
                else:
                    break
        if filled:
            del buffer[filled:]
            yield buffer
        if filled < length:
            return


class _Stretches:
    """A file, from where it stands, as data and holes in turns."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._position: int = file.tell()
        # The data that come next, from where to where; at first nobody has looked.
        self._start: int = self._position
        self._end: int = self._position

    def hole(self) -> int:
        """How many zeros come next that need not be read."""
        if self._position >= self._end:
            self._look()
        return max(0, self._start - self._position)

    def skip(self, length: int) -> None:
        self._position += length
        self._file.seek(self._position)

    def read(self, target: memoryview) -> int:
        """Read no further than the data reach; 0: at the end of the file."""
        wanted = min(len(target), self._end - self._position)
        done = int(self._file.readinto(target[:wanted]))
        self._position += done
        return done

    def _look(self) -> None:
        end = self._position
        try:
            # The end first: what is appended after this look must not be taken for a hole.
            end = max(end, self._file.seek(0, os.SEEK_END))
            self._start = self._file.seek(self._position, os.SEEK_DATA)
            self._end = self._file.seek(self._start, os.SEEK_HOLE)
        except OSError as error:
            # No data follow, or this file system knows nothing of holes; the rest is just read.
            self._start = end if error.errno == errno.ENXIO else self._position
            self._end = _FAR
        self._file.seek(self._position)
