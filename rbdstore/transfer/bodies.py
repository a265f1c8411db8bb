# SPDX-License-Identifier: Apache-2.0
"""Bodies: what users give as an image's data, cut into pieces of the size of its objects.

Whatever comes is copied once at most, into buffers that are used again, and the holes of files are
not read.
"""

from __future__ import annotations

import errno
import functools
import io
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from rbdstore import exceptions
from rbdstore.transfer.window import Piece, Window

_FAR: Final = 1 << 63


class Readable(Protocol):
    """What a file, a socket's file or a response body is to this library."""

    def read(self, size: int, /) -> bytes: ...


Part = bytes | bytearray | memoryview

Body = Readable | Iterable[Part] | bytes | bytearray


@functools.lru_cache(maxsize=4)
def zeros(length: int) -> bytes:
    """That many, of which there is one copy for all that are transferred at once."""
    return bytes(length)


def cut(body: Body, window: Window) -> Iterator[Piece]:
    """The body in pieces of ``window.length``, the last one shorter.

    Each takes room in the window, which whoever gets it must release.

    :raises InvalidBody: it gives something other than bytes
    """
    return _cut_file(body, window) if is_regular_file(body) else _cut_parts(body, window)


def is_regular_file(body: Any) -> bool:
    """Whether it is an open file whose bytes are those of the file itself."""
    # Subclasses, and wrappers, may give other bytes than the file has.
    raw = body.raw if type(body) in (io.BufferedReader, io.BufferedRandom) else body
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _cut_parts(body: Body, window: Window) -> Iterator[Piece]:
    length = window.length
    buffer = window.reserve()
    filled = 0
    for part in parts(body, length):
        if not filled and len(part) == length and type(part) is bytes:
            buffer = None
            yield part
            # What is waited for here may be the room that this one has.
            del part
            buffer = window.reserve()
            continue
        start = 0
        with memoryview(part) as source:
            while start < len(source):
                if buffer is None:
                    buffer = bytearray(length)
                stop = min(len(source), start + length - filled)
                # Through a view: a bytearray would copy what it is given once more.
                with memoryview(buffer) as target:
                    target[filled : filled + stop - start] = source[start:stop]
                filled += stop - start
                start = stop
                if filled == length:
                    yield buffer
                    del buffer
                    buffer = window.reserve()
                    filled = 0
        del part
    if filled and buffer is not None:
        del buffer[filled:]
        yield buffer


def parts(body: Body, length: int) -> Iterator[Part]:
    """The body as it comes, in parts of any length; ``length`` is what a file is asked for.

    :raises InvalidBody: it gives something other than bytes
    """
    if isinstance(body, bytes | bytearray):
        yield body
        return
    reader: Any = getattr(body, "read", None)
    source: Iterable[Any] = iter(lambda: reader(length), b"") if reader is not None else body  # type: ignore[assignment]
    for part in source:
        piece = _bytes_of(part) if isinstance(part, memoryview) else part
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise exceptions.InvalidBody(
                f"the data comes as {type(part).__name__}, not as bytes; "
                "a file must be opened in binary mode"
            )
        if len(piece) == 0 and reader is not None:
            return
        del part
        yield piece
        # What was passed on must not be kept while the next part is waited for.
        del piece


def _bytes_of(view: memoryview) -> bytes | memoryview:
    try:
        if view.format == "B" and view.ndim == 1 and view.c_contiguous:
            return view
        # It has wider elements, or gaps, and then its length is not that of its bytes.
        return view.tobytes()
    except ValueError as error:
        raise exceptions.InvalidBody(
            f"the data comes as a memoryview without data: {error}"
        ) from error


def peek(body: Body, length: int) -> tuple[bytes, Body]:
    """Read the first ``length`` bytes; return them, and what still gives the whole body."""
    if is_regular_file(body):
        file: Any = body
        position = file.tell()
        begin = bytes(file.read(length))
        file.seek(position)
        return begin, body
    begin = b""
    rest = parts(body, length)
    for part in rest:
        # It may be changed once the next one is asked for.
        begin += part
        if len(begin) >= length:
            break
    return begin[:length], itertools.chain([begin] if begin else [], rest)


def length_of(body: Body) -> int | None:
    """How many bytes it has, where that is known before it is read."""
    if isinstance(body, bytes | bytearray):
        return len(body)
    if is_regular_file(body):
        file: Any = body
        return max(0, os.fstat(file.fileno()).st_size - int(file.tell()))
    return None


def _cut_file(file: Any, window: Window) -> Iterator[Piece]:
    length = window.length
    stretches = _Stretches(file)
    filled = length
    while filled == length:
        buffer = window.reserve()
        if stretches.hole() >= length:
            stretches.skip(length)
            yield zeros(length)
            continue
        if buffer is None:
            buffer = bytearray(length)
        with memoryview(buffer) as target:
            filled = stretches.fill(target)
        if filled:
            del buffer[filled:]
            yield buffer
        del buffer


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

    def fill(self, target: memoryview) -> int:
        """Read until it is full, or the file is at its end; how much that was."""
        filled = 0
        while filled < len(target):
            if hole := min(self.hole(), len(target) - filled):
                target[filled : filled + hole] = memoryview(zeros(len(target)))[:hole]
                self.skip(hole)
                filled += hole
            elif done := self._read(target[filled:]):
                filled += done
            else:
                break
        return filled

    def _read(self, target: memoryview) -> int:
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
        except OSError as error:
            # No data follow, or this file system knows nothing of holes; the rest is just read.
            self._start = end if error.errno == errno.ENXIO else self._position
            self._end = _FAR
        else:
            try:
                self._end = self._file.seek(self._start, os.SEEK_HOLE)
            except OSError:
                # It has been cut off meanwhile: that it ends is to be seen, so it is read.
                self._start, self._end = self._position, _FAR
        self._file.seek(self._position)
