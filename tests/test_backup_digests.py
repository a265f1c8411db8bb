# SPDX-License-Identifier: Apache-2.0
"""Digests of chunks, and what of a chunk is read to know the one of what it has become."""

import random

import hypothesis
import pytest
from hypothesis import strategies as st

from rbdstore.backup import digests, stretches
from rbdstore.backup.changes import Change
from rbdstore.driver import Extent

BLOCK = 512
CHUNK = 8 * BLOCK

settings = hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(digests, "BLOCK", BLOCK)
        yield


def data_of(seed, length):
    """Some of it zeros."""
    chance = random.Random(seed)
    data = b"".join(
        chance.randbytes(BLOCK) if chance.random() < 0.7 else bytes(BLOCK)
        for _ in range(length // BLOCK + 1)
    )
    return data[:length]


chunks = st.builds(data_of, st.integers(0, 1 << 32), st.integers(1, CHUNK))


def test_zeros():
    assert digests.digest(b"") == digests.digest(bytes(CHUNK)) == digests.ZEROS
    assert digests.digest(bytes(CHUNK - 1) + b"x") != digests.ZEROS


@settings
@hypothesis.given(chunks)
def test_zeros_after_it_do_not_count(data):
    assert digests.digest(data) == digests.digest(data.ljust(CHUNK, b"\0"))


@settings
@hypothesis.given(chunks, st.data())
def test_a_changed_bit_is_noticed(data, draw):
    at = draw.draw(st.integers(0, len(data) - 1))
    other = bytearray(data)
    other[at] ^= 1 << draw.draw(st.integers(0, 7))
    assert digests.digest(bytes(other)) != digests.digest(data)


def test_blocks_that_have_changed_places_are_noticed():
    one, another = random.Random(1).randbytes(BLOCK), random.Random(2).randbytes(BLOCK)
    assert digests.digest(one + another) != digests.digest(another + one)
    assert digests.digest(one + bytes(BLOCK)) != digests.digest(bytes(BLOCK) + one)


PIECES = st.lists(
    st.tuples(st.integers(0, CHUNK - 1), st.integers(1, 2 * BLOCK), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings
@hypothesis.given(chunks, st.integers(0, 3), PIECES, st.integers(0, 1 << 32))
def test_a_digest_becomes_that_of_what_the_chunk_has_become(data, number, pieces, seed):
    """With nothing read but the blocks that have changed, before and after."""
    start, size = number * CHUNK, number * CHUNK + len(data)
    chance = random.Random(seed)
    now, extents, end = bytearray(data), [], 0
    for at, length, exists in sorted(pieces):
        at = max(at, end)
        end = min(at + length, len(data))
        if at < end:
            now[at:end] = chance.randbytes(end - at) if exists else bytes(end - at)
            extents.append(Extent(start + at, end - at, exists))
    hypothesis.assume(extents)
    mark, read, after = digests.digest(data), [], -1
    for each in stretches.of(Change(number, True, tuple(extents)), mark, size, CHUNK):
        assert each.offset == start + each.at
        assert each.at % BLOCK == 0
        assert each.at > after
        after = each.at + each.length
        assert after <= len(data)
        assert after % BLOCK == 0 or after == len(data)
        for piece in each.pieces:
            assert each.offset <= piece.offset
            assert piece.offset + piece.length <= start + after
        read += each.pieces
        mark = each.digest(mark, data[each.at : after], bytes(now[each.at : after]))
    assert each.is_last
    assert read == extents
    assert mark == digests.digest(bytes(now))


def test_what_is_read_of_a_chunk():
    """What two changes touch, and nothing between."""
    pieces = (Extent(CHUNK + 10, 5, True), Extent(CHUNK + 5 * BLOCK, BLOCK + 1, False))
    one, two = stretches.of(Change(1, True, pieces), b"m" * 16, 4 * CHUNK, CHUNK)
    assert (one.offset, one.length, one.is_whole, one.is_last) == (CHUNK, BLOCK, False, False)
    assert (two.at, two.length, two.is_whole, two.is_last) == (5 * BLOCK, 2 * BLOCK, False, True)


@pytest.mark.parametrize(
    ("change", "whole", "length"),
    [
        (Change(1, True), False, 100),
        (Change(1, True, (Extent(CHUNK, 1, True),)), True, 100),
        (Change(1, False), False, 0),
    ],
)
def test_all_of_a_chunk_is_read(change, whole, length):
    (only,) = stretches.of(change, b"m" * 16, CHUNK + 100, CHUNK, whole=whole)
    assert (only.offset, only.at, only.length) == (CHUNK, 0, length)
    assert only.is_whole
    assert only.is_last


def test_a_chunk_most_of_which_has_changed_is_read_once():
    """Rather than half of it twice: what it was does not count then."""
    pieces = (Extent(0, 4 * BLOCK, True),)
    (whole,) = stretches.of(Change(0, True, pieces), b"m" * 16, CHUNK, CHUNK)
    assert (whole.length, whole.is_whole, whole.pieces) == (CHUNK, True, pieces)
    # There is nothing to read of what was zeros.
    (some,) = stretches.of(Change(0, True, pieces), digests.ZEROS, CHUNK, CHUNK)
    assert (some.length, some.is_whole) == (4 * BLOCK, False)
