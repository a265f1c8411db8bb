# SPDX-License-Identifier: Apache-2.0
"""The trash: what is in it, and what can be brought back, by whom, and under which name."""

import concurrent.futures
import time

import commands
import killed
import pytest
import samples

from rbdstore import exceptions

MiB = samples.MiB
DATA = samples.pattern("trash", MiB)
LATER = {"enable_deferred_deletion": True, "deferred_deletion_purge_interval": 3600}
KEPT = {**LATER, "deferred_deletion_delay": 3600}


@pytest.fixture
def store(place):
    """A store that keeps what is deleted for an hour; the trash is emptied at the end."""
    store = place.store("volumes", **KEPT)
    yield store
    at_once = place.store("volumes")
    for number, entry in enumerate(store.trash.list()):
        store.trash.restore(entry.image_id, f"end-{number}")
    for volume in at_once.volumes.list():
        at_once.volumes.delete(volume.name)


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@pytest.fixture
def make(store, raw):
    def make(name="volume"):
        store.volumes.create(name, MiB)
        raw.write("volumes", name, DATA)

    return make


@pytest.fixture
def deleted(store, make):
    """The id of a deleted volume of that data."""
    make()
    store.volumes.delete("volume")
    (entry,) = store.trash.list()
    return entry.image_id


def test_what_is_deleted_comes_back(store, raw, deleted):
    assert store.trash.check_restore("volume") == "volume"
    assert raw.images("volumes") == []
    assert store.trash.restore("volume") == "volume"
    assert raw.read("volumes", "volume") == DATA
    assert store.trash.list() == []
    # It is nobody's to purge any more, and can be deleted as any other.
    store.purge_deleted()
    assert raw.images("volumes") == ["volume"]
    store.volumes.delete("volume")
    assert [entry.image_id for entry in store.trash.list()] == [deleted]


def test_under_another_name(store, raw, deleted):
    store.volumes.create("volume", MiB)
    with pytest.raises(exceptions.Duplicate):
        store.trash.check_restore("volume")
    with pytest.raises(exceptions.Duplicate):
        store.trash.restore("volume")
    assert store.trash.restore(deleted, "other") == "other"
    assert raw.read("volumes", "other") == DATA


def test_a_parent_comes_back_with_its_clones(place, raw):
    """And stays when these go."""
    store = place.store("volumes")
    store.volumes.create("parent", MiB)
    raw.write("volumes", "parent", DATA)
    store.volumes.create_cloned_volume("clone", "parent")
    store.volumes.delete("parent")
    (entry,) = store.trash.list()
    assert [str(clone) for clone in entry.clones] == ["volumes/clone"]
    assert entry.kept == "it has clones"
    store.trash.restore("parent")
    assert store.volumes.get("clone").parent.image == "parent"
    store.volumes.delete("clone")
    assert raw.read("volumes", "parent") == DATA
    assert raw.snaps("volumes", "parent") == []
    store.volumes.delete("parent")


def test_an_image_comes_back(place, raw):
    images, volumes = place.store("images"), place.store("volumes").volumes
    stored = images.images.add("image", DATA)
    volumes.clone("clone", stored.uri)
    images.images.delete(stored.uri, in_use="defer")
    images.trash.restore("image")
    assert images.images.exists(stored.uri)
    assert b"".join(images.images.get(stored.uri)) == DATA
    volumes.clone("another", stored.uri)
    for name in ("clone", "another"):
        volumes.delete(name)
    images.images.delete(stored.uri)


def test_what_others_put_there_is_theirs(store, raw, make):
    make()
    store.volumes.pool.trash_move("volume")
    (entry,) = store.trash.list()
    assert not entry.is_ours
    assert "did not put it there" in entry.kept
    for refused in (store.trash.check_restore, store.trash.restore):
        with pytest.raises(exceptions.InvalidInput, match="rbd trash restore"):
            refused("volume")
    assert store.trash.list() == [entry]
    store.volumes.pool.trash_remove(entry.image_id)


def test_what_is_not_there(store, deleted):
    for name in ("nothing", "0"):
        for refused in (store.trash.check_restore, store.trash.restore):
            with pytest.raises(exceptions.ImageNotFound):
                refused(name)
    for name in ("a.deleted", "rbdstore.x", ""):
        with pytest.raises(exceptions.InvalidName):
            store.trash.restore(deleted, name or "\n")


