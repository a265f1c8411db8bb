# SPDX-License-Identifier: Apache-2.0
"""Uploads of images: every kind of body, and of failure, as client.glance."""

import hashlib
import io
import json
import subprocess
import sys
import threading

import places
import pytest
import samples

from rbdstore import exceptions, spec
from rbdstore.images import StoredImage

MiB = samples.MiB

UPLOADER = """
import json, sys
import rbdstore

def body():
    yield b"x" * 100
    print("begun", flush=True)
    sys.stdin.readline()
    yield b"y" * 100

driver, options = json.loads(sys.argv[1])
with rbdstore.connect(driver, **options) as store:
    print(store.images.add("image-1", body()).uri, flush=True)
"""


class BodyBrokeError(Exception):
    """What a body in these tests raises."""


def read(images, uri, *args):
    return b"".join(images.get(uri, *args))


# add


def test_add_stores_the_bytes_and_tells_where(images, raw, place):
    data = samples.pattern("add", 20 * MiB + 17)
    image = images.add("image-1", io.BytesIO(data), len(data))
    assert image == StoredImage(
        f"rbd://{place.fsid}/images/image-1/snap",
        len(data),
        hashlib.md5(data).hexdigest(),
        "sha512",
        hashlib.sha512(data).hexdigest(),
    )
    assert raw.images("images") == ["image-1"]
    assert raw.snaps("images", "image-1") == ["snap"]
    assert raw.is_protected("images", "image-1", "snap")
    assert raw.object_size("images", "image-1") == 8 * MiB
    assert raw.read("images", "image-1") == data
    assert raw.read("images", "image-1", "snap") == data
    assert read(images, image.uri) == data
    assert images.get_size(image.uri) == len(data)
    assert images.exists(image.uri)
    images.delete(image.uri)
    assert not images.exists(image.uri)


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize(
    "size", [0, 1, 8 * MiB - 1, 8 * MiB, 8 * MiB + 1, 70 * MiB], ids=lambda size: f"{size} bytes"
)
def test_any_size(images, size, known):
    data = samples.pattern("sizes", size)
    image = images.add("image-1", io.BytesIO(data), size if known else None)
    assert image.size == size
    assert image.os_hash_value == hashlib.sha512(data).hexdigest()
    assert images.get_size(image.uri) == size
    assert read(images, image.uri) == data
    images.delete(image.uri)


@pytest.mark.parametrize(
    "make",
    [
        bytes,
        bytearray,
        io.BytesIO,
        lambda data: [data[:1], data[1:]],
        lambda data: samples.pieces(data, 65537),
        lambda data: samples.pieces(data, 12 * MiB),
        lambda data: (memoryview(data)[start : start + MiB] for start in range(0, len(data), MiB)),
        lambda data: [b"", data[:7], b"", b"", data[7:], b""],
        lambda data: io.BufferedReader(_Trickle(data)),
        lambda data: _Trickle(data),
    ],
    ids=[
        "bytes",
        "bytearray",
        "file",
        "list",
        "odd pieces",
        "pieces larger than objects",
        "memoryviews",
        "empty pieces",
        "buffered reader",
        "short reads",
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_any_kind_of_body(images, make, known):
    data = samples.pattern("bodies", 17 * MiB + 3)
    image = images.add("image-1", make(data), len(data) if known else None)
    assert image.checksum == hashlib.md5(data).hexdigest()
    assert read(images, image.uri) == data
    images.delete(image.uri)


class _Trickle(io.RawIOBase):
    """A socket's kind of file: it gives less than it is asked for."""

    def __init__(self, data):
        super().__init__()
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self._data.read(min(len(buffer), 99_991))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_upload_leaves_nothing(images, unchanged, interrupt):
    def body():
        yield b"x" * 9 * MiB
        raise interrupt

    with pytest.raises(interrupt):
        images.add("image-1", body())


def test_a_failed_upload_does_not_stand_in_the_way_of_the_next(images):
    with pytest.raises(exceptions.InvalidBody):
        images.add("image-1", b"12345", 6)
    image = images.add("image-1", b"123456", 6)
    assert read(images, image.uri) == b"123456"
    images.delete(image.uri)


def test_zero_stretches_are_not_written(images, raw):
    data = bytes(16 * MiB) + b"x" + bytes(8 * MiB - 1) + bytes(8 * MiB) + b"end"
    for size in (len(data), None):
        image = images.add("image-1", io.BytesIO(data), size)
        assert raw.data_objects("images", "image-1") == 2
        assert image.checksum == hashlib.md5(data).hexdigest()
        assert read(images, image.uri) == data
        images.delete(image.uri)


def test_an_image_of_zeros_takes_no_space(images, raw):
    image = images.add("image-1", io.BytesIO(bytes(33 * MiB)))
    assert raw.data_objects("images", "image-1") == 0
    assert images.get_size(image.uri) == 33 * MiB
    assert read(images, image.uri) == bytes(33 * MiB)
    images.delete(image.uri)


def test_the_size_of_objects_is_an_option(place, raw):
    images = place.images(rbd_store_chunk_size=1)
    image = images.add("image-1", b"x" * (3 * MiB))
    assert raw.data_objects("images", "image-1") == 3
    images.delete(image.uri)


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "blake2b", "sha3_512"])
def test_any_hash(images, algorithm):
    data = samples.pattern("hash", 100_000)
    image = images.add("image-1", data, hashing_algo=algorithm)
    assert image.os_hash_algo == algorithm
    assert image.os_hash_value == hashlib.new(algorithm, data).hexdigest()
    assert image.checksum == hashlib.md5(data).hexdigest()
    images.delete(image.uri)


