# SPDX-License-Identifier: Apache-2.0
"""Clones whose link to their parent is torn: found, explained, and mended with all their data."""

import os
import struct
import subprocess
import time

import pytest
import racers
import rbd
import samples
import stores

from rbdstore import exceptions, gc
from rbdstore.drivers.rbd import objects
from rbdstore.settings import Settings
from rbdstore.sweepers import mending
from rbdstore.testing.recipe import Role

MiB = samples.MiB
DATA = samples.pattern("image", 12 * MiB)
SETTINGS = Settings(pool="volumes", lease_seconds=5)

# Which may not look into the pool of the parents.
BLIND = Role("cinder-blind", osd=("profile rbd pool=volumes",), mgr=())


@pytest.fixture
def user():
    return "admin"


@pytest.fixture
def image(raw):
    raw.create("images", "image", data=DATA)
    raw.snap("images", "image", "snap", protect=False)
    yield "image"
    if "image" in raw.images("images"):
        raw.remove("images", "image")


@pytest.fixture
def clone(raw, image, pool):
    raw.clone("images", image, "snap", "volumes", "clone")
    yield "clone"
    with pool.open("clone") as opened:
        racers.until(lambda: not opened.watchers())
    raw.remove("volumes", "clone")


def unlist(raw, name="clone"):
    """What a flatten that was killed has done last: the parent does not list it any more."""
    with raw.open("volumes", name, read_only=True) as child:
        child_id, parent_id = child.id(), child.parent_id()
        snap_name = child.parent_info()[2]
    with raw.open("images", image_id=parent_id, read_only=True) as parent:
        snap_id = parent.snap_get_id(snap_name)
    with raw.ioctx("images") as ioctx, raw.ioctx("volumes") as below:
        place = struct.pack("<q", below.get_pool_id())
        spec = place + _text(child_id) + _text("")
        arguments = struct.pack("<QBBI", snap_id, 2, 1, len(spec)) + spec
        ioctx.execute(f"rbd_header.{parent_id}", "rbd", "child_detach", arguments)


def _text(text):
    return struct.pack("<I", len(text)) + text.encode()


def copy_up(raw, name="clone"):
    """What it has done before: every object of the clone is written."""
    with raw.open("volumes", name) as opened:
        for offset in range(0, len(DATA), 4 * MiB):
            opened.write(opened.read(offset, 4096), offset)
        opened.flush()


def mend(pool):
    (torn,) = mending.find(pool, pause=0)
    assert mending.is_mendable(torn)
    mending.mend(pool, torn, SETTINGS)
    assert mending.find(pool, pause=0) == []


def test_whole_links_are_not_torn(pool, raw, clone):
    raw.clone("images", "image", "snap", "volumes", "trashed")
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().trash_move(ioctx, "trashed")
        assert pool.torn() == []
        ((image_id, _name),) = raw.trash("volumes").items()
        rbd.RBD().trash_remove(ioctx, image_id)
    # Of an old one that was flattened only its snapshots have a parent.
    raw.clone("images", "image", "snap", "volumes", "old", features=samples.OLD_FEATURES)
    raw.snap("volumes", "old", "s", protect=False)
    raw.flatten("volumes", "old")
    assert pool.torn() == []
    raw.remove("volumes", "old")


@pytest.mark.parametrize("protect", [False, True])
def test_whole_links_of_format_1_are_not_torn(sandbox, pool, protect):
    with stores.foreign(sandbox, clone_format=1) as raw:
        raw.create("images", "image", data=DATA)
        raw.snap("images", "image", "snap")
        raw.clone("images", "image", "snap", "volumes", "clone")
        assert pool.torn() == []
        raw.remove("volumes", "clone")
        raw.remove("images", "image")


def test_more_clones_than_an_answer_has_room_for_at_first(pool, raw, image, monkeypatch):
    monkeypatch.setattr(objects, "_ROOM", 64)
    names = [f"clone-{number}" for number in range(5)]
    for name in names:
        raw.clone("images", image, "snap", "volumes", name)
    assert pool.torn() == []
    unlist(raw, names[3])
    (torn,) = pool.torn()
    assert torn.image == names[3]
    for name in names:
        raw.remove("volumes", name)


@pytest.mark.parametrize("copied", [False, True])
def test_one_that_is_not_listed_is_flattened(pool, raw, clone, copied):
    if copied:
        copy_up(raw)
    unlist(raw)
    (torn,) = mending.find(pool, pause=0)
    assert (torn.state, torn.image, torn.trashed) == ("unlisted", clone, False)
    assert "does not know of it" in mending.explain(torn)
    mend(pool)
    assert raw.parent("volumes", clone) is None
    # And the parent may go.
    raw.remove("images", "image")
    assert raw.read("volumes", clone) == DATA


