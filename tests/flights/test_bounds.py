# SPDX-License-Identifier: Apache-2.0
"""However slow anybody is, no more is in memory than the window has room for."""

import concurrent.futures
import contextlib
import io
import threading
import time
import tracemalloc

import flying
import pytest
from bodies import OBJECT, noise
from flying import WINDOW, Counted, content, fill, new_image

from rbdstore.transfer import bodies, reads


@contextlib.contextmanager
def uploading(image, body, size):
    """Upload in another thread, which ends well."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        upload = executor.submit(fill, image, body, size)
        yield upload
        upload.result(60)


@pytest.mark.parametrize("most", [OBJECT, OBJECT // 3])
@pytest.mark.parametrize("slow", ["md5", "chosen", "writes"])
def test_memory_is_bounded_whoever_is_slow(pool, airport, gate_hash, slow, most):
    """What has been read, and is not yet hashed and written, is no more than the window."""
    size = 40 * OBJECT
    go_on = threading.Event()
    if slow == "writes":
        airport.open.clear()
    else:
        gate_hash(slow, go_on.wait)
    body = Counted(size=size, most=most)
    with new_image(pool, airport, size) as image:
        with uploading(image, body, size) as upload:
            # If it may read on, it does so now; a slow machine hides that, and never invents it.
            concurrent.futures.wait([upload], 0.2)
            given = body.given
            go_on.set()
            airport.open.set()
        assert content(image) == b"x" * size
    assert given <= WINDOW + most
    assert airport.most <= WINDOW


@pytest.mark.parametrize("kind", ["file", "parts", "small parts"])
def test_memory_does_not_grow_with_the_image(pool, airport, tmp_path, kind):
    """Counted in bytes, the driver's own copies among them."""
    size, order = 48 << 20, 18
    window = 5 << order
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    pool.create("image", size, order=order)
    with flying.opened(pool, airport) as image, path.open("rb", 0) as file:
        # It would all be kept.
        image.write = lambda offset, data: None
        kinds = {
            "file": lambda: file,
            "parts": lambda: iter(lambda: file.read(1 << order), b""),
            "small parts": lambda: iter(lambda: file.read(70_001), b""),
        }
        bodies.zeros(1 << order)
        tracemalloc.start()
        try:
            fill(image, kinds[kind](), size, window=window)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < window + (1 << order)


def test_objects_that_the_window_has_no_room_for_are_taken_in_parts(pool, airport):
    mib = 1 << 20
    data = noise(9 * mib) + bytes(9 * mib) + noise(5)
    pool.create("image", len(data), order=23)
    with flying.opened(pool, airport) as image:
        fill(image, io.BytesIO(data), len(data), window=4 * mib)
        assert b"".join(reads.drain(image, 0, len(data), window=4 * mib)) == data
    assert {length for _kind, _offset, length in airport.begun} == {mib, 5}
    assert airport.most <= 4 * mib


def test_holes_are_not_far_ahead_of_their_hashes(pool, airport, gate_hash):
    """They take no memory, but their number must not grow for ever."""
    size = 40 * OBJECT
    go_on = threading.Event()
    gate_hash("chosen", go_on.wait)
    body = Counted(b"\0", size)
    with new_image(pool, airport, size) as image, uploading(image, body, size) as upload:
        concurrent.futures.wait([upload], 0.2)
        given = body.given
        go_on.set()
    assert given <= WINDOW + OBJECT
    assert airport.begun == []


@pytest.mark.parametrize("window", [1, OBJECT, WINDOW, WINDOW + 1])
def test_a_slow_reader_is_not_read_ahead_of_by_more_than_the_window(pool, airport, window):
    data = noise(20 * OBJECT)
    with new_image(pool, airport, len(data)) as image:
        image.write(0, data)
        taken = b""
        for piece in reads.drain(image, 0, len(data), window=window):
            taken += piece
            begun = sum(length for _kind, _offset, length in airport.begun)
            assert begun <= len(taken) + max(window, OBJECT)
        assert taken == data
    assert airport.most <= max(window, OBJECT)
    assert [offset for _, offset, _ in airport.begun] == list(range(0, len(data), OBJECT))


def test_reads_are_in_flight_together(pool, airport):
    data = noise(20 * OBJECT)
    with new_image(pool, airport, len(data)) as image:
        image.write(0, data)
        airport.open.clear()
        pieces = reads.drain(image, 0, len(data), window=WINDOW)
        opener = threading.Thread(target=open_when, args=(airport, WINDOW))
        opener.start()
        assert next(pieces) == data[:OBJECT]
        opener.join()
        pieces.close()


def open_when(airport, length):
    """Let things land when so much is in flight."""
    while airport.in_flight < length:
        time.sleep(0.001)
    airport.open.set()
