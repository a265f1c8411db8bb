# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of clones, their parents and their children."""

import pytest
import scratch
import stores
from samples import OLD_FEATURES
from scratch import MiB

from rbdstore import driver, exceptions
from rbdstore.testing.recipe import Role


class TestLineage:
    @pytest.fixture(params=[1, 2])
    def clone_format(self, request):
        return request.param

    @pytest.fixture
    def cloned(self, connect, clone_format, features):
        pool = connect(rbd_clone_format=str(clone_format), rbd_features=features)
        pool = pool.open_pool("volumes")
        with scratch.an_image(pool, data=b"parent") as image:
            image.create_snap("s")
            if clone_format == 1:
                image.protect_snap("s")
            pool.clone(pool, "a", "s", "c")
            yield pool, image, driver.find_snap(image, "s").id

    def test_parent_and_children(self, cloned, clone_format):
        pool, image, snap_id = cloned
        with pool.open("c", read_only=False) as clone:
            assert clone.parent() == driver.Parent("volumes", "", "a", image.id, "s")
            assert clone.read(0, 6) == b"parent"
            child = driver.Child("volumes", "", "c", clone.id)
            assert image.children(snap_id) == [child]
            with pytest.raises(exceptions.InUse) as caught:
                image.remove_snap(snap_id)
            assert caught.value.children == (pool.spec("c"),)
            assert [snap.id for snap in image.snaps() if not snap.trashed] == [snap_id]
            clone.flatten()
            assert clone.parent() is None
            assert image.children(snap_id) == []
            image.unprotect_snap("s")
            image.remove_snap(snap_id)
            assert clone.read(0, 6) == b"parent"
        pool.remove("c")

    def test_a_child_in_the_trash(self, cloned):
        pool, image, snap_id = cloned
        pool.trash_move("c")
        children = image.children(snap_id)
        assert [(child.image, child.trashed) for child in children] == [("c", True)]
        with pool.open(image_id=children[0].image_id) as clone:
            assert clone.read(0, 6) == b"parent"
        pool.trash_remove(children[0].image_id)
        assert image.children(snap_id) == []

    def test_a_parent_in_the_trash(self, cloned):
        pool, image, _ = cloned
        pool.trash_move("a")
        try:
            with pool.open("c") as clone:
                parent = clone.parent()
                assert (parent.image, parent.image_id, parent.snap) == ("a", image.id, "s")
                assert clone.read(0, 6) == b"parent"
        finally:
            pool.remove("c")
            pool.trash_restore(image.id, "a")

    def test_set_snap(self, cloned):
        pool, image, snap_id = cloned
        image.write(0, b"PARENT")
        image.resize(20 * MiB)
        image.set_snap(snap_id)
        assert (image.size(), image.read(0, 6)) == (16 * MiB, b"parent")
        assert len(image.children(snap_id)) == 1
        assert image.size() == 16 * MiB
        image.set_snap(None)
        assert (image.size(), image.read(0, 6)) == (20 * MiB, b"PARENT")
        with pytest.raises(exceptions.SnapshotNotFound):
            image.set_snap(123456)
        pool.remove("c")

    def test_children_in_other_pools_and_their_metadata(self, connect, cloned, clone_format):
        pool, image, snap_id = cloned
        image.set_metadata("key", "value")
        vms = connect(rbd_clone_format=str(clone_format)).open_pool("vms")
        vms.clone(pool, "a", "s", "disk")
        assert {child.spec for child in image.children(snap_id)} == {
            pool.spec("c"),
            vms.spec("disk"),
        }
        with vms.open("disk") as disk:
            assert disk.metadata() == {"key": "value"}
        with pytest.raises(exceptions.Duplicate) as caught:
            vms.clone(pool, "a", "s", "disk")
        assert caught.value.spec == vms.spec("disk")
        vms.remove("disk")
        pool.remove("c")

    def test_clones_of_what_is_not_there(self, pool):
        with scratch.an_image(pool):
            with pytest.raises(exceptions.SnapshotNotFound) as caught:
                pool.clone(pool, "a", "nope", "c")
            assert caught.value.spec == pool.spec("a", "nope")
            with pytest.raises(exceptions.NotFound):
                pool.clone(pool, "nope", "s", "c")
        assert pool.list_images() == []

    def test_format_1_wants_protection(self, connect):
        pool = connect(rbd_clone_format="1").open_pool("volumes")
        with scratch.an_image(pool) as image:
            image.create_snap("s")
            with pytest.raises(exceptions.NotCloneable, match="protected"):
                pool.clone(pool, "a", "s", "c")
            assert pool.list_images() == ["a"]

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
                    assert "allow class-read pool=<pool> object_prefix rbd_" in str(caught.value)
                    assert "client.narrow" in str(caught.value)
                raw.remove("vms", "disk")

    def test_an_old_images_snap_keeps_the_parent(self, connect):
        """Without deep-flatten: the head lets go of the parent, an earlier snap does not."""
        pool = connect(rbd_features=OLD_FEATURES).open_pool("volumes")
        with scratch.an_image(pool, data=b"parent") as image:
            snap_id = scratch.new_snap(image, "s")
            pool.clone(pool, "a", "s", "c")
            with pool.open("c", read_only=False) as clone:
                held = scratch.new_snap(clone, "held")
                clone.flatten()
                assert clone.parent() is None
                clone.set_snap(held)
                assert clone.parent().spec == pool.spec("a", "s")
                clone.set_snap(None)
                assert clone.parent() is None
            assert len(image.children(snap_id)) == 1
            with pytest.raises(exceptions.InUse):
                image.remove_snap(snap_id)
            scratch.remove_all(pool, "c")

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
