# SPDX-License-Identifier: Apache-2.0
"""Transfers that fail at each of their writes, reads and hashes, and at each read of the body.

Whichever it is: that error is raised, nothing is in flight any more, no thread is left, and no
object in the pool.
"""

import gc
import hashlib
import io
import itertools
import sys
import threading

import pytest
import samples

from rbdstore import completions, exceptions

MiB = samples.MiB
# In six objects, the last one short, with room for four of them in the window.
OPTIONS = {"rbd_store_chunk_size": 1, "rbd_transfer_window": 4}
SIZE = 5 * MiB + 17
PIECES = 6
DATA = samples.pattern("faults", SIZE)

sizes = pytest.mark.parametrize("size", [SIZE, None], ids=["known size", "unknown size"])
pieces = pytest.mark.parametrize("number", range(PIECES))


class BrokenError(Exception):
    """What breaks in these tests."""


class Failing(completions.Completion):
    """Of an operation that is done, and of which something else is told."""

    def __init__(self, completion, error):
        self._completion = completion
        self._error = error

    def wait(self):
        self._completion.wait()

    def result(self):
        self.wait()
        raise self._error


@pytest.fixture
def images(place):
    return place.images(**OPTIONS)


@pytest.fixture
def image_class(images):
    """The class of the driver's images."""
    uri = images.add("image-0", b"").uri
    with images._pool.open("image-0") as image:
        found = type(image)
    images.delete(uri)
    return found


@pytest.fixture
def break_at(monkeypatch, image_class):
    """Have a method fail at its ``number``-th call: there, or when its result is asked for."""

    def broken(method, number, error, when):
        whole = getattr(image_class, method)
        turns = itertools.count()

        def turn(self, *args):
            breaks = next(turns) == number
            if breaks and when == "call":
                raise error
            completion = whole(self, *args)
            return Failing(completion, error) if breaks else completion

        monkeypatch.setattr(image_class, method, turn)

    return broken


@pytest.fixture
def break_hash(monkeypatch):
    """Have a hash fail at its ``number``-th piece."""

    def broken(name, number, error):
        make = getattr(hashlib, name)

        class Broken:
            def __init__(self, *args, **kwargs):
                self._hash = make(*args, **kwargs)
                self._turns = itertools.count()

            def __getattr__(self, attribute):
                return getattr(self._hash, attribute)

            def update(self, data):
                if next(self._turns) == number:
                    raise error
                self._hash.update(data)

        monkeypatch.setattr(hashlib, name, Broken)

    return broken


@pytest.fixture(autouse=True)
def _nothing_goes_on():
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name in ("rbdstore-hash", "rbdstore-close")]
    # Only where the driver at hand is the one that has flights.
    flights = sys.modules.get("rbdstore.drivers.rbd.flights")
    if flights is not None:
        assert [each for each in list(flights._begun) if not each._ended.is_set()] == []


def fails(images, body, size, error):
    """See that an upload fails with that very error."""
    with pytest.raises(type(error)) as caught:
        images.add("image-1", body, size)
    assert caught.value is error
    assert images.list() == []


@sizes
@pieces
@pytest.mark.parametrize("when", ["call", "completion"])
def test_a_write_that_fails(images, unchanged, break_at, number, when, size):
    error = exceptions.StorageFull("full")
    break_at("aio_write", number, error, when)
    fails(images, io.BytesIO(DATA), size, error)


@pieces
@pytest.mark.parametrize("name", ["md5", "new"], ids=["MD5", "the other hash"])
@pytest.mark.parametrize("threads", [0, 2])
def test_a_hash_that_fails(place, unchanged, break_hash, number, name, threads):
    error = BrokenError()
    break_hash(name, number, error)
    images = place.images(rbd_transfer_threads=threads, **OPTIONS)
    fails(images, io.BytesIO(DATA), SIZE, error)


@sizes
@pytest.mark.parametrize("number", range(PIECES + 1))
@pytest.mark.parametrize(
    ("kind", "error"),
    [("reader", OSError(5, "torn")), ("generator", KeyboardInterrupt())],
    ids=["reader", "generator"],
)
def test_a_body_that_fails(images, unchanged, number, kind, size, error):
    """Also where it should say that there is no more."""
    parts = [DATA[start : start + MiB] for start in range(0, SIZE, MiB)][:number]

    class Body:
        def read(self, _size):
            if parts:
                return parts.pop(0)
            raise error

    def body():
        yield from parts
        raise error

    fails(images, Body() if kind == "reader" else body(), size, error)


@sizes
def test_odd_pieces_that_come_slowly_and_then_no_more(images, unchanged, size):
    error = ConnectionResetError()

    def body():
        for part in samples.pieces(DATA[: 3 * MiB], 300_007):
            threading.Event().wait(0.001)
            yield part
        raise error

    fails(images, body(), size, error)


@pytest.fixture
def stored(images):
    uri = images.add("image-1", DATA, SIZE).uri
    yield uri
    images.delete(uri)


@pieces
@pytest.mark.parametrize("when", ["call", "completion"])
def test_a_read_that_fails(images, stored, break_at, number, when):
    error = exceptions.Timeout("late")
    break_at("aio_read", number, error, when)
    reader = images.get(stored)
    taken = []
    with pytest.raises(exceptions.Timeout) as caught:
        taken.extend(reader)
    assert caught.value is error
    # What came before is the image's; one that could not be begun is told of ahead of its place.
    got = b"".join(taken)
    assert got == DATA[: len(got)]
    assert len(got) <= number * MiB
    assert when == "call" or len(got) == number * MiB
    assert list(reader) == []


@pytest.mark.parametrize("taken", [0, 1, PIECES - 1, PIECES])
@pytest.mark.parametrize("how", ["closed", "forgotten", "interrupted"])
def test_a_download_that_is_given_up(images, stored, taken, how):
    reader = images.get(stored)
    got = b"".join(itertools.islice(reader, taken))
    assert got == DATA[: len(got)]
    if how == "closed":
        reader.close()
        assert list(reader) == []
    elif how == "forgotten":
        del reader
        gc.collect()
    else:
        with pytest.raises(KeyboardInterrupt), reader:
            raise KeyboardInterrupt


def test_a_slow_reader_is_read_ahead_of_by_the_window(images, stored, monkeypatch, image_class):
    begun = []
    whole = image_class.aio_read

    def aio_read(self, offset, length):
        begun.append(length)
        return whole(self, offset, length)

    monkeypatch.setattr(image_class, "aio_read", aio_read)
    taken = 0
    for piece in images.get(stored):
        taken += len(piece)
        assert sum(begun) <= taken + 4 * MiB
    assert taken == sum(begun) == SIZE
