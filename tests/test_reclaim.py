# SPDX-License-Identifier: Apache-2.0
"""Reclaiming: everything that nothing needs, and never anything else."""

import concurrent.futures
import threading
import time

import memory
import pytest
import scenes
from rbdstore_memory.image import MemoryImage
from rbdstore_memory.pool import MemoryPool
from scenes import SECONDS

from rbdstore import driver, exceptions, reclaim, records
from rbdstore.driver import Parent

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


def unused_snap(pool, link, freed_by=""):
    """Take back a snap; return what was remembered."""
    remembered = []
    reclaim.unused_snap(pool, link, SECONDS, remembered.extend, freed_by=freed_by)
    return remembered


def purge(pool, image_id):
    return reclaim.purge(pool, image_id, SECONDS, lambda parents: None)


def make(pool, name="parent", snap=SNAP):
    """Make an image with a snap; return how a clone names that."""
    scenes.make(pool, name, b"data")
    return scenes.snapshot(pool, name, snap)


def remove(pool, name):
    """Remove a clone; return its id."""
    with pool.open(name) as image:
        found = image.id
    pool.remove(name)
    return found


def hide(pool, link, new_name):
    with pool.open(image_id=link.image_id, read_only=False) as image:
        image.rename_snap(link.snap, new_name)


def chain(*homes):
    """Make an image and clones of clones of it, one in each pool; return their links.

    All but the last are deleted.
    """
    links = []
    for number, home in enumerate(homes):
        name = f"v{number}"
        if links:
            scenes.clone(home, links[-1], name)
            scenes.delete(homes[number - 1], f"v{number - 1}")
        else:
            scenes.make(home, name, b"data")
        links.append(scenes.snapshot(home, name, SNAP))
    return links


# Snaps that only carried clones


@pytest.mark.parametrize("snap", [SNAP, "rbdstore.deleted.7", "volume-2.clone_snap"])
@pytest.mark.parametrize("protected", [False, True])
def test_such_a_snap_goes_with_its_last_clone(cluster, pool, images, snap, protected):
    link = make(images, snap=snap)
    if protected:
        with images.open("parent", read_only=False) as image:
            image.protect_snap(snap)
    for name in ("one", "two"):
        scenes.clone(pool, link, name)
    unused_snap(pool, link, remove(pool, "one"))
    assert scenes.snaps(images, "parent") == [snap]
    unused_snap(pool, link, remove(pool, "two"))
    assert scenes.snaps(images, "parent") == []
    assert scenes.read(images, "parent") == b"data"
    scenes.assert_tidy(cluster)


def test_it_goes_with_the_last_one_flattened(cluster, pool):
    link = make(pool)
    child_id = scenes.clone(pool, link, "clone")
    with pool.open("clone", read_only=False) as clone:
        clone.flatten()
    unused_snap(pool, link, child_id)
    assert scenes.snaps(pool, "parent") == []
    assert scenes.read(pool, "clone") == b"data"
    scenes.assert_tidy(cluster)


def test_one_that_was_hidden_since_is_found(cluster, pool):
    link = make(pool, snap="snapshot-1")
    scenes.clone(pool, link, "clone")
    hide(pool, link, "rbdstore.deleted.2")
    unused_snap(pool, link, remove(pool, "clone"))
    assert scenes.snaps(pool, "parent") == []
    scenes.assert_tidy(cluster)


def test_a_hidden_one_that_is_needed_is_kept(pool):
    link = make(pool, snap="snapshot-1")
    scenes.clone(pool, link, "clone")
    hide(pool, link, "rbdstore.deleted.2")
    unused_snap(pool, link)
    assert scenes.snaps(pool, "parent") == ["rbdstore.deleted.2"]


def test_a_hidden_snap_is_no_hindrance_to_find_the_named_one(pool):
    """Where one was hidden and another has its name since, a clone's link may mean either."""
    link = make(pool, snap="snapshot-1")
    scenes.clone(pool, link, "clone")
    hide(pool, link, "rbdstore.deleted.2")
    scenes.snapshot(pool, "parent", "snapshot-1")
    with pool.open("clone") as clone:
        now = clone.parent()
    unused_snap(pool, now, remove(pool, "clone"))
    assert scenes.snaps(pool, "parent") == ["snapshot-1"]


@pytest.mark.parametrize("snap", ["snapshot-1", "snap", "backup.1.snap.123.45", "clone_snap"])
@pytest.mark.parametrize("had_clone", [False, True])
def test_other_snaps_are_kept(cluster, pool, snap, had_clone):
    link = make(pool, snap=snap)
    freed_by = ""
    if had_clone:
        scenes.clone(pool, link, "clone")
        freed_by = remove(pool, "clone")
    unused_snap(pool, link, freed_by)
    assert scenes.snaps(pool, "parent") == [snap]
    scenes.assert_tidy(cluster)


