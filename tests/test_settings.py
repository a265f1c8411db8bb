# SPDX-License-Identifier: Apache-2.0
"""Settings: plain values that nobody changes on the way."""

import dataclasses
import hashlib
import threading

import memory
import pytest

from rbdstore.settings import Settings
from rbdstore.testing import faults

MiB = 1 << 20


@pytest.mark.parametrize("order", range(12, 26))
def test_the_order_of_a_chunk_size(order):
    chosen = Settings(chunk_size=2**order)
    assert chosen.object_order(8 * MiB) == order
    assert Settings().object_order(2**order) == order


def test_a_chosen_chunk_size_holds_for_every_service():
    with memory.memory_store(pool="rbd", chunk_size=64 * 1024) as store:
        store.images.add("image", b"data")
        store.volumes.create("volume", MiB)
        assert object_sizes(store) == {"image": 64 * 1024, "volume": 64 * 1024}


def test_without_one_each_service_has_its_own():
    with memory.memory_store(pool="rbd") as store:
        store.images.add("image", b"data")
        store.volumes.create("volume", MiB)
        assert object_sizes(store) == {"image": 8 * MiB, "volume": 4 * MiB}


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_how_many_threads_hash(threads):
    def body():
        yield b"x" * 64 * 1024
        yield b"y" * 64 * 1024
        seen.extend(each for each in threading.enumerate() if each.name == "rbdstore-hash")

    seen = []
    with memory.memory_store(pool="rbd", chunk_size=64 * 1024, transfer_threads=threads) as store:
        image = store.images.add("image", body())
    assert image.checksum == hashlib.md5(b"x" * 64 * 1024 + b"y" * 64 * 1024).hexdigest()
    assert len(seen) == threads
    assert not any(each.is_alive() for each in seen)


@pytest.mark.parametrize("objects", [1, 4, 7])
def test_how_much_is_read_ahead(objects):
    plan = faults.Plan()
    cluster = faults.FaultyCluster(memory.memory_cluster(), plan)
    size = 64 * 1024
    with memory.memory_store(
        cluster, pool="rbd", chunk_size=size, transfer_window=objects * size
    ) as store:
        found = store.images.get(store.images.add("image", b"x" * 20 * size).uri)
        plan.watch()
        next(found)
        # The first one has been taken.
        assert plan.stop().count("Image.aio_read") == objects + 1
        found.close()


def object_sizes(store):
    pool = store._cluster.open_pool("rbd")
    found = {}
    for name in pool.list_images():
        with pool.open(name) as image:
            found[name] = image.object_size
    return found


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Settings)])
def test_they_cannot_be_changed(field):
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, field, None)


def test_there_is_no_other_field():
    with pytest.raises(TypeError):
        Settings(chunk=4)
