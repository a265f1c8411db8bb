# SPDX-License-Identifier: Apache-2.0
"""Snaps whose ids were reserved: in the cluster they are what librbd makes."""

import struct

import pytest
import rbd
import scratch
from scratch import MiB

from rbdstore import driver, exceptions
from rbdstore.drivers.rbd import headers, lease, object_map, objects


def write_around(image, make_snap):
    """Write, make two snaps, and write again by the same handle."""
    for name in ("s", "t"):
        image.write(0, name.encode())
        image.write(4 * MiB, name.encode())
        image.flush()
        make_snap(name)
        image.write(4 * MiB, b"later")
        image.discard(8 * MiB, 4 * MiB)
    image.flush()
    return [driver.find_snap(image, name).id for name in ("s", "t")]


def maps(raw, image, snap_ids):
    keys = [object_map.of_head(image.id), *(object_map.of_snap(image.id, n) for n in snap_ids)]
    with raw.ioctx("volumes") as ioctx:
        return [objects.read(ioctx, key) for key in keys]


def first_byte(pool, snap_id):
    with pool.open("a") as image:
        image.set_snap(snap_id)
        return image.read(0, 1)


def test_its_object_maps_are_those_that_librbd_makes(either_pool, raw):
    pool = either_pool
    reserved = []

    def make_reserved(name):
        reserved.append(pool.reserve_snap().result())
        image.create_reserved_snap(name, reserved[-1])

    with scratch.an_image(pool, "theirs") as theirs:
        wanted = maps(raw, theirs, write_around(theirs, theirs.create_snap))
        has_map = "object-map" in theirs.features()
        with scratch.an_image(pool, "ours") as image:
            found = write_around(image, make_reserved)
            # Else librbd has made it.
            assert found == [each.snap_id for each in reserved]
            assert maps(raw, image, found) == wanted
            assert all(wanted) == has_map


def test_an_id_that_is_older_than_the_latest_snaps_is_of_no_use(pool):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        first = scratch.new_snap(image, "s")
        image.create_reserved_snap("t", reserved)
        assert reserved.snap_id < first < driver.find_snap(image, "t").id


def test_a_later_snap_that_comes_in_between_is_of_no_harm(pool, monkeypatch):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        scratch.new_snap(image, "s")
        monkeypatch.setattr(headers, "latest_snap", lambda *_: 0)
        image.create_reserved_snap("t", reserved)
        assert driver.find_snap(image, "t").id > reserved.snap_id