def test_a_live_image_is_kept_though_it_bears_the_mark(pool):
    """As when it was deleted, taken out of the trash by an operator, and cloned."""
    link = make(pool)
    records.mark_deleted(pool, link.image_id, "parent")
    unused_snap(pool, link)
    assert pool.list_images() == ["parent"]
    assert scenes.read(pool, "parent") == b"data"


def test_what_others_put_in_the_trash_is_kept(pool):
    link = make(pool)
    scenes.clone(pool, link, "clone")
    pool.trash_move("parent")
    unused_snap(pool, link, remove(pool, "clone"))
    assert scenes.trash(pool) == ["parent"]
    assert scenes.read(pool, image_id=link.image_id) == b"data"


@pytest.mark.parametrize("trashed", [False, True])
def test_an_empty_list_of_children_is_no_proof(pool, monkeypatch, trashed):
    """A flatten that was killed: the child is off the list, and needs the snap all the same."""
    link = make(pool)
    child_id = scenes.clone(pool, link, "clone")
    scenes.delete(pool, "parent")
    if trashed:
        pool.trash_move("clone")
    with monkeypatch.context() as patch:
        patch.setattr(MemoryImage, "children", lambda image, snap_id: [])
        unused_snap(pool, link)
        purge(pool, link.image_id)
    assert scenes.trash(pool).count("parent") == 1
    assert scenes.read(pool, image_id=child_id) == b"data"
    # The repetition of the flatten mends it.
    with pool.open(image_id=child_id, read_only=False) as clone:
        clone.flatten()
    unused_snap(pool, link, child_id)
    assert "parent" not in scenes.trash(pool)
    assert scenes.read(pool, image_id=child_id) == b"data"


def test_a_recorded_child_that_is_gone_is_no_hindrance(cluster, pool):
    link = make(pool)
    scenes.clone(pool, link, "clone")
    pool.remove("clone")
    unused_snap(pool, link)
    assert scenes.snaps(pool, "parent") == []


@pytest.mark.parametrize(
    "link",
    [
        Parent("nowhere", "", "parent", "1", SNAP),
        Parent("volumes", "nowhere", "parent", "1", SNAP),
        Parent("volumes", "", "parent", "1", SNAP),
    ],
)
def test_what_is_gone_already_is_no_error(cluster, pool, link):
    assert unused_snap(pool, link, "2") == []
    assert scenes.contents(cluster) == {}


def test_a_snap_that_somebody_removes_in_the_very_moment(cluster, pool, monkeypatch):
    link = make(pool)
    image_id = scenes.delete(pool, "parent")
    children = MemoryImage.children

    def removed(image, snap_id):
        monkeypatch.undo()
        with pool.open(image_id=link.image_id, read_only=False) as parent:
            parent.remove_snap(snap_id)
        return children(image, snap_id)

    monkeypatch.setattr(MemoryImage, "children", removed)
    assert purge(pool, image_id) == []
    assert scenes.contents(cluster) == {}


def test_those_who_come_while_a_snap_is_removed_share_the_next_look(pool, monkeypatch):
    """As when its clones are deleted by many threads: to each it may seem to be the last."""
    link = make(pool)
    begun, go_on = threading.Event(), threading.Event()
    looks = []
    alone = reclaim._remove_unused_alone

    def slow(*args):
        looks.append(args)
        begun.set()
        assert go_on.wait(60)
        alone(*args)

    def waiting():
        return sum(group.members for group in reclaim._removals._open.values())

    monkeypatch.setattr(reclaim, "_remove_unused_alone", slow)
    with concurrent.futures.ThreadPoolExecutor(10) as threads:
        calls = [threads.submit(unused_snap, pool, link)]
        assert begun.wait(60)
        calls += [threads.submit(unused_snap, pool, link) for _ in range(9)]
        end = time.monotonic() + 60
        while waiting() < 9:
            assert time.monotonic() < end
            time.sleep(0.001)
        go_on.set()
        for call in calls:
            call.result(60)
    assert len(looks) == 2
    with pool.open("parent") as image:
        assert image.snaps() == []


