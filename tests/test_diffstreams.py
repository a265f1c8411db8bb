# SPDX-License-Identifier: Apache-2.0
"""The streams of ``rbd export-diff``: what was written is read, and all else is refused."""

import io
import os
import struct
import threading
import tracemalloc

import hypothesis
import pytest
from hypothesis import strategies as st

from rbdstore import exceptions
from rbdstore.backup.diffstreams import Change, DiffReader, DiffWriter, Header

MiB = 1 << 20
LENGTH = 64
SIZE = 1000

# Written by Ceph's own ``rbd export-diff --from-snap one image@two -`` of 16.2.
CEPHS = bytes.fromhex("7262642064696666207631 0a 66 03000000 6f6e65 74 03000000 74776f") + (
    b"s" + struct.pack("<Q", SIZE)
)

names = st.none() | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20
)
versions = st.sampled_from((1, 2))


@st.composite
def changes(draw):
    """Stretches in the image, of any length and in any order."""
    offset = draw(st.integers(0, SIZE - 1))
    length = draw(st.integers(0, SIZE - offset))
    return offset, draw(st.none() | st.binary(min_size=length, max_size=length)), length


class Slow:
    """A stream that gives as much as it likes, as sockets do."""

    def __init__(self, data, most):
        self._file = io.BytesIO(data)
        self._most = most
        self.rest = self._file.read

    def read(self, length):
        return self._file.read(min(length, self._most))


class Reluctant(io.BytesIO):
    """A stream that takes no more than seven bytes at once."""

    def write(self, data):
        return super().write(bytes(data[:7]))


def written(header, several, version=1, stream=None):
    stream = stream or io.BytesIO()
    writer = DiffWriter(stream, header, version=version)
    for offset, data, length in several:
        if data is None:
            writer.zeros(offset, length)
        else:
            writer.data(offset, data)
    writer.end()
    return stream.getvalue()


def applied(several):
    """The image that the changes make of one of ones."""
    image = bytearray(b"\1" * SIZE)
    for offset, data, length in several:
        image[offset : offset + length] = bytes(length) if data is None else data
    return image


def read(data, length=LENGTH):
    return list(DiffReader(io.BytesIO(data), length=length))


@hypothesis.given(names, names, st.lists(changes(), max_size=8), versions, st.integers(1, 80))
def test_what_was_written_is_read(from_snap, to_snap, several, version, most):
    header = Header(SIZE, from_snap, to_snap)
    stream = Slow(written(header, several, version) + b"the next one", most)
    reader = DiffReader(stream, length=LENGTH)
    assert (reader.version, reader.header) == (version, header)
    found = list(reader)
    assert applied((one.offset, one.data, one.length) for one in found) == applied(several)
    for one in found:
        assert one.length > 0
        if one.data is not None:
            assert one.offset // LENGTH == (one.offset + one.length - 1) // LENGTH
            assert len(one.data) == one.length
    # A stream ends where it ends: several may follow each other.
    assert stream.rest() == b"the next one"


def test_it_is_what_ceph_writes():
    header = Header(SIZE, "one", "two")
    several = [(0, b"data", 4), (100, None, 50)]
    assert written(header, several) == (
        CEPHS
        + b"w"
        + struct.pack("<QQ", 0, 4)
        + b"data"
        + b"z"
        + struct.pack("<QQ", 100, 50)
        + b"e"
    )
    assert read(written(header, several)) == [Change(0, 4, b"data"), Change(100, 50, None)]


def test_a_stream_may_take_it_in_parts():
    header = Header(SIZE, "one", "two")
    several = [(3, bytes(range(200)), 200)]
    assert written(header, several, 2, Reluctant()) == written(header, several, 2)


def test_a_stream_that_does_not_wait_is_no_stream():
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    os.set_blocking(writes, False)
    with open(reads, "rb", buffering=0) as source, open(writes, "wb", buffering=0) as target:
        with pytest.raises(exceptions.InvalidBody, match="waits for its data"):
            DiffReader(source)
        writer = DiffWriter(target, Header(SIZE))
        with pytest.raises(exceptions.InvalidInput, match="does not wait"):
            writer.data(0, bytes(MiB))


def test_a_pipe():
    reads, writes = os.pipe()
    several = [(0, os.urandom(3 * MiB), 3 * MiB)]

    def write():
        with open(writes, "wb", buffering=0) as target:
            writer = DiffWriter(target, Header(4 * MiB))
            writer.data(*several[0][:2])
            writer.end()

    thread = threading.Thread(target=write)
    thread.start()
    with open(reads, "rb", buffering=0) as source:
        found = list(DiffReader(source, length=MiB))
    thread.join()
    assert [one.offset for one in found] == [0, MiB, 2 * MiB]
    assert b"".join(one.data for one in found) == several[0][1]


