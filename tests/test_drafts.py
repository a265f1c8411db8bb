# SPDX-License-Identifier: Apache-2.0
"""Drafts: whole before they have their name, and gone if they never get it."""

import threading
import time

import memory
import pytest
import scenes
from rbdstore_memory.pool import MemoryPool
from scenes import SECONDS, Boom, draft, expect

from rbdstore import exceptions, reclaim, records

SNAP = "rbdstore.clone.1"


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["volumes", "images"])


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


@pytest.fixture
def images(cluster):
    return cluster.open_pool("images")


def remove_draft(pool, name):
    reclaim.draft(pool, name, SECONDS, lambda parents: None)


def clone(pool, images, size=None, *, source=b"data", meanwhile=lambda: None):
    """Clone a snap of a new image."""
    scenes.make(images, "image", source)
    scenes.snapshot(images, "image", "snap")
    with images.open("image") as parent, draft(pool) as made:
        snap = parent.snaps()[0]
        meanwhile()
        made.clone(parent, snap, size)
        assert pool.list_images() == [made.draft]
        made.publish()


def test_a_name_is_given_last(pool):
    with draft(pool) as made:
        with made.create(4, order=12) as image:
            image.write(0, b"data")
            assert pool.list_images() == [made.draft]
        made.publish()
        assert pool.list_images() == ["volume"]
    assert scenes.read(pool, "volume") == b"data"


def test_every_draft_has_a_name_of_its_own(pool):
    names = set()
    for _ in range(3):
        with draft(pool) as made:
            names.add(made.draft)
    assert len(names) == 3
    assert all(name.startswith("volume.") and name.endswith(".partial") for name in names)


@pytest.mark.parametrize("size", [None, 4, 5, 1 << 20])
def test_a_clone(pool, images, size):
    clone(pool, images, size)
    assert scenes.read(pool, "volume") == b"data" + bytes((size or 4) - 4)
    with pool.open("volume") as volume, images.open("image") as image:
        assert volume.parent().spec.snap == "snap"
        snap_id = image.snaps()[0].id
        assert [child.image_id for child in records.children(image, snap_id)] == [volume.id]
        assert records.children(image, snap_id + 1) == []


@pytest.mark.parametrize("size", [None, 0, 1 << 20])
def test_a_clone_of_nothing_is_no_clone(pool, images, size):
    clone(pool, images, size, source=b"")
    assert scenes.read(pool, "volume") == bytes(size or 0)
    with pool.open("volume") as volume:
        assert volume.parent() is None


def test_a_snap_that_is_another_when_it_is_cloned(cluster, pool, images):
    """Removed and made anew under the same name, of an image that had grown."""

    def make_anew():
        with images.open("image", read_only=False) as image:
            image.remove_snap(image.snaps()[0].id)
            image.resize(1 << 20)
            image.create_snap("snap")

    with pytest.raises(exceptions.Vanished, match="images/image@snap"):
        clone(pool, images, meanwhile=make_anew)
    assert pool.list_images() == []
    scenes.assert_tidy(cluster)


def test_an_image_that_is_another_when_it_is_cloned(cluster, pool, images):
    def make_anew():
        images.rename("image", "first")
        scenes.make(images, "image", b"DATA")
        scenes.snapshot(images, "image", "snap")

    with pytest.raises(exceptions.Vanished):
        clone(pool, images, meanwhile=make_anew)
    assert pool.list_images() == []
    scenes.assert_tidy(cluster)


def test_a_snap_that_is_gone_when_it_is_cloned(cluster, pool, images):
    def remove():
        with images.open("image", read_only=False) as image:
            image.remove_snap(image.snaps()[0].id)

    with pytest.raises(exceptions.SnapshotNotFound):
        clone(pool, images, meanwhile=remove)
    assert pool.list_images() == []
    scenes.assert_tidy(cluster)


class SlowPool(MemoryPool):
    """Takes so long to clone that somebody takes this process for dead."""

    def clone(self, parent, image, snap, name):
        scenes.run_out(self, "volume")
        with draft(self, ["successor"]):
            pass
        with parent.open(image, read_only=False) as source:
            source.remove_snap(source.snaps()[0].id)
        super().clone(parent, image, snap, name)


def test_who_lost_the_lease_is_told_so_and_not_what_came_of_it(cluster, pool, images):
    with pytest.raises(exceptions.LeaseLost) as caught:
        clone(SlowPool(cluster, pool._found), images)
    assert isinstance(caught.value.__cause__, exceptions.SnapshotNotFound)
    assert pool.list_images() == []
    scenes.assert_tidy(cluster)


class OrphaningPool(MemoryPool):
    """Makes clones without a parent, as librbd does when it is killed in the middle."""

    def clone(self, parent, image, snap, name):
        self.create(name, 4)


def test_a_clone_without_a_parent_is_not_published(cluster, pool, images):
    with pytest.raises(exceptions.Vanished):
        clone(OrphaningPool(cluster, pool._found), images)
    assert pool.list_images() == []
    scenes.assert_tidy(cluster)


def test_a_draft_that_is_not_published_is_removed(cluster, pool):
    with expect(Boom), draft(pool) as made, made.create(4, order=12):
        raise Boom
    assert scenes.contents(cluster) == {}


# What is left of one


def test_a_draft_goes_with_everything_of_it(cluster, pool):
    scenes.make(pool, "volume.1.partial", b"data")
    scenes.snapshot(pool, "volume.1.partial", "snap")
    with pool.open("volume.1.partial", read_only=False) as image:
        image.protect_snap("snap")
    remove_draft(pool, "volume.1.partial")
    assert scenes.contents(cluster) == {}


def test_a_draft_that_is_not_there(cluster, pool):
    remove_draft(pool, "volume.1.partial")
    assert scenes.contents(cluster) == {}


def test_a_draft_goes_with_what_was_only_there_for_it(cluster, pool, images):
    scenes.make(images, "image", b"data")
    first = scenes.snapshot(images, "image", SNAP)
    scenes.clone(pool, first, "old")
    second = scenes.snapshot(pool, "old", SNAP)
    scenes.clone(pool, second, "volume.1.partial")
    scenes.delete(images, "image")
    scenes.delete(pool, "old")
    remove_draft(pool, "volume.1.partial")
    assert scenes.contents(cluster) == {}


def test_a_draft_whose_maker_lives(cluster, pool):
    scenes.make(pool, "volume.1.partial", b"data")
    scenes.snapshot(pool, "volume.1.partial", "snap")
    before = scenes.contents(cluster)
    with pool.open("volume.1.partial", read_only=False):
        with pytest.raises(exceptions.InUse, match="opened by memory:"):
            remove_draft(pool, "volume.1.partial")
        assert scenes.contents(cluster) == before


def test_a_draft_whose_makers_watch_ends(cluster, pool):
    scenes.make(pool, "volume.1.partial", b"data")
    opened = pool.open("volume.1.partial", read_only=False)

    def end():
        time.sleep(0.1)
        opened.close()

    ending = threading.Thread(target=end)
    ending.start()
    reclaim.draft(pool, "volume.1.partial", 30, lambda parents: None)
    ending.join()
    assert scenes.contents(cluster) == {}
