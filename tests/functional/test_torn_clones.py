# SPDX-License-Identifier: Apache-2.0
"""Clones whose flatten was killed: their parent does not list them, and they need it."""

import pytest
import samples
import scratch
import stores

from rbdstore import exceptions

DATA = samples.pattern("image", 5 * samples.MiB)


@pytest.fixture
def images(sandbox):
    return stores.admin_image_store(sandbox)


@pytest.fixture
def volumes(sandbox):
    return stores.admin_volume_store(sandbox)


@pytest.fixture
def torn(images, volumes, raw):
    """An image with a clone that it does not list any more."""
    stored = images.add("image", DATA)
    volumes.clone("volume", stored.uri)
    with raw.ioctx("volumes") as ioctx, raw.ioctx("images") as above:
        with raw.reader("volumes", "volume") as clone, raw.reader("images", "image") as parent:
            (snap,) = parent.list_snaps()
            child = scratch.as_listed(snap["id"], ioctx.get_pool_id(), clone.id())
            key = f"rbd_header.{parent.id()}"
        above.execute(key, "rbd", "child_detach", child)
    assert raw.children("images", "image", "snap") == []
    return stored.uri


def test_it_is_in_the_way_of_who_deletes_the_image(torn, images, volumes):
    for refused in (images.check_delete, images.delete):
        with pytest.raises(exceptions.InUse) as caught:
            refused(torn)
        assert [child.pool for child in caught.value.children] == ["volumes"]
    assert [clone.pool for clone in images.check_delete(torn, in_use="defer")] == ["volumes"]
    volumes.delete("volume")
    images.delete(torn)


def test_it_is_flattened_with_the_others(torn, images, volumes, raw):
    volumes.clone("another", torn)
    images.delete(torn, in_use="flatten")
    assert raw.images("images") == []
    assert raw.trash("images") == {}
    for name in ("volume", "another"):
        assert volumes.get(name).parent is None
        assert raw.read("volumes", name) == DATA
        volumes.delete(name)


def test_it_keeps_an_image_that_is_deleted_for_later(torn, images, volumes, raw):
    images.delete(torn, in_use="defer")
    assert raw.read("volumes", "volume") == DATA
    volumes.delete("volume")