def test_one_in_the_trash_is_flattened(pool, raw, image):
    raw.clone("images", image, "snap", "volumes", "clone")
    unlist(raw)
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().trash_move(ioctx, "clone")
        mend(pool)
        ((image_id, _name),) = raw.trash("volumes").items()
        with raw.open("volumes", image_id=image_id, read_only=True) as opened:
            assert opened.read(0, len(DATA)) == DATA
        rbd.RBD().trash_remove(ioctx, image_id)


def test_one_that_somebody_has_open_is_left_alone(sandbox, pool, raw, clone):
    unlist(raw)
    (torn,) = mending.find(pool, pause=0)
    with stores.held_open(sandbox, "volumes", clone), pytest.raises(exceptions.InUse):
        mending.mend(pool, torn, SETTINGS)
    assert raw.parent("volumes", clone) is not None


@pytest.mark.parametrize("gone", ["parent", "snap"])
def test_an_orphan_that_is_proven_whole_forgets_its_parent(pool, raw, clone, gone):
    copy_up(raw)
    unlist(raw)
    raw.remove_snap("images", "image", "snap")
    if gone == "parent":
        raw.remove("images", "image")
    with pytest.raises(exceptions.ImageNotFound):
        pool.open(clone)
    (torn,) = mending.find(pool, pause=0)
    assert (torn.state, torn.needs) == ("orphan", "")
    assert "needs nothing of the parent" in mending.explain(torn)
    mend(pool)
    assert raw.parent("volumes", clone) is None
    assert raw.read("volumes", clone) == DATA


def not_copied(raw):
    """Nothing of it but one object is written."""
    raw.write("volumes", "clone", b"mine", 5 * MiB)
    return "2 of the 3 objects that it shows through are not written"


def with_a_snapshot(raw):
    copy_up(raw)
    raw.snap("volumes", "clone", "s", protect=False)
    return "it has snapshots, which may need the parent as well"


def remove_orphan(pool, raw, torn):
    """Nobody can do more: librbd removes by name what it cannot open."""
    with raw.ioctx("volumes") as ioctx:
        objects = [key for key in raw.objects("volumes") if torn.image_id in key]
        for key in [*objects, "rbd_id.clone"]:
            ioctx.remove_object(key)
    pool.remove_keys("rbd_directory", ["name_clone", f"id_{torn.image_id}"])


@pytest.mark.parametrize("prepare", [not_copied, with_a_snapshot])
def test_an_orphan_that_is_not_proven_whole_is_only_explained(pool, raw, image, prepare):
    raw.clone("images", image, "snap", "volumes", "clone")
    reason = prepare(raw)
    unlist(raw)
    raw.remove_snap("images", image, "snap")
    (torn,) = mending.find(pool, pause=0)
    assert (torn.state, torn.needs) == ("orphan", reason)
    assert not mending.is_mendable(torn)
    assert mending.explain(torn).endswith(f"{reason}: it is left as it is")
    with pytest.raises(exceptions.ImageNotFound, match="is gone, and"):
        mending.mend(pool, torn, SETTINGS)
    assert mending.find(pool, pause=0) == [torn]
    remove_orphan(pool, raw, torn)


def test_an_orphan_whose_data_may_not_be_looked_at(sandbox, pool, raw, image, connect):
    """It is explained, and stands in nobody else's way, nor where the pool of its data is gone."""
    sandbox.ceph("osd", "pool", "create", "elsewhere", "1")
    sandbox.ceph("osd", "pool", "application", "enable", "elsewhere", "rbd")
    with raw.ioctx("images") as above, raw.ioctx("volumes") as below:
        rbd.RBD().clone(above, image, "snap", below, "clone", data_pool="elsewhere")
    copy_up(raw)
    unlist(raw)
    raw.remove_snap("images", image, "snap")
    (torn,) = mending.find(pool, pause=0)
    assert torn.needs == ""
    (torn,) = mending.find(connect("cinder").open_pool("volumes"), pause=0)
    assert torn.state == "orphan"
    for part in ("client.cinder may not", "in pool elsewhere", "left as it is"):
        assert part in mending.explain(torn)
    sandbox.ceph("config", "set", "mon", "mon_allow_pool_delete", "true")
    sandbox.ceph("osd", "pool", "rm", "elsewhere", "elsewhere", "--yes-i-really-really-mean-it")
    with pool.cluster.calls() as connection:
        connection.rados.wait_for_latest_osdmap()
    (torn,) = mending.find(pool, pause=0)
    assert torn.needs == "the pool of its data is gone"
    remove_orphan(pool, raw, torn)


