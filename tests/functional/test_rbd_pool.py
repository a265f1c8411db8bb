# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of pools: images by name, and small objects."""

import pytest
import samples
import scratch
from scratch import MiB

from rbdstore import exceptions


class TestImages:
    def test_create_and_remove(self, either_pool, features):
        pool = either_pool
        assert pool.list_images() == []
        with scratch.an_image(pool, "a", 3 * MiB + 1, order=20) as image:
            assert pool.list_images() == ["a"]
            assert image.size() == 3 * MiB + 1
            assert image.object_size == MiB
            assert "layering" in image.features()
            assert ("exclusive-lock" in image.features()) == (features is None)
            with pytest.raises(exceptions.Duplicate) as caught:
                pool.create("a", MiB)
            assert caught.value.spec == pool.spec("a")
            assert image.size() == 3 * MiB + 1
        with pytest.raises(exceptions.ImageNotFound):
            pool.remove("a")
        with pytest.raises(exceptions.ImageNotFound):
            pool.open("a")

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

    def test_open(self, pool):
        with scratch.an_image(pool, data=b"abc") as image:
            with pool.open("a") as reader, pool.open(image_id=image.id) as by_id:
                assert (reader.name, reader.id, reader.read_only) == ("a", image.id, True)
                assert (by_id.name, by_id.id) == ("a", image.id)
                assert by_id.read(0, 3) == b"abc"
                with pytest.raises(exceptions.ReadOnly):
                    reader.write(0, b"x")
                with pytest.raises(exceptions.ReadOnly):
                    reader.lock()
            with pytest.raises(exceptions.ClusterError, match="closed"):
                reader.size()
            reader.close()
        with pytest.raises(exceptions.ImageNotFound):
            pool.open(image_id="1234567890")
        with pytest.raises(exceptions.InvalidInput):
            pool.open()

    def test_rename(self, pool):
        pool.create("a", MiB)
        pool.create("b", 2 * MiB)
        with pytest.raises(exceptions.Duplicate) as caught:
            pool.rename("a", "b")
        assert caught.value.spec == pool.spec("b")
        pool.rename("a", "c")
        with pytest.raises(exceptions.ImageNotFound):
            pool.rename("a", "d")
        assert sorted(pool.list_images()) == ["b", "c"]
        with pool.open("b") as b, pool.open("c") as c:
            assert (b.size(), c.size()) == (2 * MiB, MiB)
        pool.remove("b")
        pool.remove("c")

    def test_remove_says_what_holds_it(self, pool, either_pool):
        with scratch.an_image(either_pool, "a") as image:
            scratch.new_snap(image, "s1")
            scratch.new_snap(image, "s2")
            with pytest.raises(exceptions.InUse) as caught:
                pool.remove("a")
            assert caught.value.snapshots == ("s1", "s2")
            assert caught.value.watchers == tuple(image.watchers())
            assert caught.value.spec == pool.spec("a")

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


class TestSmallObjects:
    def test_content(self, pool, raw):
        assert pool.read_object("k") == b""
        content = samples.pattern("object", 3 * MiB)
        with raw.ioctx("volumes") as ioctx:
            ioctx.write_full("k", content)
        assert pool.read_object("k") == content
        pool.remove_object("k")
        pool.remove_object("k")
        assert pool.read_object("k") == b""

    def test_keys(self, pool, raw):
        assert pool.get_keys("k") == {}
        pool.remove_keys("k", ["a"])
        assert "k" not in raw.objects("volumes")
        pool.set_keys("k", {"a": b"1", "ü": b"\xff\0", "empty": b""})
        pool.set_keys("k", {"a": b"2"})
        assert pool.get_keys("k") == {"a": b"2", "ü": b"\xff\0", "empty": b""}
        pool.remove_keys("k", ["a", "nope"])
        assert pool.get_keys("k") == {"ü": b"\xff\0", "empty": b""}
        pool.remove_object("k")

    def test_more_keys_than_one_answer_holds(self, pool):
        entries = {f"key-{number:05}": str(number).encode() for number in range(3000)}
        pool.set_keys("k", entries)
        assert pool.get_keys("k") == entries
        pool.remove_object("k")
