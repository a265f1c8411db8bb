# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image: read, written, discarded, resized."""

from __future__ import annotations

from rbdstore import exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import (
    DATA,
    OBJECT,
    SIZE,
    Suite,
    changed,
    filled,
    make,
    make_parent,
    read,
    refused,
    resize,
    write,
)

FULL = DATA + DATA[: SIZE - len(DATA)]
STRETCHES = [
    (0, 1),
    (0, OBJECT),
    (OBJECT - 1, 2),
    (OBJECT, OBJECT),
    (OBJECT - 10, 2 * OBJECT + 20),
    (3 * OBJECT + 5, 7),
    (SIZE - 1, 1),
    (0, SIZE),
]
"""Within an object, across some, whole ones, the last byte, everything."""


class DataSuite(Suite):
    # Read and written

    def test_what_is_written_is_read(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        expected = filled(DATA)
        for offset, length in STRETCHES:
            data = FULL[-length:]
            expected = changed(expected, offset, data)
            with pool.open("a", read_only=False) as image:
                image.write(offset, data)
                assert image.read(offset, length) == data
                image.flush()
                assert read(pool, "a") == expected
                assert image.read(0, SIZE) == expected
                assert image.read(OBJECT - 3, OBJECT + 9) == expected[OBJECT - 3 : 2 * OBJECT + 6]

    def test_read_at_the_end_and_beyond(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        with pool.open("a") as image:
            assert image.read(SIZE - 3, 100) == FULL[-3:]
            assert image.read(0, 10 * SIZE) == FULL
            assert image.read(SIZE, 100) == b""
            assert image.read(10 * SIZE, 100) == b""
            assert image.read(0, 0) == b""

    def test_nothing_is_written_beyond_the_end(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        with pool.open("a", read_only=False) as image:
            for offset in (SIZE - 1, SIZE, 3 * SIZE):
                with refused(exceptions.InvalidInput, pool.spec("a")):
                    image.write(offset, b"xy")
            image.flush()
            assert image.size() == SIZE
        assert read(pool, "a") == FULL

    def test_nothing_written_is_nothing_changed(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        write(pool, "a", 5, b"")
        assert read(pool, "a") == FULL

    def test_an_image_of_no_size(self, pool: Pool) -> None:
        make(pool, "a", size=0)
        with pool.open("a", read_only=False) as image:
            assert (image.size(), image.read(0, 10)) == (0, b"")
            with refused(exceptions.InvalidInput):
                image.write(0, b"x")
            image.discard(0, 10)
            image.flush()
            assert list(image.extents(0, 10)) == []
            image.resize(10)
            image.write(0, b"x")
        assert read(pool, "a") == filled(b"x", 10)

    def test_later_writes_win(self, pool: Pool) -> None:
        make(pool, "a")
        expected = bytes(SIZE)
        with pool.open("a", read_only=False) as image:
            for number in range(1, 20):
                offset, data = number * 7919 % (SIZE - 3 * OBJECT), bytes([number]) * 2 * OBJECT
                image.write(offset, data)
                expected = changed(expected, offset, data)
            image.flush()
        assert read(pool, "a") == expected

    def test_it_is_there_for_whoever_opens_it_next(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.write(7, DATA)
            image.flush()
            assert read(elsewhere, "a") == changed(bytes(SIZE), 7, DATA)

    # Discarded

    def test_what_is_discarded_reads_as_zeros(self, pool: Pool) -> None:
        make(pool, "a")
        for offset, length in STRETCHES:
            with pool.open("a", read_only=False) as image:
                image.write(0, FULL)
                image.discard(offset, length)
                image.flush()
                assert image.size() == SIZE
            assert read(pool, "a") == changed(FULL, offset, bytes(length))

    def test_discard_at_the_end_and_beyond(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        with pool.open("a", read_only=False) as image:
            image.discard(0, 0)
            image.discard(SIZE, 1)
            image.discard(10 * SIZE, 10 * SIZE)
            image.discard(SIZE - 5, 10 * SIZE)
            image.flush()
            assert image.size() == SIZE
        assert read(pool, "a") == changed(FULL, SIZE - 5, bytes(5))

    def test_what_is_discarded_can_be_written(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        with pool.open("a", read_only=False) as image:
            image.discard(0, SIZE)
            image.write(OBJECT + 1, b"x")
            image.flush()
        assert read(pool, "a") == changed(bytes(SIZE), OBJECT + 1, b"x")

    def test_discard_hides_the_parents_data(self, pool: Pool) -> None:
        make_parent(pool)
        for offset, length in ((0, 1), (OBJECT, OBJECT), (OBJECT - 10, OBJECT + 20), (0, SIZE)):
            pool.clone(pool, "parent", "s", f"child-{offset}-{length}")
            with pool.open(f"child-{offset}-{length}", read_only=False) as image:
                image.discard(offset, length)
                image.flush()
                assert image.read(0, SIZE) == changed(filled(DATA), offset, bytes(length))
        assert read(pool, "parent") == filled(DATA)

    # Resized

    def test_grow(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        with pool.open("a", read_only=False) as image:
            image.resize(SIZE)
            image.resize(SIZE + 1)
            image.resize(3 * SIZE)
            assert image.size() == 3 * SIZE
            image.write(3 * SIZE - 1, b"x")
        assert read(pool, "a") == changed(filled(FULL, 3 * SIZE), 3 * SIZE - 1, b"x")

    def test_shrinking_must_be_allowed(self, pool: Pool) -> None:
        make(pool, "a", FULL)
        with pool.open("a", read_only=False) as image:
            with refused(exceptions.InvalidSize, pool.spec("a")):
                image.resize(SIZE - 1)
            assert image.size() == SIZE
        assert read(pool, "a") == FULL

    def test_what_was_cut_off_does_not_come_back(self, pool: Pool) -> None:
        make(pool, "a")
        for size in (0, 1, OBJECT, 2 * OBJECT - 1, SIZE - 1):
            write(pool, "a", 0, FULL)
            resize(pool, "a", size)
            assert read(pool, "a") == FULL[:size]
            resize(pool, "a", SIZE)
            assert read(pool, "a") == filled(FULL[:size])

    def test_nor_does_what_was_the_parents(self, pool: Pool) -> None:
        make_parent(pool)
        for size in (0, OBJECT // 2, OBJECT, 2 * OBJECT - 1):
            child = f"child-{size}"
            pool.clone(pool, "parent", "s", child)
            resize(pool, child, size)
            assert read(pool, child) == DATA[:size]
            resize(pool, child, SIZE)
            assert read(pool, child) == filled(DATA[:size])
            write(pool, child, OBJECT + 5, b"x")
            assert read(pool, child) == changed(filled(DATA[:size]), OBJECT + 5, b"x")
        assert read(pool, "parent") == filled(DATA)

    def test_a_clone_grows_beyond_its_parent(self, pool: Pool) -> None:
        make_parent(pool, data=FULL)
        pool.clone(pool, "parent", "s", "child")
        resize(pool, "parent", 2 * SIZE)
        write(pool, "parent", SIZE, b"not the child's")
        resize(pool, "child", 2 * SIZE)
        assert read(pool, "child") == filled(FULL, 2 * SIZE)
        # In the object that the parent's end lies in.
        write(pool, "child", SIZE + 3, b"x")
        assert read(pool, "child") == changed(filled(FULL, 2 * SIZE), SIZE + 3, b"x")
