# SPDX-License-Identifier: Apache-2.0
"""The file driver's data directory: how it is made, what is in it, what never gets out of it."""

import sqlite3

import filestore
import pytest
from filestore import MiB

import rbdstore
from rbdstore import exceptions
from rbdstore.drivers.file import options


@pytest.fixture
def cluster(tmp_path):
    cluster = filestore.connect(tmp_path / "data")
    yield cluster
    cluster.close()


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


class TestOptions:
    def test_a_folder_is_enough(self, tmp_path):
        with rbdstore.connect("file", file_store_datadir=str(tmp_path / "new" / "one")) as store:
            image = store.images.add("image", b"data")
            assert b"".join(store.images.get(image.uri)) == b"data"
            assert "/rbd/" in image.uri
            store.images.delete(image.uri)

    def test_pools_are_made_and_remain(self, tmp_path):
        first = filestore.connect(tmp_path, file_store_pools=["a", "b/tenant"])
        assert first.list_pools() == ["a", "b"]
        filestore.fill(first.open_pool("b", "tenant"), "image", b"data")
        second = filestore.connect(tmp_path, file_store_pools=["c"])
        assert (second.list_pools(), second.fsid) == (["a", "b", "c"], first.fsid)
        assert filestore.content(second.open_pool("b", "tenant"), "image") == b"data"
        assert second.open_pool("b").list_images() == []
        with pytest.raises(exceptions.PoolNotFound, match="add d to file_store_pools"):
            second.open_pool("d")
        with pytest.raises(exceptions.PoolNotFound, match="rbd_namespace"):
            second.open_pool("a", "tenant")
        first.close()
        second.close()

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ({"file_store_features": ["layering", "fast"]}, "'fast' is none of the features"),
            ({"file_store_features": ["exclusive-lock"]}, "add it"),
            ({"file_store_pools": ["a/b/c"]}, "'a/b/c' is neither"),
            ({"file_store_pools": ["/b"]}, "'/b' is neither"),
            ({"file_store_reserve": 0}, "file_store_reserve"),
            ({"file_store_timeout": "soon"}, "file_store_timeout"),
            ({"file_store_datadir": ""}, "it must be set"),
        ],
    )
    def test_a_wrong_value_names_section_and_option(self, tmp_path, values, text):
        given = {"section": "demo", "file_store_datadir": str(tmp_path), **values}
        with pytest.raises(exceptions.ConfigError) as caught:
            options.read(given)
        assert text in str(caught.value)
        assert str(caught.value).startswith(f"[demo] {next(iter(values))}: ")

    def test_a_folder_that_cannot_be_used(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(exceptions.ConfigError, match=r"file_store_datadir: .* cannot be used"):
            filestore.connect(tmp_path / "file")

    def test_a_folder_of_another_release(self, tmp_path):
        filestore.connect(tmp_path).close()
        with sqlite3.connect(tmp_path / "rbdstore.db") as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        with pytest.raises(exceptions.ConfigError, match="made by another release"):
            filestore.connect(tmp_path)

    def test_old_images(self, tmp_path):
        with rbdstore.connect(
            "file", file_store_datadir=str(tmp_path), file_store_features="layering,striping"
        ) as store:
            store.volumes.create("volume", MiB)
            with store._cluster.open_pool("rbd").open("volume") as image:
                assert image.features() == {"layering", "striping"}


class TestPaths:
    @pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "..", ".", "a/b", "\n", "ü@x"])
    def test_nothing_gets_out(self, tmp_path, name):
        data = tmp_path / "in" / "data"
        cluster = filestore.connect(data, file_store_pools=[name.replace("/", "."), "volumes"])
        pool = cluster.open_pool("volumes")
        image_id = filestore.fill(pool, name, b"data")
        with pool.open(name, read_only=False) as image:
            image.create_snap(name)
            image.set_metadata(name, name)
        pool.clone(pool, name, name, name + "2")
        pool.rename(name + "2", name + "3")
        pool.set_keys(name, {name: b"x"})
        assert pool.lease(name, "me", 60, name)
        assert [path.name for path in (tmp_path / "in").iterdir()] == ["data"]
        assert [path.name for path in tmp_path.iterdir()] == ["in"]
        assert {path.split("/")[2] for path in filestore.files(data)} == {image_id}
        with pytest.raises(exceptions.ImageNotFound):
            pool.open(image_id=f"../{image_id}")
        cluster.close()


class TestNothingIsLeft:
    def test_after_everything_was_removed(self, cluster, pool, tmp_path):
        filestore.fill(pool, "a", b"x" * (9 * MiB))
        vms = cluster.open_pool("vms")
        with pool.open("a", read_only=False) as image:
            image.lock()
            for turn in range(4):
                image.create_snap(f"s{turn}")
                image.write(turn * MiB, b"y" * MiB)
                image.discard(5 * MiB, MiB)
            vms.clone(pool, "a", "s2", "c")
            with vms.open("c", read_only=False) as clone:
                clone.write(0, b"z")
                clone.create_snap("s")
                clone.resize(MiB, allow_shrink=True)
            image.rollback("s1")
            image.set_metadata("key", "value")
        assert pool.lease("k", "me", 60, "me")
        pool.set_keys("k", {"a": b"b"})
        pool.remove_leased("k", "me")
        filestore.remove_all(vms)
        pool.trash_move("a")
        (entry,) = pool.trash_list()
        with pool.open(image_id=entry.image_id, read_only=False) as image:
            for snap in image.snaps():
                image.remove_snap(snap.id)
        pool.trash_remove(entry.image_id)
        assert cluster.leftovers() == []
        assert filestore.files(tmp_path / "data") == []

    def test_layers_melt(self, pool, cluster):
        """However many snaps come and go, an image is looked for in two layers at the most."""
        expected = bytearray(12 * MiB)
        filestore.fill(pool, "a", bytes(expected))
        with pool.open("a", read_only=False) as image:
            for turn in range(12):
                image.create_snap(f"s{turn}")
                expected[turn * MiB : turn * MiB + 10] = b"%010d" % turn
                image.write(turn * MiB, b"%010d" % turn)
                if turn:
                    image.remove_snap(image.snaps()[0].id)
            with cluster.data.database.reading() as tx:
                assert tx.execute("SELECT count(*) FROM layers").fetchone()[0] == 2
            assert image.read(0, len(expected)) == expected
        filestore.remove_all(pool)
        assert cluster.leftovers() == []

    def test_leftovers_names_what_there_is(self, cluster, pool):
        filestore.fill(pool, "a", b"data")
        pool.set_keys("k", {"x": b"y"})
        found = " ".join(cluster.leftovers())
        for part in ("images: ", "layers: ", "objects: ", "entries: ", "pools/"):
            assert part in found


class TestCosts:
    def test_no_space_for_holes(self, cluster, pool, tmp_path):
        pool.create("a", 1 << 50)
        with pool.open("a", read_only=False) as image:
            image.write(1 << 49, b"x")
            image.create_snap("s")
            pool.clone(pool, "a", "s", "c")
            image.resize(1 << 40, allow_shrink=True)
        with pool.open("c") as clone:
            found = list(clone.extents(0, clone.size(), whole_object=True))
            assert [extent.offset for extent in found] == [1 << 49]
            assert clone.read(1 << 49, 2) == b"x\0"
        used = sum(path.stat().st_blocks for path in (tmp_path / "data" / "pools").rglob("*"))
        assert used * 512 < MiB
