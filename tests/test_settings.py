# SPDX-License-Identifier: Apache-2.0
"""Settings: plain values that nobody changes on the way."""

import dataclasses

import memory
import pytest

from rbdstore.settings import Settings

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
