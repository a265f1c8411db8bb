# SPDX-License-Identifier: Apache-2.0
"""What the forest shows of images that stay, on either driver, beside what the services say."""

import random

import pytest
import samples

from rbdstore import exceptions

MiB = samples.MiB
OBJECT = 4 * MiB


@pytest.fixture
def store(place):
    """The store of volumes, as an administrator has it, with a limit that some go beyond."""
    return place.store("volumes", rbd_max_clone_depth=2)


@pytest.fixture
def deep(place):
    """The same volumes, made without that limit."""
    return place.volumes(rbd_max_clone_depth=100)


@pytest.fixture
def grove(deep):
    """A chain of three clones, and a volume that stands alone."""
    deep.create("volume-0", OBJECT)
    for number in range(3):
        deep.create_cloned_volume(f"volume-{number + 1}", f"volume-{number}")
    deep.create("alone", OBJECT)
    yield
    for volume in deep.list():
        for snapshot in volume.snapshots:
            deep.delete_snapshot(volume.name, snapshot)
    for volume in reversed(deep.list()):
        deep.delete(volume.name)


def look(store, *others, **options):
    """The images of a forest, each of which is there once, by their names."""
    trees = list(store.forest(*others, **options))
    found = {tree.name: tree for tree in trees}
    assert len(found) == len(trees)
    return found


def clones(tree, kind):
    return {clone.name for snap in tree.snaps if snap.kind == kind for clone in snap.clones}


def test_a_chain(store, deep, grove):
    found = look(store)
    assert [tree.name for tree in store.forest().trees] == ["alone", "volume-0"]
    for volume in deep.list():
        tree = found.pop(volume.name)
        assert (tree.size, tree.depth) == (volume.size, volume.depth)
        assert (tree.parent and tree.parent.spec) == volume.parent
        assert tree.is_too_deep == (volume.name == "volume-3")
        assert (tree.kind, tree.limit, tree.watchers) == ("volume", 2, ())
        assert (tree.trashed, tree.outside, tree.problem) == (False, False, None)
    assert found == {}


def test_an_empty_pool(store):
    assert store.forest().trees == ()


def test_what_is_used_and_shared(store, deep, raw):
    deep.create("volume-0", 4 * OBJECT)
    raw.write("volumes", "volume-0", b"a", 0)
    raw.write("volumes", "volume-0", b"b", OBJECT)
    deep.create_cloned_volume("volume-1", "volume-0")
    raw.write("volumes", "volume-1", b"c", OBJECT)
    raw.write("volumes", "volume-1", b"d", 3 * OBJECT)
    size = raw.object_size("volumes", "volume-0")
    found = look(store)
    assert (found["volume-0"].used, found["volume-0"].shared) == (2 * size, 0)
    assert (found["volume-1"].used, found["volume-1"].shared) == (2 * size, size)
    assert look(store, every_object=True) == found
    deep.flatten("volume-1")
    assert store.tree("volume-1").used == 3 * size
    assert store.tree("volume-1").shared == 0
    for name in ("volume-1", "volume-0"):
        deep.delete(name)


def test_kinds_of_snapshots(store, deep, grove, raw):
    deep.create_snapshot("volume-0", "snapshot-1")
    deep.create_from_snapshot("from-kept", "volume-0", "snapshot-1")
    deep.create_snapshot("volume-0", "snapshot-2")
    deep.create_from_snapshot("from-deleted", "volume-0", "snapshot-2")
    deep.delete_snapshot("volume-0", "snapshot-2")
    raw.snap("volumes", "volume-0", "backup.1.snap.1700000000.0", protect=False)
    found = look(store)["volume-0"]
    assert clones(found, "user") == {"from-kept"}
    assert clones(found, "deleted") == {"from-deleted"}
    assert clones(found, "clones") == {"volume-1"}
    assert [snap.name for snap in found.snaps if snap.kind == "backup"] == [
        "backup.1.snap.1700000000.0"
    ]
    assert {snap.size for snap in found.snaps} == {OBJECT}
    with store._open_pool().open("volume-0", read_only=False) as image:
        for snap in image.snaps():
            if snap.name.startswith("backup."):
                image.remove_snap(snap.id)


def test_a_deleted_volume_that_clones_need(store, deep, grove):
    deep.delete("volume-1")
    found = look(store)
    assert (found["volume-1"].kind, found["volume-1"].trashed) == ("deleted", True)
    assert clones(found["volume-1"], "clones") == {"volume-2"}
    assert clones(found["volume-0"], "clones") == {"volume-1"}
    assert found["volume-3"].depth == 3
    # By itself, what it was cloned from is known as well.
    assert store.tree("volume-2").parent.image_id == found["volume-1"].id


