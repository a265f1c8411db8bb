# SPDX-License-Identifier: Apache-2.0
"""Leftovers that only Ceph has: names and headers that lost each other, children that their parent
does not know of, pools that a user may not look into; and how much a large pool costs.
"""

import contextlib
import struct
import time

import pytest
import rados
import rbd
import samples
import scratch
import stores

from rbdstore import spec

MiB = samples.MiB
DATA = samples.pattern("gc", MiB)
# Names that Cinder gives.
CINDERS = [f"volume-0000000{number}-0000-4000-8000-000000000000" for number in range(10)]


@pytest.fixture
def store(sandbox):
    return stores.store(sandbox, "admin", "volumes")


@pytest.fixture
def pool(store):
    return store._open_pool()


@pytest.fixture
def ioctx(raw):
    with raw.ioctx("volumes") as opened:
        yield opened


def found(collected):
    return {(each.kind, each.item): each.outcome for each in collected.findings}


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


def detach(ioctx, parent_id, snap_id, child_id):
    """Take a child off its parent's list, as a flatten does before it lets go of the parent."""
    child = struct.pack("<q", ioctx.get_pool_id()) + text(child_id) + text("")
    child = struct.pack("<BBI", 2, 1, len(child)) + child
    ioctx.execute(
        f"rbd_header.{parent_id}", "rbd", "child_detach", struct.pack("<Q", snap_id) + child
    )


@pytest.mark.parametrize("where", ["live", "deleted"])
def test_what_a_half_flattened_child_needs(store, pool, raw, ioctx, where):
    raw.create("volumes", "volume-1", data=DATA)
    raw.snap("volumes", "volume-1", f"{CINDERS[2]}.clone_snap", protect=False)
    raw.clone("volumes", "volume-1", f"{CINDERS[2]}.clone_snap", "volumes", "volume-2")
    with pool.open("volume-1") as image:
        (snap,) = image.snaps()
        detach(ioctx, image.id, snap.id, pool.id_of("volume-2"))
        assert image.children(snap.id) == []
    if where == "deleted":
        raw.rename("volumes", "volume-1", f"{CINDERS[1]}.deleted")
    # It is flattened again, and only then is nothing needed of what it came from.
    told = store.gc(apply=True)
    assert "torn" in {finding.kind for finding in told.findings}
    assert told.left == ()
    assert raw.parent("volumes", "volume-2") is None
    assert raw.read("volumes", "volume-2") == DATA
    assert store.gc().findings == ()
    raw.remove("volumes", "volume-2")
    if where == "live":
        raw.remove("volumes", "volume-1")


def test_a_volume_of_format_1_whatever_it_is_called(sandbox, store, pool, raw):
    volumes = stores.store(sandbox, "admin", "volumes", rbd_clone_format="1").volumes
    volumes.create("mine", MiB)
    volumes.create_cloned_volume("clone", "mine")
    volumes.delete("mine")
    assert raw.images("volumes") == ["clone", "mine.deleted"]
    raw.remove("volumes", "clone")
    assert found(store.gc(apply=True))["deleted", "volumes/mine.deleted"] == "reclaimed"
    assert store.gc().findings == ()


def test_half_made_and_half_renamed(sandbox, store, pool, ioctx):
    # A creation that was cut off before the header, and a renaming before its last step.
    for name in ("hollow", "alias", "whole"):
        pool.create(name, MiB)
    for key in (f"rbd_header.{pool.id_of('hollow')}",):
        ioctx.remove_object(key)
    ioctx.write_full("rbd_id.other", text(pool.id_of("alias")))
    expected = {("debris", "volumes/hollow"), ("debris", "volumes/other")}
    # Another client's creation looks the same, if only for as long as an OSD keeps it waiting.
    patient = stores.store(sandbox, "admin", "volumes", rbd_lease_seconds=3600)
    assert {key: found(patient.gc())[key] for key in expected} == dict.fromkeys(expected, "left")
    hasty = stores.store(sandbox, "admin", "volumes", rbd_lease_seconds=1)
    time.sleep(1.1)
    told = {key: outcome for key, outcome in found(hasty.gc()).items() if key[0] == "debris"}
    assert told == dict.fromkeys(expected, "reclaimable")
    hasty.gc(apply=True)
    assert store.gc().findings == ()
    assert sorted(pool.list_images()) == ["alias", "whole"]
    for name in ("alias", "whole"):
        pool.open(name).close()
        pool.remove(name)


def test_what_nothing_leads_to(store, pool, ioctx):
    image_id = scratch.new_image(pool, "lost", DATA)
    with pool.open("lost", read_only=False) as image:
        image.write(0, DATA)
        image.flush()
    entries = text("lost") + text(image_id)
    ioctx.execute("rbd_directory", "rbd", "dir_remove_image", entries)
    ioctx.remove_object("rbd_id.lost")
    # There are data, and a header that tells how to read them.
    (left,) = store.gc(apply=True).findings
    assert (left.kind, left.outcome, left.item) == ("stray", "left", f"volumes/<{image_id}>")
    assert f"rbd_header.{image_id}" in left.reason
    assert "1 objects of data" in left.reason
    # What is left of a header when a dead client's lock made it anew.
    for one in list(ioctx.list_objects()):
        if image_id in one.key:
            ioctx.remove_object(one.key)
    ioctx.lock_exclusive(f"rbd_header.{image_id}", "rbd_lock", "auto 1")
    (gone,) = store.gc(apply=True).findings
    assert (gone.kind, gone.outcome) == ("stray", "reclaimed")
    with pytest.raises(rados.ObjectNotFound):
        ioctx.stat(f"rbd_header.{image_id}")