def test_a_clone_in_the_very_moment(pool, monkeypatch):
    link = make(pool)
    scenes.delete(pool, "parent")
    remove_snap = MemoryImage.remove_snap

    def remove_cloned(image, snap_id):
        # By somebody who had seen the parent before it was deleted.
        kept_until = pool.trash_get(link.image_id).kept_until
        pool.trash_restore(link.image_id, "parent")
        scenes.clone(pool, link, "clone")
        monkeypatch.setattr(time, "time", lambda: kept_until)
        pool.trash_move("parent")
        monkeypatch.undo()
        remove_snap(image, snap_id)

    monkeypatch.setattr(MemoryImage, "remove_snap", remove_cloned)
    assert purge(pool, link.image_id) == []
    assert scenes.trash(pool) == ["parent"]
    assert scenes.read(pool, "clone") == b"data"
    unused_snap(pool, link, remove(pool, "clone"))
    assert scenes.trash(pool) == []


# Up the line


@pytest.mark.parametrize("length", [2, 3, 6])
def test_deleted_parents_go_with_the_last_clone(cluster, pool, images, length):
    last = chain(*([images, pool] * 3)[:length])[-1]
    home = cluster.open_pool(last.pool)
    assert len(scenes.contents(cluster)) >= length
    assert purge(home, scenes.delete(home, last.image)) == []
    assert scenes.contents(cluster) == {}


def test_a_deleted_image_goes_with_the_snap_that_alone_needed_it():
    """Flattened without deep-flatten, an image still shares in its parent by its snaps."""
    cluster = memory.memory_cluster(pools=["volumes"], features=["layering"])
    pool = cluster.open_pool("volumes")
    above = make(pool, "deleted")
    scenes.clone(pool, above, "live")
    link = scenes.snapshot(pool, "live", SNAP)
    with pool.open("live", read_only=False) as image:
        image.flatten()
    scenes.clone(pool, link, "clone")
    scenes.delete(pool, "deleted")
    assert above in unused_snap(pool, link, remove(pool, "clone"))
    assert scenes.snaps(pool, "live") == []
    assert [name.split()[:3] for name in scenes.contents(cluster)] == [
        ["volumes", "image", "live"]
    ]


def test_what_was_the_only_way_to_them_is_remembered(pool):
    *above, last = chain(pool, pool, pool, pool)
    scenes.delete(pool, last.image)
    remembered = []
    reclaim.purge(pool, last.image_id, SECONDS, remembered.extend)
    # Whatever they are called by now.
    assert [link.image_id for link in remembered] == [link.image_id for link in reversed(above)]


@pytest.mark.parametrize("live", range(3))
def test_they_go_up_to_one_that_lives(pool, live):
    chain(pool, pool, pool, pool)
    entry = next(entry for entry in pool.trash_list() if entry.name == f"v{live}")
    pool.trash_restore(entry.image_id, entry.name)
    records.unmark_deleted(pool, entry.image_id)
    purge(pool, scenes.delete(pool, "v3"))
    assert pool.list_images() == [f"v{live}"]
    assert scenes.snaps(pool, f"v{live}") == []
    assert scenes.read(pool, f"v{live}") == b"data"
    assert scenes.trash(pool) == [f"v{number}" for number in range(live)]


@pytest.mark.parametrize("branch", range(3))
def test_they_go_up_to_one_that_another_needs(pool, branch):
    links = chain(pool, pool, pool, pool)
    pool.trash_restore(links[branch].image_id, f"v{branch}")
    scenes.clone(pool, links[branch], "sibling")
    pool.trash_move(f"v{branch}")
    purge(pool, scenes.delete(pool, "v3"))
    assert pool.list_images() == ["sibling"]
    assert scenes.trash(pool) == [f"v{number}" for number in range(branch + 1)]
    assert scenes.read(pool, "sibling") == b"data"


# Deleted images


def test_a_deleted_image_that_nothing_needs(cluster, pool):
    link = make(pool, snap="snap")
    scenes.snapshot(pool, "parent", "backup.1.snap.123.45")
    assert purge(pool, scenes.delete(pool, "parent")) == []
    assert purge(pool, link.image_id) == []
    assert scenes.contents(cluster) == {}


def test_one_that_a_clone_needs(pool):
    link = make(pool)
    scenes.clone(pool, link, "clone")
    scenes.snapshot(pool, "parent", "rbdstore.clone.2")
    assert purge(pool, scenes.delete(pool, "parent")) == []
    assert scenes.snaps(pool, image_id=link.image_id) == [SNAP]
    assert scenes.read(pool, "clone") == b"data"


def test_one_that_is_not_deleted(cluster, pool):
    link = make(pool)
    before = scenes.contents(cluster)
    assert purge(pool, link.image_id) == []
    assert scenes.contents(cluster) == before
    records.mark_deleted(pool, link.image_id, "parent")
    assert purge(pool, link.image_id) == []
    assert scenes.contents(cluster) == before


