# SPDX-License-Identifier: Apache-2.0
"""Transfers whose reads and writes are in flight: bounded, in order, and ended cleanly."""

import concurrent.futures
import contextlib
import hashlib
import io
import itertools
import os
import random
import signal
import threading
import time
import tracemalloc

import flying
import memory
import pytest
from bodies import OBJECT, cut, noise

from rbdstore import bodies, exceptions, reads, transfer

WINDOW = 4 * OBJECT


class BrokenError(Exception):
    """What breaks in these tests."""


@pytest.fixture
def pool():
    return memory.memory_cluster().open_pool("images")


@pytest.fixture
def airport():
    found = flying.Airport()
    yield found
    left = found.in_flight
    found.close()
    assert left == 0, "something is in flight"


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def new_image(pool, airport, size=0):
    pool.create("image", size, order=12)
    return flying.opened(pool, airport)


def fill(image, body, size=None, progress=None, **tuning):
    return transfer.fill(image, body, size, "sha512", progress, **{"window": WINDOW} | tuning)


def content(image):
    return image.read(0, image.size())


def fail(error):
    raise error


class Gate:
    """A hash that hashes nothing until the gate is open."""

    def __init__(self, hashed, gate):
        self._hashed = hashed
        self._gate = gate

    def __getattr__(self, name):
        return getattr(self._hashed, name)

    def update(self, data):
        self._gate()
        self._hashed.update(data)


@pytest.fixture
def gate_hash(monkeypatch):
    """Have a hash wait for, or fail by, a function; MD5 or the other one."""

    def gated(which, gate):
        kinds = {"md5": "md5", "chosen": "new"}
        make = getattr(hashlib, kinds[which])
        monkeypatch.setattr(
            hashlib, kinds[which], lambda *args, **kwargs: Gate(make(*args, **kwargs), gate)
        )

    return gated


# Whole


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


# Bounded


class Counted:
    """A body that tells how much of it was read.

    :param size: None: it has no end
    :param most: how much it gives at a time
    """

    def __init__(self, byte=b"x", size=None, most=OBJECT):
        self.given = 0
        self._byte = byte
        self._size = size
        self._most = most

    def read(self, size):
        size = min(size, self._most)
        if self._size is not None:
            size = min(size, self._size - self.given)
        self.given += size
        return self._byte * size


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


# Errors


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize("number", range(12))
def test_a_write_that_fails_fails_the_upload(pool, airport, number, known):
    error = exceptions.NoSpace("full")
    airport.fail(number, error)
    data = noise(12 * OBJECT)
    with new_image(pool, airport, len(data) if known else 0) as image:
        with pytest.raises(exceptions.NoSpace) as caught:
            fill(image, io.BytesIO(data), len(data) if known else None)
        assert airport.in_flight == 0
    assert caught.value is error


def test_a_write_that_fails_stops_everything(pool, airport):
    airport.fail(0, exceptions.NoSpace("full"))
    body = Counted()
    with new_image(pool, airport, 1 << 40) as image, pytest.raises(exceptions.NoSpace):
        fill(image, body, 1 << 40)
    assert body.given < 100 * OBJECT


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("error", [exceptions.Timeout("late"), exceptions.ImageNotFound("gone")])
def test_a_read_that_fails_fails_the_download_at_its_place(pool, airport, number, error):
    data = noise(5 * OBJECT)
    with new_image(pool, airport, len(data)) as image:
        image.write(0, data)
        airport.fail(number, error)
        pieces = reads.drain(image, 0, len(data), window=WINDOW)
        for start in range(0, number * OBJECT, OBJECT):
            assert next(pieces) == data[start : start + OBJECT]
        with pytest.raises(type(error)) as caught:
            next(pieces)
        assert airport.in_flight == 0
    assert caught.value is error


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("which", ["md5", "chosen"])
@pytest.mark.parametrize("piece", [0, 3, 11])
def test_a_hash_that_fails_fails_the_upload(pool, airport, gate_hash, which, piece, threads):
    error = BrokenError()
    turns = itertools.count()
    gate_hash(which, lambda: next(turns) == piece and fail(error))
    with new_image(pool, airport, 12 * OBJECT) as image:
        with pytest.raises(BrokenError) as caught:
            fill(image, io.BytesIO(noise(12 * OBJECT)), 12 * OBJECT, threads=threads)
        assert airport.in_flight == 0
    assert caught.value is error


def test_a_hash_that_fails_stops_everything(pool, airport, gate_hash):
    gate_hash("md5", lambda: fail(BrokenError()))
    body = Counted()
    with new_image(pool, airport, 1 << 40) as image, pytest.raises(BrokenError):
        fill(image, body, 1 << 40)
    assert body.given < 100 * OBJECT


def test_of_two_errors_the_first_is_raised(pool, airport):
    """Also where the body, which breaks later, is what tells of it."""
    first = exceptions.NoSpace("full")
    airport.fail(0, first)

    def body():
        yield noise(OBJECT)
        landed.wait(60)
        raise BrokenError

    landed = threading.Event()
    with new_image(pool, airport) as image:
        whole = image.aio_write

        def aio_write(offset, data, done):
            return whole(offset, data, lambda: (done(), landed.set()))

        image.aio_write = aio_write
        with pytest.raises(exceptions.NoSpace) as caught:
            fill(image, body())
    assert caught.value is first


