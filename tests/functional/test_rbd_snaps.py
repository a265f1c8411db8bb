# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of snapshots."""

import pytest
import scratch
from scratch import MiB

from rbdstore import exceptions


class TestSnaps:
    def test_snaps(self, either_pool):
        with scratch.an_image(either_pool, size=8 * MiB, data=b"one") as image:
            image.create_snap("s1")
            image.resize(9 * MiB)
            image.create_snap("s2")
            first, second = image.snaps()
            assert (first.name, first.size, first.protected, first.trashed) == (
                "s1",
                8 * MiB,
                False,
                False,
            )
            assert (second.name, second.size) == ("s2", 9 * MiB)
            assert first.id < second.id
            with pytest.raises(exceptions.Duplicate) as caught:
                image.create_snap("s1")
            assert caught.value.spec == either_pool.spec("a", "s1")
            image.rename_snap("s1", "s3")
            with pytest.raises(exceptions.Duplicate):
                image.rename_snap("s3", "s2")
            with pytest.raises(exceptions.SnapshotNotFound):
                image.rename_snap("s1", "s4")
            assert [snap.name for snap in image.snaps()] == ["s3", "s2"]
            image.remove_snap(first.id)
            with pytest.raises(exceptions.SnapshotNotFound):
                image.remove_snap(first.id)
            assert [snap.name for snap in image.snaps()] == ["s2"]

    def test_protection(self, either_pool):
        with scratch.an_image(either_pool) as image:
            snap_id = scratch.new_snap(image, "s")
            image.protect_snap("s")
            image.protect_snap("s")
            assert image.snaps()[0].protected
            with pytest.raises(exceptions.InUse, match="unprotect"):
                image.remove_snap(snap_id)
            image.unprotect_snap("s")
            image.unprotect_snap("s")
            assert not image.snaps()[0].protected
            for call in (image.protect_snap, image.unprotect_snap):
                with pytest.raises(exceptions.SnapshotNotFound):
                    call("nope")
            with either_pool.open("a") as reader, pytest.raises(exceptions.ReadOnly):
                reader.create_snap("x")

    def test_unprotecting_with_children_of_format_1(self, connect):
        pool = connect(rbd_clone_format="1").open_pool("volumes")
        with scratch.an_image(pool) as image:
            image.create_snap("s")
            image.protect_snap("s")
            pool.clone(pool, "a", "s", "c")
            with pytest.raises(exceptions.InUse) as caught:
                image.unprotect_snap("s")
            assert caught.value.children == (pool.spec("c"),)
            pool.remove("c")

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
