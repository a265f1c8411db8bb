# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver makes of images that are half there."""

import struct
import threading
import time

import pytest
import scratch
import stores
from scratch import MiB

from rbdstore import driver, exceptions


class TestRemains:
    """What a process killed inside a call of librbd leaves, made piece by piece."""

    @pytest.fixture
    def parts(self, pool, raw):
        return Parts(pool, raw)

    def free(self, pool, name="a"):
        """See that nothing is left of a name, and that it can be used again."""
        assert not pool.clear_debris(name)
        with pytest.raises(exceptions.ImageNotFound):
            pool.remove(name)
        assert name not in pool.list_images()
        pool.create(name, MiB)
        assert not pool.clear_debris(name)
        pool.remove(name)

    def test_whole_images_and_free_names_are_no_debris(self, pool):
        assert not pool.is_debris("a")
        with scratch.an_image(pool):
            assert not pool.is_debris("a")
            with pytest.raises(exceptions.InUse):
                pool.remove("a")

    @pytest.mark.parametrize(
        "gone",
        [
            ["header"],
            ["header", "object"],
            ["header", "directory"],
        ],
        ids="+".join,
    )
    def test_a_killed_creation(self, pool, parts, gone):
        parts.create("a")
        for part in gone:
            parts.drop(part)
        with pytest.raises(exceptions.ImageNotFound):
            pool.open("a")
        assert pool.is_debris("a")
        assert pool.id_of("a") is None
        pool.remove("a")
        self.free(pool)

    def test_an_empty_name_object(self, pool, raw):
        with raw.ioctx("volumes") as ioctx:
            ioctx.write_full("rbd_id.a", b"")
        with pytest.raises(exceptions.Duplicate):
            pool.create("a", MiB)
        assert pool.is_debris("a")
        pool.remove("a")
        self.free(pool)

    def test_a_killed_removal(self, pool, parts):
        """Marked as being removed; librbd goes on listing it by its name."""
        parts.create("a")
        parts.trash(source=3, state=2)
        parts.drop("object")
        parts.drop("directory")
        assert pool.list_images() == ["a"]
        assert pool.trash_list() == []
        assert pool.is_debris("a")
        pool.remove("a")
        self.free(pool)

    def test_a_removal_killed_late(self, pool, parts):
        parts.create("a")
        parts.trash(source=3, state=2)
        for part in ("object", "directory", "header", "map"):
            parts.drop(part)
        assert pool.is_debris("a")
        pool.remove("a")
        self.free(pool)

    def test_a_removal_killed_early(self, pool, parts):
        """Half of the name is there still: it is being removed nevertheless."""
        parts.create("a")
        parts.trash(source=3, state=1)
        parts.drop("object")
        assert pool.is_debris("a")
        pool.remove("a")
        self.free(pool)

    @pytest.mark.parametrize("again", ["trash_move", "remove", "clear_debris"])
    def test_a_killed_move_to_the_trash(self, pool, parts, again):
        """The name is half gone: whoever asks for it again finishes the move, and no data goes."""
        image_id = parts.create("a", b"data")
        parts.trash(source=0, state=1)
        parts.drop("object")
        assert pool.is_debris("a")
        assert pool.trash_get(image_id) == driver.TrashEntry(image_id, "a")
        getattr(pool, again)("a")
        self.free(pool)
        with pool.open(image_id=image_id) as image:
            assert image.read(0, 4) == b"data"
        pool.trash_remove(image_id)
        assert pool.trash_list() == []

    @pytest.mark.parametrize("gone", [["object"], ["object", "directory"]], ids="+".join)
    def test_removal_from_the_trash_finishes_the_move(self, pool, parts, gone):
        image_id = parts.create("a")
        parts.trash(source=0, state=1)
        for part in gone:
            parts.drop(part)
        pool.trash_remove(image_id)
        self.free(pool)

    def test_a_move_to_the_trash_killed_early(self, pool, parts):
        """The image has its name still, and is nobody's to purge."""
        image_id = parts.create("a", b"data")
        parts.trash(source=0, state=1)
        assert not pool.is_debris("a")
        assert pool.trash_get(image_id) is None
        with pytest.raises(exceptions.InUse, match="live"):
            pool.trash_remove(image_id)
        with pool.open("a") as image:
            assert image.read(0, 4) == b"data"
        pool.trash_move("a")
        assert pool.trash_get(image_id) is not None
        pool.trash_remove(image_id)
        self.free(pool)

    def test_a_killed_removal_from_the_trash(self, pool, parts):
        image_id = parts.create("a")
        pool.trash_move("a")
        parts.trash(source=0, state=2)
        parts.drop("header")
        parts.drop("map")
        assert pool.trash_get(image_id) is not None
        pool.trash_remove(image_id)
        assert pool.trash_get(image_id) is None

    def test_restoring_from_half_way(self, pool, parts):
        image_id = parts.create("a", b"data")
        parts.trash(source=0, state=1)
        parts.drop("object")
        pool.trash_restore(image_id, "b")
        self.free(pool)
        with pool.open("b") as image:
            assert image.read(0, 4) == b"data"
        pool.remove("b")

    @pytest.mark.parametrize("gone", [[], ["directory"], ["object", "directory"]], ids=str)
    @pytest.mark.parametrize("then", ["restore", "remove", "trash"])
    def test_a_killed_restoration(self, pool, parts, gone, then):
        image_id = parts.create("a", b"data")
        parts.trash(source=0, state=3)
        for part in gone:
            parts.drop(part)
        named = "object" not in gone
        assert not pool.is_debris("a")
        assert (pool.trash_get(image_id) is None) == named
        if then == "restore" or not named:
            if then == "restore":
                pool.trash_restore(image_id, "a")
                assert pool.list_images() == ["a"]
                with pool.open("a") as image:
                    assert image.read(0, 4) == b"data"
                pool.remove("a")
            else:
                pool.trash_remove(image_id)
        elif then == "remove":
            pool.remove("a")
        else:
            with pytest.raises(exceptions.InUse, match="live"):
                pool.trash_remove(image_id)
            pool.trash_move("a")
            pool.trash_remove(image_id)
        self.free(pool)
        assert pool.trash_get(image_id) is None

    def test_a_creation_under_way_is_not_disturbed(self, pool, parts):
        """Between its steps it looks like a killed one."""
        parts.create("a")
        timer = threading.Timer(0.2, parts.give, parts.take("header"))
        timer.start()
        assert not pool.clear_debris("a")
        timer.join()
        with pool.open("a") as image:
            assert image.id == parts.id
        pool.remove("a")

    def test_a_removal_under_way_is_not_disturbed(self, sandbox, pool, parts):
        parts.create("a")
        with stores.held_open(sandbox, "volumes", "a"):
            parts.trash(source=3, state=2)
            parts.drop("object")
            parts.drop("directory")
            with pytest.raises(exceptions.InUse, match="somebody else"):
                pool.clear_debris("a")
        assert pool.clear_debris("a")
        self.free(pool)

    @pytest.fixture(params=["before", "after"])
    def twice(self, request, parts):
        """An image under two names, the directory changed not yet, or already."""
        image_id = parts.create("a", b"data")
        live, alias = ("a", "b") if request.param == "before" else ("b", "a")
        parts.name("b")
        if request.param == "after":
            parts.list_as("b")
        return image_id, live, alias

    def test_a_killed_renaming(self, pool, twice):
        image_id, live, alias = twice
        assert pool.list_images() == [live]
        assert pool.is_debris(alias)
        assert not pool.is_debris(live)
        with pytest.raises(exceptions.Duplicate):
            pool.create(alias, MiB)
        pool.remove(alias)
        self.free(pool, alias)
        with pool.open(live) as image:
            assert (image.id, image.read(0, 4)) == (image_id, b"data")
        pool.remove(live)

    def test_renaming_again(self, pool, twice):
        image_id, _, _ = twice
        pool.rename("a", "b")
        self.free(pool, "a")
        assert pool.list_images() == ["b"]
        with pool.open("b") as image:
            assert image.id == image_id
        pool.remove("b")

    def test_an_alias_is_not_trashed(self, pool, twice):
        image_id, live, alias = twice
        pool.trash_move(alias)
        assert pool.trash_list() == []
        with pool.open(live) as image:
            assert image.id == image_id
        pool.remove(live)