def test_what_fails_after_the_body_broke_is_not_raised(pool, airport):
    airport.open.clear()
    airport.fail(0, exceptions.NoSpace("full"))

    def body():
        yield noise(OBJECT)
        threading.Timer(0.05, airport.open.set).start()
        raise BrokenError

    with new_image(pool, airport) as image:
        with pytest.raises(BrokenError) as caught:
            fill(image, body())
        assert airport.in_flight == 0
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BrokenError, GeneratorExit])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_nothing_is_in_flight_when_an_upload_was_interrupted(pool, airport, error, known):
    raised = error()

    def progress(done, _total):
        if done >= 5 * OBJECT:
            raise raised

    with new_image(pool, airport, 9 * OBJECT if known else 0) as image:
        with pytest.raises(error) as caught:
            fill(image, Counted(), 9 * OBJECT if known else None, progress)
        assert airport.in_flight == 0
        before = content(image)
    assert caught.value is raised
    assert len(airport.begun) == 5
    assert before[: 5 * OBJECT] == b"x" * 5 * OBJECT


def test_an_interrupt_gets_through_while_all_wait(pool, airport):
    """Ctrl-C, while the window is full and the cluster does not answer."""
    airport.open.clear()
    main = threading.get_ident()

    def interrupt():
        while airport.in_flight < WINDOW // 2:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)
        # What is in flight is waited for.
        threading.Timer(0.05, airport.open.set).start()

    interrupter = threading.Thread(target=interrupt)
    with new_image(pool, airport, 1 << 40) as image:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            fill(image, Counted(), 1 << 40)
        assert airport.in_flight == 0
    interrupter.join()


@pytest.mark.parametrize("taken", range(4))
def test_nothing_is_in_flight_when_a_download_is_given_up(pool, airport, taken):
    data = noise(20 * OBJECT)
    with new_image(pool, airport, len(data)) as image:
        image.write(0, data)
        pieces = reads.drain(image, 0, len(data), window=WINDOW)
        for _ in range(taken):
            next(pieces)
        pieces.close()
        assert airport.in_flight == 0


# Files


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_files_with_holes(pool, airport, tmp_path, seed, buffering):
    chance = random.Random(seed)
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range(6):
            file.seek(chance.randrange(6 * OBJECT), 1)
            file.write(chance.randbytes(chance.randrange(3 * OBJECT)))
        file.truncate(file.tell() + chance.choice([0, 5 * OBJECT]))
    start = chance.choice([0, 1, OBJECT, 3 * OBJECT + 5])
    data = path.read_bytes()[start:]
    with new_image(pool, airport) as image, path.open("rb", buffering) as file:
        file.seek(start)
        found = fill(image, file)
        assert file.tell() == start + len(data)
        assert content(image) == data
    assert found.checksum == hashlib.md5(data).hexdigest()


def test_holes_of_files_are_not_read(tmp_path):
    path = tmp_path / "file"
    size = 256 << 20
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(size - 3)
        file.write(b"end")
    with path.open("rb", 0) as file:
        before = bytes_read()
        found = transfer.measure(file, size, "md5")
        read = bytes_read() - before
    assert read < size / 8
    assert found.checksum == hashlib.md5(b"begin" + bytes(size - 8) + b"end").hexdigest()


def bytes_read():
    """By all threads of this process, from wherever."""
    with open("/proc/self/io") as counts:
        return int(next(line for line in counts if line.startswith("rchar")).split()[1])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_with_holes_of_another_size(pool, airport, tmp_path, change):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(5 * OBJECT)
    with (
        new_image(pool, airport, 5 * OBJECT + change) as image,
        path.open("rb") as file,
        pytest.raises(exceptions.InvalidBody),
    ):
        fill(image, file, 5 * OBJECT + change)


def test_a_file_that_is_cut_off_while_its_holes_are_looked_for(tmp_path):
    """What was data is not to become zeros."""
    path = tmp_path / "file"
    path.write_bytes(noise(4 * OBJECT))

    class CutOff(io.FileIO):
        def seek(self, position, whence=os.SEEK_SET):
            if whence == os.SEEK_HOLE:
                os.truncate(path, OBJECT)
            return super().seek(position, whence)

    with CutOff(path) as file:
        file.seek(2 * OBJECT)
        with memoryview(bytearray(OBJECT)) as target:
            assert bodies._Stretches(file).fill(target) == 0


def test_a_file_that_is_not_what_it_is_on_the_disk(pool, airport, tmp_path):
    """A subclass may give something else than the file has."""

    class Shouting(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    path = tmp_path / "file"
    path.write_bytes(b"data")
    with new_image(pool, airport) as image, Shouting(path) as file:
        fill(image, file)
        assert content(image) == b"DATA"


def test_a_file_of_no_size_that_has_data(pool, airport):
    """As in /proc."""
    with new_image(pool, airport) as image, open("/proc/self/limits", "rb", 0) as file:
        fill(image, file)
        assert content(image).startswith(b"Limit")
