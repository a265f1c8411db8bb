# SPDX-License-Identifier: Apache-2.0
"""Snaps whose ids were reserved: in the cluster they are what librbd makes."""

import pytest
import scratch
from scratch import MiB

from rbdstore import driver, exceptions
from rbdstore.drivers.rbd import lease, object_map, objects


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
        assert image.snaps() == []
