# SPDX-License-Identifier: Apache-2.0
"""What only the rbd driver promises of snaps and their children. The rest is in ``test_suite``."""

import struct

import pytest
import scratch
import stores

from rbdstore import exceptions
from rbdstore.testing.recipe import Role


class TestLineage:
    def test_a_trashed_snap(self, pool, raw):
        """What stock drivers leave: a snap removed while it had a child."""
        with scratch.an_image(pool, data=b"parent") as image:
            snap_id = scratch.new_snap(image, "s")
            pool.clone(pool, "a", "s", "c")
            raw.remove_snap("volumes", "a", "s")
            (snap,) = image.snaps()
            assert (snap.id, snap.trashed) == (snap_id, True)
            assert snap.name != "s"
            assert [child.image for child in image.children(snap_id)] == ["c"]
            with pytest.raises(exceptions.InUse):
                image.remove_snap(snap_id)
            with pool.open("c") as clone:
                assert clone.parent().image == "a"
                assert clone.read(0, 6) == b"parent"
            pool.remove("c")
            assert image.snaps() == []

    def test_children_that_may_not_be_seen(self, sandbox, connect, raw):
        """A user with rights on one pool only cannot know whether it would do harm."""
        with stores.more_users(sandbox, Role("narrow", osd=("profile rbd pool=images",), mgr=())):
            pool = connect("narrow").open_pool("images")
            with scratch.an_image(pool) as image:
                snap_id = scratch.new_snap(image, "s")
                raw.clone("images", "a", "s", "vms", "disk")
                for call in (image.children, image.remove_snap):
                    with pytest.raises(exceptions.PermissionDenied) as caught:
                        call(snap_id)
                    assert "allow class-read pool=vms object_prefix rbd_" in str(caught.value)
                    assert "client.narrow" in str(caught.value)
                raw.remove("vms", "disk")

    def test_more_children_that_may_not_be_seen_than_an_answer_has_room_for(
        self, sandbox, connect, raw
    ):
        """The pool that is named is theirs all the same."""
        with stores.more_users(sandbox, Role("narrow", osd=("profile rbd pool=images",), mgr=())):
            pool = connect("narrow").open_pool("images")
            with scratch.an_image(pool) as image:
                snap_id = scratch.new_snap(image, "s")
                with raw.ioctx("images") as ioctx, raw.ioctx("vms") as below:
                    children = [
                        scratch.as_listed(snap_id, below.get_pool_id(), f"{number:032}")
                        for number in range(1500)
                    ]
                    for each in children:
                        ioctx.execute(f"rbd_header.{image.id}", "rbd", "child_attach", each)
                    with pytest.raises(exceptions.PermissionDenied) as caught:
                        image.children(snap_id)
                    assert "allow class-read pool=vms object_prefix rbd_" in str(caught.value)
                    for each in children:
                        ioctx.execute(f"rbd_header.{image.id}", "rbd", "child_detach", each)

    def test_more_snaps_than_an_answer_has_room_for(self, pool, raw):
        with scratch.an_image(pool) as image:
            header = f"rbd_header.{image.id}"
            snap_id = scratch.new_snap(image, "s")
            with raw.ioctx("volumes") as ioctx:
                others = range(snap_id + 1, snap_id + 1_101)
                for other in others:
                    name = f"{other}".encode()
                    arguments = struct.pack("<I", len(name)) + name + struct.pack("<Q", other)
                    ioctx.execute(header, "rbd", "snapshot_add", arguments)
                assert image.still_has(snap_id)
                assert pool.has_snaps(image.id)
                for other in others:
                    ioctx.execute(header, "rbd", "snapshot_remove", struct.pack("<Q", other))

    def test_a_child_whose_parent_is_gone(self, pool, raw):
        parent_id = scratch.new_image(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.create_snap("s")
        pool.clone(pool, "a", "s", "c")
        with raw.ioctx("volumes") as ioctx:
            header = f"rbd_header.{parent_id}"
            saved = pool.get_keys(header)
            ioctx.remove_object(header)
            with pytest.raises(exceptions.ImageNotFound):
                pool.open("c")
            # It holds data all the same.
            assert not pool.is_debris("c")
            pool.set_keys(header, saved)
        with pool.open("c") as clone:
            assert clone.parent().image_id == parent_id
        pool.remove("c")
        scratch.remove_all(pool, "a")