@pytest.mark.parametrize("name", ["Ä 100 % ünïcode", "a.b:c+d&e=f?#", "x" * 220, "-n"])
def test_unusual_names_work(images, raw, name):
    image = images.add(name, b"data")
    assert raw.images("images") == [name]
    assert spec.Location.parse(image.uri).image == name
    assert read(images, image.uri) == b"data"
    assert [found.uri for found in images.list()] == [image.uri]
    images.delete(image.uri)


@pytest.mark.parametrize("size", [None, 20 * MiB])
def test_progress_goes_up_to_the_end(images, size):
    seen = []
    image = images.add(
        "image-1", bytes(20 * MiB), size, progress=lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (20 * MiB, 20 * MiB)
    if size is not None:
        assert {total for _, total in seen} == {size}
    images.delete(image.uri)


def test_a_progress_that_raises_stops_the_upload(images, unchanged):
    def progress(done, total):
        raise BodyBrokeError

    with pytest.raises(BodyBrokeError):
        images.add("image-1", bytes(20 * MiB), progress=progress)


# Duplicates


def test_a_second_image_of_the_name_is_refused(images, raw, unchanged):
    image = images.add("image-1", b"the first")
    unchanged()
    body = io.BytesIO(b"the second")
    with pytest.raises(exceptions.Duplicate):
        images.add("image-1", body)
    assert body.tell() == 0
    assert read(images, image.uri) == b"the first"
    images.delete(image.uri)
    unchanged()


def test_an_image_that_somebody_else_made_is_not_overwritten(images, raw):
    raw.create("images", "image-1", data=b"an operator's")
    with pytest.raises(exceptions.Duplicate):
        images.add("image-1", b"ours")
    assert raw.read("images", "image-1") == b"an operator's"
    assert raw.snaps("images", "image-1") == []
    raw.remove("images", "image-1")


def test_duplicate_while_another_thread_uploads_it(place, images):
    begun, go_on = threading.Event(), threading.Event()
    stored = []

    def body():
        yield b"first "
        begun.set()
        assert go_on.wait(30)
        yield b"upload"

    thread = threading.Thread(target=lambda: stored.append(images.add("image-1", body())))
    thread.start()
    assert begun.wait(30)
    for store in (images, place.images()):
        with pytest.raises(exceptions.Duplicate):
            store.add("image-1", b"second upload")
        assert store.list() == []
        assert not store.exists(f"rbd://{place.fsid}/images/image-1/snap")
    go_on.set()
    thread.join(30)
    assert read(images, stored[0].uri) == b"first upload"
    images.delete(stored[0].uri)


def test_duplicate_while_another_process_uploads_it(place, images):
    arguments = json.dumps([place.driver, place.options("images", "glance")])
    with subprocess.Popen(
        [sys.executable, "-c", UPLOADER, arguments],
        cwd=places.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            with pytest.raises(exceptions.Duplicate):
                images.add("image-1", b"second upload")
            out, _ = process.communicate("\n", timeout=30)
        finally:
            process.kill()
    assert read(images, out.strip()) == b"x" * 100 + b"y" * 100
    images.delete(out.strip())


def test_two_uploads_on_one_store_at_once_do_not_mix(images):
    barrier = threading.Barrier(4, timeout=30)
    stored = {}

    def upload(number):
        def body():
            for part in samples.pieces(samples.pattern(number, 9 * MiB), 3 * MiB):
                barrier.wait()
                yield part

        stored[number] = images.add(f"image-{number}", body())

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number, image in stored.items():
        assert image.size == 9 * MiB
        assert read(images, image.uri) == samples.pattern(number, 9 * MiB)
        images.delete(image.uri)
    assert len(stored) == 4
