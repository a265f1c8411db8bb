# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of the trash."""

import time

import pytest
import scratch
from scratch import MiB

from rbdstore import driver, exceptions


class TestTrash:
    def test_move_and_remove(self, either_pool):
        pool = either_pool
        image_id = scratch.new_image(pool, "a")
        with pool.open("a", read_only=False) as image:
            assert pool.trash_get(image_id) is None
            pool.trash_move("a")
            image.write(0, b"still")
        assert pool.list_images() == []
        with pytest.raises(exceptions.ImageNotFound):
            pool.open("a")
        entry = driver.TrashEntry(image_id, "a")
        assert pool.trash_list() == [entry]
        assert pool.trash_get(image_id) == entry
        assert pool.trash_get("1234567890") is None
        with pool.open(image_id=image_id) as image:
            assert (image.name, image.read(0, 5)) == ("a", b"still")
        pool.create("a", MiB)
        pool.trash_remove(image_id)
        assert pool.list_images() == ["a"]
        pool.remove("a")
        with pytest.raises(exceptions.ImageNotFound):
            pool.trash_remove(image_id)
        with pytest.raises(exceptions.ImageNotFound):
            pool.trash_move("a")

    def test_restore(self, either_pool):
        pool = either_pool
        image_id = scratch.new_image(pool, "a", b"data")
        pool.trash_move("a")
        pool.create("b", MiB)
        with pytest.raises(exceptions.Duplicate) as caught:
            pool.trash_restore(image_id, "b")
        assert caught.value.spec == pool.spec("b")
        pool.trash_restore(image_id, "c")
        assert pool.trash_list() == []
        assert sorted(pool.list_images()) == ["b", "c"]
        with pool.open("c") as image:
            assert (image.id, image.read(0, 4)) == (image_id, b"data")
        with pytest.raises(exceptions.ImageNotFound):
            pool.trash_restore("1234567890", "d")
        pool.remove("b")
        pool.remove("c")

    def test_what_holds_it(self, pool):
        image_id = scratch.new_image(pool, "a")
        with pool.open("a", read_only=False) as image:
            snap_id = scratch.new_snap(image, "s")
            pool.trash_move("a")
            with pytest.raises(exceptions.InUse) as caught:
                pool.trash_remove(image_id)
            assert caught.value.snapshots == ("s",)
            assert len(caught.value.watchers) == 1
            image.remove_snap(snap_id)
            with pytest.raises(exceptions.InUse):
                pool.trash_remove(image_id)
        pool.trash_remove(image_id)

    def test_delay(self, pool):
        image_id = scratch.new_image(pool, "a")
        pool.trash_move("a", delay=2)
        with pytest.raises(exceptions.InUse, match="not over"):
            pool.trash_remove(image_id)
        assert pool.trash_get(image_id) is not None
        time.sleep(3)
        pool.trash_remove(image_id)