def record(version, tag, content):
    return tag + (struct.pack("<Q", len(content)) if version == 2 else b"") + content


def test_a_record_of_a_kind_that_is_not_known():
    begin = written(Header(SIZE), [], 2)[:-1]
    unknown = record(2, b"X", bytes(5 * LENGTH))
    # Ceph says that this one has eight bytes, and writes one.
    protected = b"p" + struct.pack("<Q", 8) + b"\1"
    stream = begin + unknown + protected + record(2, b"z", struct.pack("<QQ", 1, 2)) + unknown
    assert read(stream + b"e") == [Change(1, 2, None)]
    with pytest.raises(exceptions.BrokenStream, match="begins with b'X', which is none"):
        read(written(Header(SIZE), [])[:-1] + b"X" + bytes(100))


BROKEN = {
    "twice": ("says its size twice", b"s" + struct.pack("<Q", 1) + b"s" + struct.pack("<Q", 2)),
    "no size": ("how large", b"e"),
    "too large": ("cannot be", b"s" + struct.pack("<Q", 2**63)),
    "no name": ("has 0 bytes", b"t" + struct.pack("<I", 0)),
    "a long name": ("has 4294967295 bytes", b"f" + struct.pack("<I", 2**32 - 1)),
    "no text": ("not UTF-8", b"t" + struct.pack("<I", 2) + b"\xff\xff"),
    "late": ("comes after data", CEPHS[12:] + b"z" + struct.pack("<QQ", 0, 1) + CEPHS[12:]),
    "beyond": ("beyond the image's end", CEPHS[12:] + b"w" + struct.pack("<QQ", 999, 2)),
    "around": ("beyond the image's end", CEPHS[12:] + b"z" + struct.pack("<QQ", 1, 2**64 - 1)),
    "huge": ("cut off", b"s" + struct.pack("<Q", 2**62) + b"w" + struct.pack("<QQ", 0, 2**61)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_diff_is_refused(case):
    said, rest = BROKEN[case]
    with pytest.raises(exceptions.BrokenStream, match=said):
        read(b"rbd diff v1\n" + rest)


def test_a_length_that_is_not_the_records():
    begin = b"rbd diff v2\ns" + struct.pack("<Q", 9)
    with pytest.raises(exceptions.BrokenStream, match="says that it has 9 bytes, and has 8"):
        read(begin + struct.pack("<Q", SIZE))


def test_what_begins_otherwise_is_something_else():
    with pytest.raises(exceptions.FormatMismatch, match="rbd image v2"):
        read(b"rbd image v2\n" + bytes(100))


@pytest.mark.parametrize("version", [1, 2])
def test_wherever_it_is_cut_off(version):
    whole = written(Header(SIZE, "one", "two"), [(5, bytes(100), 100), (7, None, 9)], version)
    for length in range(len(whole)):
        with pytest.raises(exceptions.BrokenStream, match="cut off"):
            read(whole[:length])


@pytest.mark.parametrize("given", ["text", 7, None])
def test_a_stream_of_something_else(given):
    class Stream:
        def read(self, length):
            return given

    with pytest.raises(exceptions.InvalidBody, match="not bytes"):
        DiffReader(Stream())


def test_a_stream_that_gives_too_much():
    class Stream:
        def read(self, length):
            return bytes(length + 1)

    with pytest.raises(exceptions.InvalidBody, match="13 bytes where 12 were asked for"):
        DiffReader(Stream())


@st.composite
def damaged(draw):
    """A stream with some of it replaced, left out or put in."""
    version = draw(versions)
    data = bytearray(
        written(
            Header(draw(st.integers(0, 2**62)), draw(names), draw(names)),
            draw(st.lists(changes(), max_size=4)),
            version,
        )
    )
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(12, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 8)))
        data[start:stop] = draw(st.binary(max_size=8) | st.just(b"\xff" * 8))
    return bytes(data)


@hypothesis.given(damaged() | st.binary(max_size=300).map(b"rbd diff v1\n".__add__))
def test_a_damaged_stream_costs_nothing(data):
    tracemalloc.start()
    try:
        for one in DiffReader(io.BytesIO(data), length=LENGTH):
            assert one.data is None or len(one.data) <= LENGTH
    except exceptions.BrokenStream:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MiB
