# SPDX-License-Identifier: Apache-2.0
"""Transfer: every kind of body, whole or not at all, hashed, and no zeros written."""

import array
import contextlib
import hashlib
import io
import itertools
import random

import bodies
import memory
import pytest
from bodies import cut, noise
from rbdstore_memory.image import MemoryImage

from rbdstore import exceptions, transfer
from rbdstore.testing import faults
from rbdstore.transfer import reads

KiB = 1024
MiB = 1024 * KiB
OBJECT = bodies.OBJECT

# Around the ends of objects.
SIZES = [0, 1, OBJECT - 1, OBJECT, OBJECT + 1, 3 * OBJECT, 3 * OBJECT + 7]


class Recorder(MemoryImage):
    """Keeps the stretches that were written and the sizes that were asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.written = []
        self.resized = []

    def write(self, offset, data):
        self.written.append((offset, len(data)))
        super().write(offset, data)

    def resize(self, size, *, allow_shrink=False):
        self.resized.append(size)
        super().resize(size, allow_shrink=allow_shrink)


@pytest.fixture
def pool():
    return memory.memory_cluster().open_pool("images")


@contextlib.contextmanager
def new_image(pool, size=0, order=12):
    pool.create("image", size, order=order)
    with Recorder(pool, pool.live("image"), read_only=False) as image:
        yield image


def fill(image, body, size=None, algorithm="sha512", progress=None):
    return transfer.fill(image, body, size, algorithm, progress)


def content(image):
    return image.read(0, image.size())


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize("kind", bodies.KINDS)
def test_every_kind_of_body(pool, kind, known):
    for size in SIZES:
        data = noise(size)
        with new_image(pool, size if known else 0) as image, bodies.of(kind, data) as body:
            found = fill(image, body, size if known else None)
            assert content(image) == data
        assert found == transfer.Digests(
            size, hashlib.md5(data).hexdigest(), hashlib.sha512(data).hexdigest()
        )
        pool.remove("image")


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_what_is_hashed_for_nobody(pool, threads):
    data = noise(2 * OBJECT + 7)
    with new_image(pool, len(data)) as image:
        found = transfer.fill(image, data, len(data), None, None, threads=threads)
        assert content(image) == data
    assert found == transfer.Digests(len(data), "", "")


@pytest.mark.parametrize("kind", bodies.KINDS)
def test_to_measure_is_to_fill_without_an_image(kind):
    for size in SIZES:
        data = noise(size)
        with bodies.of(kind, data) as body:
            found = transfer.measure(body, size, "sha256")
        assert found == transfer.Digests(
            size, hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()
        )


@pytest.mark.parametrize("seed", range(40))
def test_bodies_with_holes_in_odd_pieces(pool, seed):
    """However zeros and data are mixed and cut, they arrive, and no zeros are written."""
    chance = random.Random(seed)
    data = b"".join(
        chance.choice([bytes, chance.randbytes])(
            chance.choice([1, 100, OBJECT, 2 * OBJECT, chance.randrange(5 * OBJECT)])
        )
        for _ in range(chance.randrange(8))
    )
    known = chance.random() < 0.5
    with new_image(pool, len(data) if known else 0) as image:
        fill(image, cut(data, seed), len(data) if known else None)
        assert content(image) == data
        assert image.size() == len(data)
        assert image.written == [
            (start, len(piece))
            for start in range(0, len(data), OBJECT)
            if any(piece := data[start : start + OBJECT])
        ]
    pool.remove("image")


# Zeros


def test_zeros_are_no_objects(pool):
    data = bytes(OBJECT) + noise(OBJECT) + bytes(3 * OBJECT) + b"x" + bytes(OBJECT + 5)
    with new_image(pool, len(data)) as image:
        fill(image, io.BytesIO(data), len(data))
        extents = list(image.extents(0, len(data), whole_object=True))
        assert [(extent.offset, extent.length) for extent in extents] == [
            (OBJECT, OBJECT),
            (5 * OBJECT, OBJECT),
        ]
        assert content(image) == data


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_but_zeros_stores_nothing(pool, size, known):
    with new_image(pool, size if known else 0) as image:
        found = fill(image, [bytes(size)], size if known else None)
        assert image.written == []
        assert image.size() == size
    assert pool.stats().used == 0
    assert found.checksum == hashlib.md5(bytes(size)).hexdigest()


def test_a_last_short_piece_of_zeros_is_not_written(pool):
    data = noise(OBJECT) + bytes(9)
    with new_image(pool, len(data)) as image:
        fill(image, data, len(data))
        assert image.written == [(0, OBJECT)]


def test_zeros_in_views_of_wider_elements_are_not_written(pool):
    body = [memoryview(array.array("Q", bytes(8 * OBJECT)))]
    with new_image(pool) as image:
        fill(image, body)
        assert image.written == []
        assert image.size() == 8 * OBJECT


# The size of the image


def test_an_image_of_unknown_size_grows_in_few_steps_and_is_trimmed(pool):
    piece = bytes(4 * MiB)
    with new_image(pool, order=22) as image:
        fill(image, itertools.repeat(piece, 40))
        assert image.size() == 160 * MiB
        *grown, trimmed = image.resized
        assert trimmed == 160 * MiB
        assert len(grown) <= 3
        assert grown == sorted(grown)


def test_an_image_of_known_size_is_never_resized(pool):
    with new_image(pool, 3 * OBJECT) as image:
        fill(image, noise(3 * OBJECT), 3 * OBJECT)
        assert image.resized == []


def test_an_empty_body_leaves_an_empty_image(pool):
    with new_image(pool) as image:
        assert fill(image, iter(())).size == 0
        assert image.size() == 0
        assert image.resized == []


# Too short, too long, not bytes


@pytest.mark.parametrize("kind", bodies.KINDS)
@pytest.mark.parametrize("missing", [1, OBJECT, 2 * OBJECT + 5])
def test_a_body_that_is_too_short(pool, kind, missing):
    data = noise(2 * OBJECT + 5)
    size = len(data) + missing
    told = pytest.raises(exceptions.InvalidBody, match=f"after {len(data)} of the {size} bytes")
    with new_image(pool, size) as image, bodies.of(kind, data) as body, told:
        fill(image, body, size)
    with bodies.of(kind, data) as body, pytest.raises(exceptions.InvalidBody, match="ends after"):
        transfer.measure(body, size, "md5")


@pytest.mark.parametrize("kind", bodies.KINDS)
@pytest.mark.parametrize("excess", [1, OBJECT, 2 * OBJECT + 5])
def test_a_body_that_is_too_long(pool, kind, excess):
    data = noise(2 * OBJECT + 5)
    size = len(data) - excess
    with new_image(pool, size) as image, bodies.of(kind, data) as body:
        with pytest.raises(exceptions.InvalidBody, match=f"goes on after the {size} bytes"):
            fill(image, body, size)
        assert image.size() == size
        # What was too much did not get into the image.
        assert all(offset + length <= size for offset, length in image.written)


def test_a_body_without_an_end_is_read_no_further_than_promised(pool):
    given = itertools.count()
    body = (next(given).to_bytes(8, "big") for _ in itertools.repeat(None))
    with new_image(pool, OBJECT) as image, pytest.raises(exceptions.InvalidBody):
        fill(image, body, OBJECT)
    assert next(given) <= 2 * OBJECT // 8


def test_a_body_that_must_be_empty_is_not(pool):
    with new_image(pool) as image, pytest.raises(exceptions.InvalidBody, match="after the 0"):
        fill(image, b"x", 0)


def test_views_of_wider_elements_and_with_gaps(pool):
    """Of a view, the number of its elements need not be that of its bytes."""
    data = noise(8 * OBJECT)
    wide, gappy = memoryview(array.array("Q", data)), memoryview(data)[::2]
    with new_image(pool) as image:
        assert fill(image, [wide, gappy]).size == 12 * OBJECT
        assert content(image) == data + data[::2]


# Errors of the body and of the cluster


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "I/O error"),
        ConnectionResetError(),
        RuntimeError("of the caller's own"),
        exceptions.ImageNotFound("of another store"),
        KeyboardInterrupt(),
        SystemExit(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("broken", [bodies.Broken, bodies.breaks_off])
def test_an_error_of_the_body_comes_out_as_it_is(pool, broken, error):
    with new_image(pool) as image:
        with pytest.raises(type(error)) as caught:
            fill(image, broken(noise(2 * OBJECT), error))
        assert caught.value is error
        assert error.__cause__ is None


def test_an_error_of_the_body_comes_before_its_being_short(pool):
    error = OSError("torn")
    with new_image(pool, MiB) as image, pytest.raises(OSError, match="torn"):
        fill(image, bodies.breaks_off(b"data", error), MiB)


@pytest.mark.parametrize("call", ["Image.aio_write", "Image.resize", "Image.flush"])
@pytest.mark.parametrize("error", [exceptions.StorageFull, exceptions.Timeout, KeyboardInterrupt])
def test_what_the_cluster_says_comes_out(call, error):
    plan = faults.Plan()
    pool = faults.FaultyCluster(memory.memory_cluster(), plan).open_pool("images")
    pool.create("image", 0, order=12)
    with pool.open("image", read_only=False) as image:
        plan.watch()
        fill(image, noise(OBJECT))
        calls = plan.stop()
        image.resize(0, allow_shrink=True)
        plan.fail(calls.index(call) + 1, error("injected"))
        with pytest.raises(error, match="injected"):
            fill(image, noise(OBJECT))


def test_a_cluster_that_is_full():
    pool = memory.memory_cluster(capacity=2 * OBJECT).open_pool("images")
    with new_image(pool, 4 * OBJECT) as image, pytest.raises(exceptions.StorageFull):
        fill(image, noise(4 * OBJECT), 4 * OBJECT)


# Progress


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_progress_goes_to_the_end(pool, known):
    data = noise(2 * OBJECT) + bytes(2 * OBJECT) + b"end"
    told = []
    with new_image(pool, len(data) if known else 0) as image:
        fill(
            image,
            cut(data, 7),
            len(data) if known else None,
            progress=lambda done, total: told.append((done, total)),
        )
    done = [step for step, _total in told]
    assert done == sorted(set(done))
    assert told[-1] == (len(data), len(data))
    assert {total for _done, total in told} == ({len(data)} if known else set(done))


def test_an_error_of_the_progress_comes_out(pool):
    def stop(_done, _total):
        raise InterruptedError("enough")

    with new_image(pool) as image, pytest.raises(InterruptedError, match="enough"):
        fill(image, noise(3 * OBJECT), progress=stop)


# Hashes


@pytest.mark.parametrize(
    "name", ["md5", "sha1", "sha256", "sha512", "sha3_512", "blake2b", "sha512_256"]
)
def test_hashes(pool, name):
    data = noise(2 * OBJECT + 1)
    assert transfer.check_algorithm(name) == name
    with new_image(pool) as image:
        found = fill(image, data, algorithm=name)
    assert found.checksum == hashlib.md5(data).hexdigest()
    assert found.os_hash_value == hashlib.new(name, data).hexdigest()


# Reading


@pytest.mark.parametrize(
    ("offset", "length"),
    list(itertools.product([0, 1, OBJECT - 1, OBJECT, OBJECT + 1], [0, 1, OBJECT, 8200])),
)
def test_a_stretch_is_read_object_by_object(pool, offset, length):
    data = noise(4 * OBJECT)
    with new_image(pool, len(data)) as image:
        fill(image, data, len(data))
        pieces = list(reads.drain(image, offset, length))
    assert b"".join(pieces) == data[offset : offset + length]
    ends = list(itertools.accumulate(map(len, pieces), initial=offset))
    assert all(end % OBJECT == 0 for end in ends[1:-1])
    assert all(pieces)