class Parts:
    """Takes the pieces of an image apart as librbd puts them together."""

    def __init__(self, pool, raw):
        self.pool = pool
        self.raw = raw
        self.image = ""
        self.id = ""

    def create(self, name, data=b""):
        self.image, self.id = name, scratch.new_image(self.pool, name, data)
        return self.id

    def drop(self, part):
        if part == "directory":
            self.pool.remove_keys("rbd_directory", [f"name_{self.image}", f"id_{self.id}"])
            return
        names = {
            "header": f"rbd_header.{self.id}",
            "map": f"rbd_object_map.{self.id}",
            "object": f"rbd_id.{self.image}",
        }
        with self.raw.ioctx("volumes") as ioctx:
            ioctx.remove_object(names[part])

    def take(self, part):
        """Drop the header, and return what it held."""
        key = f"rbd_{part}.{self.id}"
        entries = self.pool.get_keys(key)
        self.drop(part)
        return key, entries

    def give(self, key, entries):
        self.pool.set_keys(key, entries)

    def name(self, name):
        with self.raw.ioctx("volumes") as ioctx:
            ioctx.write_full(f"rbd_id.{name}", encoded(self.id))

    def list_as(self, name):
        self.pool.remove_keys("rbd_directory", [f"name_{self.image}"])
        self.pool.set_keys(
            "rbd_directory",
            {f"name_{name}": encoded(self.id), f"id_{self.id}": encoded(name)},
        )

    def trash(self, source, state):
        times = struct.pack("<IIII", int(time.time()) - 60, 0, int(time.time()) - 60, 0)
        entry = bytes([source]) + encoded(self.image) + times + bytes([state])
        entry = struct.pack("<BBI", 2, 1, len(entry)) + entry
        self.pool.set_keys("rbd_trash", {f"id_{self.id}": entry})


def encoded(text):
    return struct.pack("<I", len(text)) + text.encode()
