# SPDX-License-Identifier: Apache-2.0
"""What only the rbd driver promises of pools. The rest is in ``test_suite``."""

import struct
import subprocess

import pytest
import scratch
from scratch import MiB

from rbdstore import exceptions
from rbdstore.drivers.rbd import renaming


class TestImages:
    def test_the_sections_features_and_object_size(self, connect, raw):
        pool = connect(rbd_features=["layering", "exclusive-lock"], rbd_store_chunk_size=1)
        pool = pool.open_pool("volumes")
        with scratch.an_image(pool) as image:
            assert image.features() == {"layering", "exclusive-lock"}
            assert image.object_size == MiB
            scratch.new_snap(image, "s")
            pool.clone(pool, "a", "s", "c")
            with pool.open("c") as other:
                assert "object-map" not in other.features()
                assert other.object_size == MiB
            pool.remove("c")

    def test_data_pool(self, connect, raw):
        pool = connect(rbd_data_pool="vms").open_pool("volumes")
        with scratch.an_image(pool, data=b"x" * MiB) as image:
            scratch.new_snap(image, "s")
            pool.clone(pool, "a", "s", "c")
            assert any(key.startswith("rbd_data.") for key in raw.objects("vms"))
            assert not any(key.startswith("rbd_data.") for key in raw.objects("volumes"))
            pool.remove("c")

    @pytest.mark.parametrize(
        ("name", "size", "order", "error"),
        [
            ("n" * 4000, MiB, None, exceptions.InvalidName),
            ("n", 1 << 63, None, exceptions.InvalidInput),
            ("n", MiB, 60, exceptions.InvalidInput),
        ],
    )
    def test_what_librbd_refuses(self, pool, name, size, order, error):
        with pytest.raises(error):
            pool.create(name, size, order=order)
        assert pool.list_images() == []

    def test_of_two_renamings_to_one_name_one_succeeds(self, pool):
        """librbd's own says so to both."""
        for _ in range(10):
            ids = [scratch.new_image(pool, name) for name in ("a", "b")]

            def rename(number):
                try:
                    pool.rename("ab"[number], "c")
                except exceptions.Duplicate:
                    return False
                return True

            told = scratch.together(2, rename)
            winner = told.index(True)
            assert told == [winner == 0, winner == 1]
            assert pool.id_of("c") == ids[winner]
            assert sorted(pool.list_images()) == sorted(["c", "ba"[winner]])
            for name in pool.list_images():
                pool.remove(name)

    def test_a_name_that_half_an_image_has(self, pool, raw):
        """The other half does not come to be."""
        entry = {"name_b": struct.pack("<I", 9) + b"elsewhere"}
        with scratch.an_image(pool):
            pool.set_keys("rbd_directory", entry)
            with raw.ioctx("volumes") as ioctx:
                assert not renaming.rename(ioctx, "a", "b")
            pool.remove_keys("rbd_directory", list(entry))
            assert "rbd_id.b" not in raw.objects("volumes")
            assert pool.list_images() == ["a"]

    def test_a_journal_is_told_of_a_new_name(self, connect, raw):
        pool = connect(rbd_features=["layering", "exclusive-lock", "journaling"])
        pool = pool.open_pool("volumes")
        scratch.new_image(pool, "a")
        with raw.ioctx("volumes") as ioctx:
            assert not renaming.rename(ioctx, "a", "b")
        pool.rename("a", "b")
        assert pool.list_images() == ["b"]
        pool.remove("b")

    def test_a_name_that_is_not_utf8(self, pool, sandbox):
        """The bindings cannot list such a pool; what to do about it is said."""

        def rbd_command(*arguments):
            subprocess.run(["rbd", *arguments], env=sandbox.env(), check=True, capture_output=True)

        rbd_command("create", b"volumes/\xff", "--size", "1")
        try:
            with pytest.raises(exceptions.ClusterError, match=r"not UTF-8.*with the rbd command"):
                pool.list_images()
        finally:
            rbd_command("rm", b"volumes/\xff")

    def test_rights(self, connect):
        cluster = connect("cinder")
        images = cluster.open_pool("images")
        assert images.list_images() == []
        with pytest.raises(exceptions.PermissionDenied) as caught:
            images.create("x", MiB)
        assert "ceph auth caps client.cinder" in str(caught.value)
        assert "pool=images" in str(caught.value)
        assert caught.value.spec == images.spec("x")
        with pytest.raises(exceptions.PermissionDenied):
            images.set_keys("k", {"a": b""})
        with pytest.raises(exceptions.PermissionDenied):
            images.lease("k", "me", 1, "me")
