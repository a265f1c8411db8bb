# SPDX-License-Identifier: Apache-2.0
"""Reads and writes in flight, several at once."""

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
    make_child,
    read,
    refused,
)

# Odd ones, so that many share an object with others, and some reach into the next.
PIECE = OBJECT // 3 + 5
PLACES = range(0, SIZE - PIECE, PIECE)


class AioSuite(Suite):
    def test_what_is_written_in_flight(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        expected = filled(DATA)
        ended: list[int] = []
        with pool.open("a", read_only=False) as image:
            # One buffer for all: it may be changed as soon as a write has begun.
            buffer = bytearray(PIECE)
            completions = []
            for offset in PLACES:
                buffer[:] = bytes([offset % 251 + 1]) * PIECE
                expected = changed(expected, offset, bytes(buffer))
                completions.append(
                    image.aio_write(offset, buffer, lambda offset=offset: ended.append(offset))  # type: ignore[misc]
                )
            buffer[:] = bytes(PIECE)
            for completion in completions:
                completion.wait()
                completion.result()
            assert sorted(ended) == list(PLACES)
            image.flush()
            assert image.read(0, SIZE) == expected
        assert read(pool, "a") == expected

    def test_bytes_are_written_in_flight_too(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            completions = [
                image.aio_write(offset, DATA[offset : offset + OBJECT])
                for offset in range(0, len(DATA), OBJECT)
            ]
            for completion in reversed(completions):
                completion.result()
            image.flush()
        assert read(pool, "a") == filled(DATA)

    def test_what_is_read_in_flight(self, pool: Pool) -> None:
        make_child(pool)
        expected = filled(DATA)
        for name in ("parent", "child"):
            with pool.open(name) as image:
                completions = {offset: image.aio_read(offset, PIECE) for offset in PLACES}
                for offset, completion in reversed(completions.items()):
                    assert completion.result() == expected[offset : offset + PIECE]

    def test_what_is_read_in_flight_at_a_snap(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        with pool.open("parent", read_only=False) as image:
            image.write(0, bytes(len(DATA)))
            image.flush()
        with pool.open("parent") as image:
            image.set_snap(snap_id)
            completions = [image.aio_read(offset, PIECE) for offset in PLACES]
            content = b"".join(completion.result() for completion in completions)
        assert content == filled(DATA)[: len(content)]

    def test_what_is_read_in_flight_at_the_end_and_beyond(self, pool: Pool) -> None:
        make(pool, "a", DATA, size=len(DATA))
        with pool.open("a") as image:
            stretches = ((len(DATA) - 3, 100), (len(DATA), 5), (10 * SIZE, 5), (0, 0), (0, SIZE))
            completions = [image.aio_read(*stretch) for stretch in stretches]
            found = [completion.result() for completion in completions]
        assert found == [DATA[-3:], b"", b"", b"", DATA]

    def test_nothing_is_written_in_flight_beyond_the_end(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        with pool.open("a", read_only=False) as image:
            for offset in (SIZE - 1, SIZE, 3 * SIZE):
                with refused(exceptions.InvalidInput, pool.spec("a")):
                    image.aio_write(offset, b"xy").result()
            image.flush()
        assert read(pool, "a") == filled(DATA)

    def test_one_that_fails_fails_alone(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            first = image.aio_write(0, DATA)
            with refused(exceptions.InvalidInput):
                image.aio_write(SIZE, b"x").result()
            last = image.aio_write(len(DATA), b"x")
            last.result()
            first.result()
            image.flush()
        assert read(pool, "a") == filled(DATA + b"x")

    def test_a_handle_for_reading_does_not_write_in_flight(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        with pool.open("a") as image, refused(exceptions.ReadOnly, pool.spec("a")):
            image.aio_write(0, b"x").result()
        assert read(pool, "a") == filled(DATA)

    def test_close_waits_for_what_is_in_flight(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        ended: list[int] = []
        for _ in range(5):
            ended.clear()
            image = pool.open("a", read_only=False)
            reads = [image.aio_read(offset, PIECE) for offset in PLACES]
            writes = [
                image.aio_write(offset, bytes(PIECE), lambda offset=offset: ended.append(offset))  # type: ignore[misc]
                for offset in PLACES
            ]
            image.close()
            assert sorted(ended) == list(PLACES)
            del reads, writes
        assert read(pool, "a") == changed(filled(DATA), 0, bytes(PLACES[-1] + PIECE))

    def test_nothing_is_begun_once_it_is_closed(self, pool: Pool) -> None:
        make(pool, "a")
        image = pool.open("a", read_only=False)
        image.close()
        with refused(exceptions.ClusterError):
            image.aio_write(0, b"x").result()
        with refused(exceptions.ClusterError):
            image.aio_read(0, 1).result()
