# SPDX-License-Identifier: Apache-2.0
"""Transfers whose reads and writes are in flight are whole, and what is not there is not read."""

import hashlib
import io
import random
import threading

import flying
import pytest
from bodies import OBJECT, cut, noise
from flying import WINDOW, content, fill, new_image

from rbdstore import transfer
from rbdstore.transfer import reads


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("window", [1, OBJECT, 3 * OBJECT, 100 * OBJECT])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_what_lands_in_any_order_is_whole(pool, window, threads, known):
    for seed in range(3):
        chance = random.Random(seed)
        data = b"".join(
            chance.choice([bytes, chance.randbytes])(chance.randrange(5 * OBJECT))
            for _ in range(8)
        )
        airport = flying.Airport(seed)
        with new_image(pool, airport, len(data) if known else 0) as image:
            found = fill(
                image,
                cut(data, seed),
                len(data) if known else None,
                window=window,
                threads=threads,
            )
            assert airport.in_flight == 0
            assert content(image) == data
            assert image.size() == len(data)
            pieces = list(reads.drain(image, 5, len(data), window=window))
            assert b"".join(pieces) == data[5:]
        airport.close()
        pool.remove("image")
        assert found == transfer.Digests(
            len(data), hashlib.md5(data).hexdigest(), hashlib.sha512(data).hexdigest()
        )


@pytest.mark.parametrize("algorithm", ["md5", "MD5", "sha512", "sha3_256"])
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_hashes_by_any_number_of_threads(algorithm, threads):
    data = noise(5 * OBJECT + 1)
    found = transfer.measure(io.BytesIO(data), None, algorithm, threads=threads)
    assert found.checksum == hashlib.md5(data).hexdigest()
    assert found.os_hash_value == hashlib.new(algorithm, data).hexdigest()


def test_a_buffer_that_the_body_uses_again(pool, airport):
    """What a body gives need only last until it is asked for more."""
    data = noise(6 * OBJECT)

    def body():
        buffer = bytearray(OBJECT)
        for start in range(0, len(data), OBJECT):
            buffer[:] = data[start : start + OBJECT]
            yield buffer
            buffer[:] = bytes(OBJECT)

    with new_image(pool, airport) as image:
        assert fill(image, body()).checksum == hashlib.md5(data).hexdigest()
        assert content(image) == data


def test_reading_hashing_and_writing_overlap(pool, airport, gate_hash):
    """Each of the three goes on while the other two have not ended what they are at."""
    data = noise(2 * OBJECT)
    both = threading.Barrier(2, timeout=60)
    hashed = []

    def gate():
        if not hashed:
            hashed.append(True)
            both.wait()

    gate_hash("chosen", gate)
    airport.open.clear()

    def body():
        yield data[:OBJECT]
        # Its first piece is being hashed and written.
        assert airport.begun == [("write", 0, OBJECT)]
        assert airport.in_flight == OBJECT
        both.wait()
        airport.open.set()
        yield data[OBJECT:]

    with new_image(pool, airport, len(data)) as image:
        fill(image, body(), len(data))
        assert content(image) == data


# Holes


def test_where_an_image_has_no_data_nothing_is_read(pool, airport):
    data = bytes(3 * OBJECT) + noise(2 * OBJECT) + bytes(100 * OBJECT) + b"end"
    for cheap in (True, False):
        with new_image(pool, airport) as image:
            image.cheap_extents = cheap
            fill(image, io.BytesIO(data))
            airport.begun.clear()
            for offset, length in ((0, len(data)), (OBJECT + 1, 3 * OBJECT), (5, 10)):
                pieces = list(reads.drain(image, offset, length, window=WINDOW))
                assert b"".join(pieces) == data[offset : offset + length]
            objects = {offset // OBJECT for _kind, offset, _length in airport.begun}
            assert objects == ({3, 4, 105} if cheap else set(range(106)))
        airport.begun.clear()
        pool.remove("image")


def test_what_an_image_has_by_its_parent_is_read(pool, airport):
    data = noise(3 * OBJECT)
    pool.create("parent", 8 * OBJECT, order=12)
    with pool.open("parent", read_only=False) as parent:
        parent.write(0, data)
        parent.create_snap("s")
    pool.clone(pool, "parent", "s", "image")
    with flying.opened(pool, airport) as image:
        assert b"".join(reads.drain(image, 0, 8 * OBJECT)) == data + bytes(5 * OBJECT)