def test_what_librbd_holds_back_is_written_first(pool, monkeypatch):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        with monkeypatch.context() as patched:
            patched.setattr(type(image), "flush", lambda _image: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                image.create_reserved_snap("s", reserved)
        assert image.snaps() == []


def test_an_id_of_another_pool_is_of_no_use(pool):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        image.create_reserved_snap(
            "s", driver.ReservedSnap(reserved.pool_id + 1000, reserved.snap_id)
        )
        assert driver.find_snap(image, "s").id > reserved.snap_id


def test_an_image_that_librbd_does_more_for_is_left_to_it(pool, raw):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        image.set_features(["journaling"], enabled=True)
        image.create_reserved_snap("s", reserved)
        assert driver.find_snap(image, "s").id > reserved.snap_id
        image.set_features(["journaling"], enabled=False)


def test_whose_lock_another_one_has_makes_none(pool, monkeypatch):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        with monkeypatch.context() as patched:
            patched.setattr(lease, "cookie", lambda *_: "another's")
            with pytest.raises(exceptions.InUse):
                image.create_reserved_snap("s", reserved)
        with pool.open("a") as anew:
            assert anew.snaps() == []


def test_an_id_whose_snap_was_removed_is_of_no_use(pool):
    """The header would take it again, and the OSDs keep nothing for it."""
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        image.create_reserved_snap("s", reserved)
        image.remove_snap(reserved.snap_id)
        image.create_reserved_snap("t", reserved)
        snap_id = driver.find_snap(image, "t").id
        image.write(0, b"b")
        image.flush()
        assert first_byte(pool, snap_id) == b"a"
        assert snap_id > reserved.snap_id


def test_a_map_that_is_not_to_be_trusted_is_left_to_librbd(pool, raw):
    with scratch.an_image(pool, data=b"a") as image:
        with raw.ioctx("volumes") as ioctx:
            flag = rbd.RBD_FLAG_OBJECT_MAP_INVALID
            ioctx.execute(
                f"rbd_header.{image.id}", "rbd", "set_flags", struct.pack("<QQ", flag, flag)
            )
        with pool.open("a", read_only=False) as anew:
            anew.write(0, b"b")
            reserved = pool.reserve_snap().result()
            anew.create_reserved_snap("s", reserved)
            assert driver.find_snap(anew, "s").id > reserved.snap_id


def test_where_its_map_cannot_be_written_there_is_none(pool, raw, monkeypatch):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        with monkeypatch.context() as patched:
            patched.setattr(objects, "read", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                image.create_reserved_snap("s", reserved)
        # What its handle remembers may be wrong.
        with pytest.raises(exceptions.ClusterError, match="closed"):
            image.write(0, b"b")
        with pool.open("a", read_only=False) as anew:
            assert anew.snaps() == []
            anew.write(0, b"b")


def test_one_that_a_killed_client_left_without_its_map_can_be_removed(pool, raw):
    with scratch.an_image(pool, data=b"a") as image:
        image.create_reserved_snap("s", pool.reserve_snap().result())
        image.write(0, b"b")
        image.create_reserved_snap("t", reserved := pool.reserve_snap().result())
        with raw.ioctx("volumes") as ioctx:
            ioctx.remove_object(object_map.of_snap(image.id, reserved.snap_id))
    assert pool.list_images() == []


def test_a_lock_is_kept(pool):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        image.lock()
        image.create_reserved_snap("s", reserved)
        with pool.open("a", read_only=False) as other, pytest.raises(exceptions.InUse):
            other.lock()
        assert driver.find_snap(image, "s").id > reserved.snap_id


def test_what_another_one_wrote_who_had_the_lock_is_in_it(pool, raw):
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool) as image:
        with raw.ioctx("volumes") as ioctx, rbd.Image(ioctx, "a") as other:
            other.write(b"a", 0)
            image.create_reserved_snap("s", reserved)
            other.write(b"b", 0)
        assert driver.find_snap(image, "s").id == reserved.snap_id
        assert first_byte(pool, reserved.snap_id) == b"a"
        (extent,) = image.extents(0, 16 * MiB, from_snap="s", whole_object=True)
        assert extent.offset == 0


def test_nobody_gets_the_lock_while_it_is_made(pool, raw, monkeypatch):
    reserved = pool.reserve_snap().result()
    told = []

    def read(ioctx, key):
        with raw.ioctx("volumes") as theirs, rbd.Image(theirs, "a") as other:
            with pytest.raises(rbd.ReadOnlyImage) as caught:
                other.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
            told.append(caught)
        return read_it(ioctx, key)

    with scratch.an_image(pool, data=b"a") as image:
        read_it = objects.read
        with monkeypatch.context() as patched:
            patched.setattr(objects, "read", read)
            image.create_reserved_snap("s", reserved)
        assert len(told) == 1
        image.write(0, b"b")


@pytest.mark.parametrize(
    "options",
    [
        {"rbd_data_pool": "vms"},
        {"rbd_features": ["layering", "exclusive-lock", "object-map"]},
        {"rbd_features": ["layering", "exclusive-lock"]},
    ],
)
def test_with_other_options(connect, options):
    pool = connect(**options).open_pool("volumes")
    reserved = pool.reserve_snap().result()
    with scratch.an_image(pool, data=b"a") as image:
        image.create_reserved_snap("s", reserved)
        image.write(0, b"b")
        assert driver.find_snap(image, "s").id == reserved.snap_id
        image.flush()
        assert first_byte(pool, reserved.snap_id) == b"a"