def test_two_of_one_name(store, raw, make, deleted):
    make()
    store.volumes.delete("volume")
    with pytest.raises(exceptions.InvalidInput, match=deleted):
        store.trash.restore("volume")
    store.trash.restore(deleted)
    assert [entry.name for entry in store.trash.list()] == ["volume"]


def test_what_may_be_half_removed_does_not_come_back(place, raw):
    """A removal that is cut off leaves an image that looks whole, and is not."""
    store = place.store("volumes", **LATER)
    store.volumes.create("volume", 64 * MiB)
    raw.write("volumes", "volume", DATA)
    store.volumes.delete("volume")
    for refused in (store.trash.check_restore, store.trash.restore):
        with pytest.raises(exceptions.InUse, match="may have begun"):
            refused("volume")
    assert raw.images("volumes") == []
    assert store.purge_deleted().purged == ("volume",)


def test_whoever_was_killed_at_it_leaves_no_mark_for_later(place, store, raw, deleted):
    """An operator who puts it into the trash then keeps it there."""
    killed.at(place, "volumes", "trash.restore", "volume", before="Pool.remove_keys")
    time.sleep(0.01)
    pool = store.volumes.pool
    pool.trash_move("volume")
    assert [entry.is_ours for entry in store.trash.list()] == [False]
    pool.trash_restore(deleted, "volume")
    assert raw.read("volumes", "volume") == DATA


@pytest.mark.parametrize("by_id", [False, True], ids=["by name", "by id"])
@pytest.mark.parametrize("before", ["Pool.trash_restore", "Pool.remove_keys"])
def test_whoever_was_killed_at_it_may_repeat_it(place, store, raw, deleted, before, by_id):
    called = deleted if by_id else "volume"
    killed.at(place, "volumes", "trash.restore", called, before=before)
    store = place.store("volumes", **KEPT, rbd_lease_seconds=killed.LEASE_SECONDS)
    assert store.trash.restore(called) == "volume"
    assert raw.read("volumes", "volume") == DATA
    store.purge_deleted()
    assert raw.images("volumes") == ["volume"]
    # The mark is gone: what an operator puts there now is his.
    store.volumes.pool.trash_move("volume")
    assert [entry.is_ours for entry in store.trash.list()] == [False]
    store.volumes.pool.trash_restore(deleted, "volume")


def test_the_last_clone_goes_while_its_parent_comes_back(place, raw):
    """The parent is there, wholly, or not at all."""
    first, second = place.store("volumes"), place.store("volumes")
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        for _ in range(4):
            first.volumes.create("volume", MiB)
            raw.write("volumes", "volume", DATA)
            first.volumes.create_cloned_volume("clone", "volume")
            first.volumes.delete("volume")
            going = executor.submit(first.volumes.delete, "clone")
            coming = executor.submit(second.trash.restore, "volume")
            going.result()
            try:
                coming.result()
            except (exceptions.NotFound, exceptions.InUse):
                assert raw.images("volumes") == []
            else:
                assert raw.read("volumes", "volume") == DATA
                first.volumes.delete("volume")


def test_commands(shell, store, raw, deleted):
    (row,) = shell.json("trash", "list")
    assert (row["name"], row["id"], row["size"]) == ("volume", deleted, MiB)
    assert (row["ours"], row["clones"]) == (True, [])
    assert row["reason"].startswith("it is kept until ")
    assert row["kept_until"] > time.time()
    (purge,) = shell.json("trash", "purge", "--dry-run")
    assert (purge["name"], purge["outcome"]) == ("volume", "kept")
    assert shell.ok("trash", "restore", "volume", "--dry-run") == "would be restored: volume\n"
    assert raw.images("volumes") == []
    assert shell.ok("trash", "restore", "volume", "--name", "back") == ""
    assert raw.images("volumes") == ["back"]
    assert "not in the trash" in shell.fails("trash", "restore", "volume")
    assert "--name is for one" in shell.fails("trash", "restore", "a", "b", "--name", "c")
    store.volumes.delete("back")
    assert [row["outcome"] for row in shell.json("trash", "purge")] == ["kept"]


def test_a_purge_that_is_only_told(place, shell):
    store = place.store("volumes", **LATER)
    store.volumes.create("volume", MiB)
    store.volumes.delete("volume")
    assert shell.json("trash", "purge", "--dry-run") == [
        {"name": "volume", "outcome": "would be purged", "reason": None}
    ]
    assert shell.json("trash", "purge") == [
        {"name": "volume", "outcome": "purged", "reason": None}
    ]