def test_what_is_unfinished_and_what_others_threw_away(store, raw):
    raw.create("volumes", "volume-1.0123abcd.partial", OBJECT)
    raw.create("volumes", "volume-2", OBJECT)
    pool = store._open_pool()
    pool.trash_move("volume-2")
    found = look(store)
    assert {name: (tree.kind, tree.trashed) for name, tree in found.items()} == {
        "volume-1.0123abcd.partial": ("draft", False),
        "volume-2": ("trash", True),
    }
    pool.trash_remove(found["volume-2"].id)
    pool.remove("volume-1.0123abcd.partial")


def test_who_has_it_open(place, store, grove):
    with place.held_open("volumes", "volume-1"):
        found = look(store)
        assert len(found["volume-1"].watchers) == 1
        assert found["volume-1"].watchers == store.tree("volume-1").watchers
        assert not any(found[name].watchers for name in ("volume-0", "volume-2", "alone"))


def test_several_pools(place, store, deep, image):
    deep.clone("volume-1", image.uri)
    found = look(store, place.store("images"))
    assert found.keys() == {"image-1", "volume-1"}
    assert (found["image-1"].kind, found["volume-1"].kind) == ("image", "volume")
    assert clones(found["image-1"], "image") == {"volume-1"}
    assert (found["image-1"].limit, found["volume-1"].limit) == (5, 2)
    assert not any(tree.outside for tree in found.values())
    deep.delete("volume-1")


def test_a_parent_in_a_pool_that_was_not_asked_for(store, deep, images, image):
    other = images.add("image-2", b"data")
    deep.clone("volume-1", image.uri)
    deep.create_cloned_volume("volume-2", "volume-1")
    found = look(store)
    assert found.keys() == {"image-1", "volume-1", "volume-2"}
    assert (found["image-1"].outside, found["image-1"].depth) == (True, 0)
    assert found["image-1"].size == 9 * MiB
    assert clones(found["image-1"], "image") == {"volume-1"}
    assert found["volume-2"].depth == deep.get("volume-2").depth == 2
    for name in ("volume-2", "volume-1"):
        deep.delete(name)
    images.delete(other.uri)


def test_a_clone_in_a_pool_that_was_not_asked_for(place, deep, image):
    deep.clone("volume-1", image.uri)
    found = look(place.store("images"))
    assert found.keys() == {"image-1", "volume-1"}
    assert clones(found["image-1"], "image") == {"volume-1"}
    assert (found["volume-1"].outside, found["volume-1"].depth) == (True, 1)
    assert (found["volume-1"].kind, found["volume-1"].size) == ("unknown", None)
    deep.delete("volume-1")


def test_a_flattened_volume_whose_snapshot_keeps_the_parent(place, store, features, image):
    volumes = place.volumes(features=features)
    volumes.clone("volume-1", image.uri)
    volumes.create_snapshot("volume-1", "snapshot-1")
    volumes.flatten("volume-1")
    found = look(store)
    assert found["volume-1"].parent is None
    assert found["volume-1"].depth == 0
    pinned = features is not None
    assert ("image-1" in found) == pinned
    assert [snap.parent is not None for snap in found["volume-1"].snaps] == [pinned]
    if pinned:
        assert clones(found["image-1"], "image") == {"volume-1"}
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete("volume-1")


def test_one_image(store, deep, grove):
    deep.create_snapshot("volume-1", "snapshot-1")
    deep.create_from_snapshot("volume-4", "volume-1", "snapshot-1")
    alone, whole = store.tree("volume-1"), look(store)["volume-1"]
    for name in ("name", "id", "kind", "size", "depth", "limit", "used", "shared", "parent"):
        assert getattr(alone, name) == getattr(whole, name), name
    assert alone.features == whole.features
    assert "layering" in alone.features
    assert [snap.name for snap in alone.snaps] == [snap.name for snap in whole.snaps]
    for kind in ("user", "clones"):
        assert clones(alone, kind) == clones(whole, kind) != set()
    with pytest.raises(exceptions.ImageNotFound):
        store.tree("nope")


def test_any_forest(store, deep, image):
    """It agrees with what the services say of each volume, whatever became of the others."""
    chance = random.Random("forest")
    deep.clone("volume-0", image.uri)
    for number in range(1, 12):
        names = [volume.name for volume in deep.list()]
        deep.create_cloned_volume(f"volume-{number}", chance.choice(names))
        if chance.random() < 0.3:
            deep.delete(chance.choice(names))
        if chance.random() < 0.2:
            deep.flatten(f"volume-{number}")
    found = look(store)
    for volume in deep.list():
        tree = found[volume.name]
        assert (tree.depth, tree.size) == (volume.depth, volume.size)
        assert (tree.parent and tree.parent.spec) == volume.parent
    names = {volume.name for volume in deep.list()} | {"image-1"}
    hidden = [tree for tree in found.values() if tree.name not in names]
    assert {tree.kind for tree in hidden} <= {"deleted"}
    assert all(tree.clones for tree in hidden)
    for volume in deep.list():
        deep.delete(volume.name)
