# SPDX-License-Identifier: Apache-2.0
"""Flattening: one at a time on one image, whoever asks for it and why."""

import time

import memory
import pytest

from rbdstore import leases, spec

DATA = b"data" * 1024
SECONDS = 1


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["images", "volumes"])


def stores(cluster, **values):
    """The images of one pool, and the volumes of another."""
    images = memory.memory_store(cluster, pool="images", **values).images
    return images, memory.memory_store(cluster, pool="volumes", **values).volumes


def id_of(pool, name):
    with pool.open(name) as image:
        return image.id


@pytest.mark.parametrize("verb", ["flatten a volume", "delete an image flattening its clones"])
def test_one_waits_for_another_who_is_at_it(cluster, verb):
    images, volumes = stores(cluster)
    stored = images.add("image", DATA)
    volumes.clone("volume", stored.uri)
    pool = cluster.open_pool("volumes")
    begin = time.monotonic()
    # As if the other process had died, so that what it holds ends by itself, and not before.
    name = spec.flatten_lease(id_of(pool, "volume"))
    leases.acquire(pool, name, SECONDS, wait=0).abandon()
    if verb == "flatten a volume":
        volumes.flatten("volume")
    else:
        images.delete(stored.uri, in_use="flatten")
    assert time.monotonic() - begin >= SECONDS
    assert volumes.get("volume").parent is None


def test_what_no_task_can_reach_is_flattened_here(cluster):
    images, volumes = stores(cluster, flatten_mode="task")
    stored = images.add("image", DATA)
    volumes.clone("volume", stored.uri)
    volumes.create_cloned_volume("clone", "volume")
    volumes.delete("volume")
    # This cluster knows no tasks, and would say so.
    images.delete(stored.uri, in_use="flatten")
    assert images.list() == []
    volumes.delete("clone")
    for pool in map(cluster.open_pool, ("images", "volumes")):
        assert pool.list_images() == []
        assert pool.trash_list() == []