def test_one_in_the_trash_without_our_mark(cluster, pool):
    link = make(pool)
    pool.trash_move("parent")
    before = scenes.contents(cluster)
    assert purge(pool, link.image_id) == []
    assert scenes.contents(cluster) == before


def test_one_that_got_a_users_snapshot_in_that_moment(cluster, pool):
    link = make(pool, snap="snapshot-1")
    scenes.snapshot(pool, "parent", SNAP)
    before = scenes.contents(cluster)
    scenes.delete(pool, "parent")
    assert purge(pool, link.image_id) == ["snapshot-1"]
    assert scenes.contents(cluster) == before
    assert purge(pool, link.image_id) == []
    assert scenes.contents(cluster) == before


def test_one_whose_name_has_been_given_to_another_meanwhile(pool):
    link = make(pool, snap="snapshot-1")
    scenes.delete(pool, "parent")
    scenes.make(pool, "parent", b"another")
    assert purge(pool, link.image_id) == ["snapshot-1"]
    # In nobody's way. An operator may restore it; and when its snapshot goes, so does it.
    assert scenes.trash(pool) == ["parent"]
    assert scenes.read(pool, image_id=link.image_id) == b"data"
    with pool.open(image_id=link.image_id, read_only=False) as image:
        image.remove_snap(driver.find_snap(image, "snapshot-1").id)
    assert purge(pool, link.image_id) == []
    assert scenes.trash(pool) == []
    assert scenes.read(pool, "parent") == b"another"


@pytest.mark.parametrize("name", ["volume-1.deleted", "volume-1.1f.deleted"])
def test_one_whose_name_says_so(cluster, pool, name):
    """Clone format 1, and what a stock Cinder left."""
    link = make(pool, name, "volume-2.clone_snap")
    scenes.clone(pool, link, "volume-2")
    assert purge(pool, link.image_id) == []
    assert pool.list_images() == [name, "volume-2"]
    unused_snap(pool, link, remove(pool, "volume-2"))
    assert scenes.contents(cluster) == {}


def test_one_whose_name_says_so_with_a_users_snapshot(cluster, pool):
    link = make(pool, "volume-1.deleted", "snapshot-1")
    before = scenes.contents(cluster)
    assert purge(pool, link.image_id) == ["snapshot-1"]
    assert scenes.contents(cluster) == before


def test_a_record_that_outlived_its_image(cluster, pool):
    """A removal that was killed between the image and what was kept about it."""
    image_id = scenes.make(pool, "parent")
    records.mark_deleted(pool, image_id, "parent")
    pool.remove("parent")
    assert purge(pool, image_id) == []
    assert scenes.contents(cluster) == {}


def test_one_that_somebody_has_open(cluster, pool):
    link = make(pool)
    with pool.open("parent", read_only=False):
        scenes.delete(pool, "parent")
        with pytest.raises(exceptions.InUse, match="opened by memory:"):
            purge(pool, link.image_id)
        assert scenes.trash(pool) == ["parent"]
        assert records.is_deleted(pool, link.image_id)
    purge(pool, link.image_id)
    assert scenes.contents(cluster) == {}


def test_one_that_is_cloned_in_that_moment_is_left_to_the_cloner(cluster, pool, monkeypatch):
    """He waits for the lease that the purge holds, so that there is nothing to wait for here."""
    link = make(pool)
    image_id = scenes.delete(pool, "parent")
    tried = []
    remove = MemoryPool.trash_remove

    def trash_remove(pool, image_id, **options):
        if not tried:
            with pool.open(image_id=image_id, read_only=False) as image:
                image.create_snap(SNAP)
        tried.append(image_id)
        remove(pool, image_id, **options)

    monkeypatch.setattr(MemoryPool, "trash_remove", trash_remove)
    assert purge(pool, image_id) == []
    assert tried == [image_id]
    assert scenes.snaps(pool, image_id=image_id) == [SNAP]
    unused_snap(pool, link)
    assert scenes.contents(cluster) == {}


def test_another_hosts_clock_that_is_behind(cluster, monkeypatch):
    """Who deletes the last clone, a moment after its parent went to the trash, removes that."""
    volumes = memory.memory_store(cluster, pool="volumes").volumes
    volumes.create("parent", 5)
    volumes.create_cloned_volume("clone", "parent")
    volumes.delete("parent")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 0.5)
    volumes.delete("clone")
    pool = cluster.open_pool("volumes")
    assert (pool.list_images(), pool.trash_list()) == ([], [])