def test_a_header_that_cannot_be_read(pool, raw, clone):
    """It is named, and keeps nobody else's from being looked at."""
    raw.clone("images", "image", "snap", "volumes", "damaged")
    with raw.open("volumes", "damaged", read_only=True) as opened:
        header = f"rbd_header.{opened.id()}"
    entry = pool.get_keys(header)["parent"]
    pool.set_keys(header, {"parent": b"nothing of Ceph's"})
    unlist(raw)
    found = {torn.image: torn for torn in mending.find(pool, pause=0)}
    assert found["clone"].state == "unlisted"
    assert found["damaged"].state == "unknown"
    assert "its header cannot be read" in mending.explain(found["damaged"])
    assert not mending.is_mendable(found["damaged"])
    pool.set_keys(header, {"parent": entry})
    raw.remove("volumes", "damaged")


def test_garbage_collection_mends_it(pool, raw, clone):
    unlist(raw)
    (found,) = gc.Collector(pool, SETTINGS).look().findings
    assert (found.item, found.kind, found.outcome) == ("volumes/clone", "torn", "reclaimable")
    assert "flattening it mends that" in found.reason
    assert raw.parent("volumes", clone) is not None
    (done,) = gc.Collector(pool, SETTINGS).reclaim().findings
    assert (done.kind, done.outcome) == ("torn", "reclaimed")
    assert raw.parent("volumes", clone) is None
    assert raw.read("volumes", clone) == DATA
    assert gc.Collector(pool, SETTINGS).look().findings == ()


def test_what_has_a_parent_is_not_let_go(pool, raw, clone):
    with pool.open(clone) as opened:
        image_id = opened.id
    with pytest.raises(exceptions.ImageNotFound, match="its parent is not gone"):
        pool.let_go(image_id)
    unlist(raw)
    with pytest.raises(exceptions.ImageNotFound, match="its parent is not gone"):
        pool.let_go(image_id)
    assert raw.read("volumes", clone) == DATA


def test_who_may_not_look_at_the_parent_says_so(sandbox, raw, clone):
    with stores.volume_store_as(sandbox, BLIND) as volumes:
        (torn,) = mending.find(volumes._pool, pause=0)
    assert torn.state == "unknown"
    assert not mending.is_mendable(torn)
    for part in ("cannot be told", "client.cinder-blind", "images"):
        assert part in mending.explain(torn)


def test_a_clone_and_a_flatten_under_way_are_not_torn(pool, raw, image):
    """They look like that for a moment, and are looked at again."""
    raw.clone("images", image, "snap", "volumes", "clone")
    unlist(raw)
    (torn,) = pool.torn()
    raw.flatten("volumes", "clone")
    assert pool.torn({torn.image_id}) == []
    raw.remove("volumes", "clone")


ROUNDS = 20 if os.environ.get("RBDSTORE_SOAK") else 1


def test_a_real_flatten_that_is_killed(sandbox, pool, raw, image):
    """``rbd flatten`` of the last clone of a snapshot in the trash, with production's monitors.

    It waits for the monitors to drop the snapshot when it is killed, which then may happen or not.
    """
    option = "paxos_propose_interval"
    usual = sandbox.ceph_json("tell", "mon.a", "config", "get", option)[option]
    sandbox.ceph("tell", "mon.a", "config", "set", option, "1")
    try:
        for number in range(ROUNDS):
            raw.clone("images", image, "snap", "volumes", "clone")
            raw.remove_snap("images", image, "snap")
            flatten = subprocess.Popen(
                ["rbd", "flatten", "volumes/clone", "--no-progress"], env=sandbox.env()
            )
            try:
                racers.until(pool.torn)
                time.sleep(0.05 * number)
            finally:
                flatten.kill()
                flatten.wait()
            # It may have got done in that moment.
            if mending.find(pool):
                with pool.open("clone") as opened:
                    racers.until(lambda opened=opened: not opened.watchers())
                mend(pool)
            assert raw.parent("volumes", "clone") is None
            assert raw.read("volumes", "clone") == DATA
            racers.until(lambda: _is_removed(raw, "clone"))
            with raw.open("images", image) as parent:
                for snap in parent.list_snaps():
                    parent.remove_snap_by_id(snap["id"])
            raw.snap("images", image, "snap", protect=False)
    finally:
        sandbox.ceph("tell", "mon.a", "config", "set", option, usual)


def _is_removed(raw, name):
    """A dead client's watch lasts for a while."""
    try:
        raw.remove("volumes", name)
    except rbd.ImageBusy:
        return False
    return True
