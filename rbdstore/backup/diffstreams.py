# SPDX-License-Identifier: Apache-2.0
"""The streams of ``rbd export-diff`` and ``rbd import-diff``, read and written piece by piece.

A stream says what an image was at one moment: all of it, or what has changed since a snap of it.
The format is Ceph's (its documentation, "RBD Incremental Backup"): a banner, records about the
whole, records of data, and a last one. Version 1 is what the command writes and reads; version 2,
in which each record begins with its length, is found in what ``rbd export --export-format 2``
writes.

A stream may come from anywhere: whatever it says, it is either a diff or a
:class:`~rbdstore.exceptions.BrokenStream`, and no more of it is in memory than was asked for.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Iterator
from typing import Any, Final, Protocol

from rbdstore import exceptions, sizes
from rbdstore.transfer.bodies import Part, Readable
from rbdstore.transfer.window import Piece

__all__ = ["PIECE_LENGTH", "Change", "DiffReader", "DiffWriter", "Header", "Readable", "Writable"]

_BANNERS: Final = {b"rbd diff v1\n": 1, b"rbd diff v2\n": 2}
_BANNER_LENGTH: Final = 12

_FROM_SNAP: Final = b"f"
_TO_SNAP: Final = b"t"
_PROTECTED: Final = b"p"
_SIZE: Final = b"s"
_DATA: Final = b"w"
_ZEROS: Final = b"z"
_END: Final = b"e"

_LE32: Final = struct.Struct("<I")
_LE64: Final = struct.Struct("<Q")
_STRETCH: Final = struct.Struct("<QQ")

# The limit of the command; what is longer is none.
_MOST_NAME_BYTES: Final = 4096
PIECE_LENGTH: Final = 4 << 20


class Writable(Protocol):
    """What a file, or a socket's file, is to this library."""

    def write(self, data: Part, /) -> int | None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a stream says of the whole.

    :ivar size: the image's, at the moment that the stream is of
    :ivar from_snap: the snap since which there are changes; None: since the image was made
    :ivar to_snap: the snap that the stream is of; None: of the image as it was
    """

    size: int
    from_snap: str | None = None
    to_snap: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A stretch that was written (``data``), or that reads as zeros now (None)."""

    offset: int
    length: int
    data: Piece | None