def test_an_object_of_an_image_that_is_there_is_no_stray(store, pool):
    pool.create("a", MiB)
    with pool.open("a", read_only=False) as image:
        image.write(0, DATA)
        image.create_snap("s")
    pool.trash_move("a")
    (entry,) = pool.trash_list()
    assert [each.kind for each in store.gc().findings] == ["trash"]
    with pool.open(image_id=entry.image_id, read_only=False) as image:
        image.remove_snap(image.snaps()[0].id)
    pool.trash_remove(entry.image_id)


def test_pools_that_may_not_be_looked_into(sandbox, pool, raw):
    """What others may have cloned there is left for somebody who may look; the rest is not."""
    cinder = stores.store(sandbox, "cinder", "volumes")
    raw.create("volumes", f"{CINDERS[1]}.deleted", size=MiB)
    volumes = cinder.volumes
    volumes.create("volume-2", MiB)
    volumes.create_snapshot("volume-2", "snapshot-1")
    volumes.create_from_snapshot("volume-3", "volume-2", "snapshot-1")
    volumes.delete_snapshot("volume-2", "snapshot-1")
    raw.remove("volumes", "volume-3")
    done = cinder.gc(apply=True)
    assert found(done)["deleted", f"volumes/{CINDERS[1]}.deleted"] == "reclaimed"
    (blind,) = [each for each in done.left if each.kind == "snapshot"]
    assert "may be in pools that could not be looked into: " in blind.reason
    told = {each.item: each.reason for each in done.left if each.kind == "pool"}
    assert "vms" in told
    assert "client.cinder" in told["vms"]
    assert found(stores.store(sandbox, "admin", "volumes").gc(apply=True)) == {
        ("snapshot", str(blind.item)): "reclaimed"
    }
    volumes.delete("volume-2")


def test_a_namespace(sandbox, pool, raw, ioctx):
    rbd.RBD().namespace_create(ioctx, "ns")
    inside = stores.store(sandbox, "admin", "volumes", rbd_namespace="ns")
    inside._open_pool().create(f"{CINDERS[1]}.deleted", MiB)
    pool.create(spec.draft_name("volume-1"), MiB)
    assert set(found(inside.gc(apply=True))) == {("deleted", f"volumes/ns/{CINDERS[1]}.deleted")}
    assert len(stores.store(sandbox, "admin", "volumes").gc(apply=True).reclaimed) == 1
    for key in [one.key for one in ioctx.list_objects()]:
        assert "ns" not in key
    inside.close()
    rbd.RBD().namespace_remove(ioctx, "ns")


def test_one_that_cannot_be_read_keeps_no_other(store, pool, ioctx):
    image_id = scratch.new_image(pool, "volume-1", DATA)
    pool.create(f"{CINDERS[2]}.deleted", MiB)
    with pool.open("volume-1", read_only=False) as image:
        image.create_snap("before")
    key = spec.record_object(pool.id_of("volume-1"))
    with rados.WriteOpCtx() as op:
        ioctx.set_omap(op, (b"child/\xff",), (b"",))
        ioctx.operate_write_op(op, key)
    with rados.WriteOpCtx() as op:
        ioctx.set_omap(op, ("features",), (b"x",))
        ioctx.operate_write_op(op, f"rbd_header.{image_id}")
    assert found(store.gc(apply=True)) == {
        ("deleted", f"volumes/{CINDERS[2]}.deleted"): "reclaimed",
        ("pool", "volumes/volume-1"): "left",
        ("record", f"volumes/{key}"): "left",
    }
    for each in [one.key for one in ioctx.list_objects()]:
        # One that an earlier test removed may be listed until the OSD has trimmed its snapshots.
        with contextlib.suppress(rados.ObjectNotFound):
            ioctx.remove_object(each)


def test_an_image_that_is_being_migrated(store, pool, raw, ioctx):
    raw.create("volumes", "volume-1", data=DATA)
    pool.create(f"{CINDERS[2]}.deleted", MiB)
    rbd.RBD().migration_prepare(ioctx, "volume-1", ioctx, "volume-1")
    source = rbd.RBD().migration_status(ioctx, "volume-1")["source_image_id"]
    (entry,) = pool.trash_list()
    assert (entry.name, entry.image_id) == ("volume-1", source)
    assert found(store.gc(apply=True)) == {
        ("deleted", f"volumes/{CINDERS[2]}.deleted"): "reclaimed",
        ("trash", "volumes/volume-1"): "left",
    }
    rbd.RBD().migration_execute(ioctx, "volume-1")
    rbd.RBD().migration_commit(ioctx, "volume-1")
    assert raw.read("volumes", "volume-1") == DATA
    raw.remove("volumes", "volume-1")