class DiffReader:
    """A stream that is read, from where it stands to right behind its last record.

    Iterating gives every :class:`Change`, in the order of the stream, which ``rbd export-diff``
    keeps ascending and others need not. Whoever stops before the end has not seen whether the
    stream is whole.

    :ivar version: 1 or 2
    :ivar header: what it says of the whole
    """

    def __init__(self, stream: Readable, *, length: int = PIECE_LENGTH) -> None:
        """Read what comes before the data.

        :param length: data are given in pieces that end at multiples of it, or before
        :raises FormatMismatch: the stream does not begin as one
        :raises BrokenStream:
        """
        self._stream = stream
        self._length = length
        banner = bytes(self._take(_BANNER_LENGTH))
        if banner not in _BANNERS:
            raise exceptions.FormatMismatch(
                f"the stream begins with {exceptions.shown(banner)}, and not as what "
                "rbd export-diff writes"
            )
        self.version = _BANNERS[banner]
        # Of the record that follows those about the whole the tag, and the length, have been read.
        self._next: tuple[bytes, int | None] = _END, None
        self.header = self._read_header()

    def _read_header(self) -> Header:
        found: dict[str, Any] = {}

        def say(what: str, value: object) -> None:
            if what in found:
                raise exceptions.BrokenStream(f"the stream says its {what} twice")
            found[what] = value

        while True:
            tag, length = self._read_tag()
            if tag == _FROM_SNAP:
                say("from_snap", self._read_name(tag, length))
            elif tag == _TO_SNAP:
                say("to_snap", self._read_name(tag, length))
            elif tag == _SIZE:
                say("size", self._read_size(length))
            elif tag == _PROTECTED:
                # Where a length is said, it is 8, and it is one byte all the same.
                self._take(1)
            elif tag in (_DATA, _ZEROS, _END):
                self._next = tag, length
                break
            else:
                self._skip(tag, length)
        if "size" not in found:
            raise exceptions.BrokenStream("the stream does not say how large the image is")
        return Header(**found)

    def __iter__(self) -> Iterator[Change]:
        """:raises BrokenStream: it is cut off, or not as its format says"""
        tag, length = self._next
        while tag != _END:
            if tag in (_DATA, _ZEROS):
                yield from self._read_changes(tag, length)
            elif tag in (_FROM_SNAP, _TO_SNAP, _SIZE, _PROTECTED):
                raise exceptions.BrokenStream(
                    f"a record {tag!r}, which is about the whole, comes after data"
                )
            else:
                self._skip(tag, length)
            tag, length = self._read_tag()

    def _read_changes(self, tag: bytes, record: int | None) -> Iterator[Change]:
        offset, length = _STRETCH.unpack(self._take(_STRETCH.size))
        end = offset + length
        self._expect(tag, record, _STRETCH.size + (length if tag == _DATA else 0))
        if end > self.header.size:
            raise exceptions.BrokenStream(
                f"it has data from {offset} to {end}, beyond the image's end at {self.header.size}"
            )
        if tag == _ZEROS:
            if length:
                yield Change(offset, length, None)
            return
        while offset < end:
            stop = min(end, (offset // self._length + 1) * self._length)
            yield Change(offset, stop - offset, self._take(stop - offset))
            offset = stop

    # Parts of records

    def _read_tag(self) -> tuple[bytes, int | None]:
        """A record's tag, and its length where it says that."""
        tag = bytes(self._take(1))
        if self.version == 1 or tag == _END:
            return tag, None
        return tag, self._number()

    def _read_name(self, tag: bytes, record: int | None) -> str:
        (length,) = _LE32.unpack(self._take(_LE32.size))
        self._expect(tag, record, _LE32.size + length)
        if not 0 < length <= _MOST_NAME_BYTES:
            raise exceptions.BrokenStream(f"the name of a snapshot has {length} bytes")
        try:
            return bytes(self._take(length)).decode()
        except UnicodeDecodeError as error:
            raise exceptions.BrokenStream("the name of a snapshot is not UTF-8") from error

    def _read_size(self, record: int | None) -> int:
        self._expect(_SIZE, record, _LE64.size)
        size = self._number()
        if size > sizes.MAX_SIZE:
            raise exceptions.BrokenStream(f"an image of {size} bytes cannot be")
        return size

    def _expect(self, tag: bytes, said: int | None, length: int) -> None:
        if said not in (None, length):
            raise exceptions.BrokenStream(
                f"a record {tag!r} says that it has {said} bytes, and has {length}"
            )

    def _skip(self, tag: bytes, length: int | None) -> None:
        """Pass over a record of a kind that is not known."""
        if length is None:
            raise exceptions.BrokenStream(f"a record begins with {tag!r}, which is none")
        while length:
            length -= len(self._take(min(length, self._length)))

    def _number(self) -> int:
        (number,) = _LE64.unpack(self._take(_LE64.size))
        return int(number)

    def _take(self, length: int) -> Piece:
        """So many bytes, however they come."""
        piece: Piece = self._read(length)
        if len(piece) < length:
            piece = bytearray(piece)
            while len(piece) < length:
                piece += self._read(length - len(piece))
        return piece

    def _read(self, length: int) -> Piece:
        """Some bytes, ``length`` at the most."""
        part: Any = self._stream.read(length)
        if isinstance(part, memoryview):
            part = part.tobytes()
        if not isinstance(part, bytes | bytearray):
            raise exceptions.InvalidBody(
                f"the stream gives {type(part).__name__}, not bytes; "
                "it must be one in binary mode that waits for its data"
            )
        if not part:
            raise exceptions.BrokenStream("the stream is cut off")
        if len(part) > length:
            raise exceptions.InvalidBody(
                f"the stream gives {len(part)} bytes where {length} were asked for"
            )
        return part


class DiffWriter:
    """A stream that is written. What the stream raises is passed on, and then it is none."""

    def __init__(self, stream: Writable, header: Header, *, version: int = 1) -> None:
        """Write what comes before the data."""
        self._stream = stream
        self._has_lengths = version == 2
        banner = next(text for text, number in _BANNERS.items() if number == version)
        records = [banner]
        for tag, name in ((_FROM_SNAP, header.from_snap), (_TO_SNAP, header.to_snap)):
            if name is not None:
                encoded = name.encode()
                records.append(self._head(tag, _LE32.size + len(encoded)))
                records.append(_LE32.pack(len(encoded)) + encoded)
        records += [self._head(_SIZE, _LE64.size), _LE64.pack(header.size)]
        self._write(b"".join(records))

    def data(self, offset: int, data: Part) -> None:
        """Say what was written at an offset."""
        stretch = _STRETCH.pack(offset, len(data))
        self._write(self._head(_DATA, len(stretch) + len(data)) + stretch)
        self._write(data)

    def zeros(self, offset: int, length: int) -> None:
        """Say that a stretch reads as zeros."""
        stretch = _STRETCH.pack(offset, length)
        self._write(self._head(_ZEROS, len(stretch)) + stretch)

    def end(self) -> None:
        """Say that this was all, and have it written."""
        self._write(_END)
        flush = getattr(self._stream, "flush", None)
        if flush is not None:
            flush()

    def _head(self, tag: bytes, length: int) -> bytes:
        return tag + _LE64.pack(length) if self._has_lengths else tag

    def _write(self, data: Part) -> None:
        """All of it: a pipe or a socket may take it in parts."""
        with memoryview(data) as rest:
            done = 0
            while done < len(rest):
                written = self._stream.write(rest[done:] if done else data)
                if written is None and isinstance(self._stream, io.RawIOBase):
                    raise exceptions.InvalidInput("the stream does not wait until it has room")
                # What tells nothing has taken all.
                done = len(rest) if written is None else done + written


def check_readable(stream: object) -> None:
    """:raises InvalidInput: nothing of bytes can be read from it"""
    _check(stream, "read")


def check_writable(stream: object) -> None:
    """:raises InvalidInput: no bytes can be written to it"""
    _check(stream, "write")


def _check(stream: object, what: str) -> None:
    if isinstance(stream, io.TextIOBase):
        raise exceptions.InvalidInput("the stream is in text mode; open it in binary mode")
    if not callable(getattr(stream, what, None)):
        raise exceptions.InvalidInput(
            f"a stream has {what}(), as a binary file has it, which "
            f"{exceptions.shown(stream)} has not"
        )
