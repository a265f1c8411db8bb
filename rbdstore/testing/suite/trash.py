# SPDX-License-Identifier: Apache-2.0
"""The trash: images without a name."""

from __future__ import annotations

import time

from rbdstore import driver, exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import (
    DATA,
    SIZE,
    Suite,
    filled,
    in_use,
    make,
    make_parent,
    read,
    refused,
)


class TrashSuite(Suite):
    def test_move(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        assert pool.trash_get(image_id) is None
        pool.trash_move("a")
        assert pool.list_images() == []
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.open("a")
        assert pool.trash_list() == [driver.TrashEntry(image_id, "a")]
        assert pool.trash_get(image_id) == driver.TrashEntry(image_id, "a")

    def test_what_is_not_there_cannot_be_moved(self, pool: Pool) -> None:
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.trash_move("a")
        assert pool.trash_get("1234567890") is None
        assert pool.trash_list() == []

    def test_it_is_opened_by_its_id(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        pool.trash_move("a")
        with pool.open(image_id=image_id, read_only=False) as image:
            assert (image.name, image.id) == ("a", image_id)
            image.write(0, b"x")
            image.flush()
            assert image.read(0, 9) == b"x" + DATA[1:9]

    def test_the_name_can_be_used_again(self, pool: Pool) -> None:
        first = make(pool, "a", b"first")
        pool.trash_move("a")
        second = make(pool, "a", b"second")
        assert second != first
        assert read(pool, "a") == filled(b"second")
        with pool.open(image_id=first) as image:
            assert image.read(0, 5) == b"first"
        pool.trash_move("a")
        assert {(each.image_id, each.name) for each in pool.trash_list()} == {
            (first, "a"),
            (second, "a"),
        }

    def test_its_snaps_and_handles_stay(self, pool: Pool) -> None:
        snap_id = make_parent(pool, "a")
        with pool.open("a", read_only=False) as image:
            pool.trash_move("a")
            image.write(0, b"still")
            image.flush()
            image.set_metadata("key", "value")
            assert [each.id for each in image.snaps()] == [snap_id]
        with pool.open(image_id=image.id) as image:
            assert image.read(0, 5) == b"still"
            assert image.metadata() == {"key": "value"}
            image.set_snap(snap_id)
            assert image.read(0, SIZE) == filled(DATA)

    def test_restore(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        pool.trash_move("a")
        pool.trash_restore(image_id, "b")
        assert pool.trash_list() == []
        assert pool.trash_get(image_id) is None
        assert pool.list_images() == ["b"]
        with pool.open("b") as image:
            assert (image.name, image.id) == ("b", image_id)
        assert read(pool, "b") == filled(DATA)

    def test_restore_to_a_name_that_is_taken(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        pool.trash_move("a")
        make(pool, "a", b"second")
        with refused(exceptions.Duplicate, pool.spec("a")):
            pool.trash_restore(image_id, "a")
        assert read(pool, "a") == filled(b"second")
        assert pool.trash_get(image_id) is not None

    def test_remove_from_the_trash(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        pool.trash_move("a")
        make(pool, "a")
        calls: list[tuple[int, int]] = []
        pool.trash_remove(image_id, progress=lambda done, total: calls.append((done, total)))
        assert all(0 <= done <= total for done, total in calls)
        assert pool.trash_list() == []
        with refused(exceptions.ImageNotFound):
            pool.open(image_id=image_id)
        assert pool.list_images() == ["a"]

    def test_what_is_not_in_the_trash_stays(self, pool: Pool) -> None:
        live = make(pool, "a", DATA)
        for image_id in (live, "1234567890"):
            with refused(exceptions.ImageNotFound) as caught:
                pool.trash_remove(image_id)
            assert caught.value.spec is not None
            with refused(exceptions.ImageNotFound) as caught:
                pool.trash_restore(image_id, "b")
            assert caught.value.spec is not None
        assert pool.list_images() == ["a"]
        assert read(pool, "a") == filled(DATA)

    def test_what_has_snaps_stays(self, pool: Pool) -> None:
        make_parent(pool, "a")
        pool.trash_move("a")
        (entry,) = pool.trash_list()
        with refused(exceptions.InUse) as caught:
            pool.trash_remove(entry.image_id)
        assert in_use(caught).snapshots == ("s",)
        assert pool.trash_list() == [entry]

    def test_what_is_open_for_writing_stays(self, pool: Pool) -> None:
        image_id = make(pool, "a")
        with pool.open("a", read_only=False) as image:
            pool.trash_move("a")
            with refused(exceptions.InUse) as caught:
                pool.trash_remove(image_id)
            assert in_use(caught).watchers == tuple(image.watchers())
        assert pool.trash_get(image_id) is not None
        pool.trash_remove(image_id)

    def test_what_is_in_it_is_not_opened_as_live(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        for how in ({"name": "a"}, {"image_id": image_id}):
            with pool.open_live(**how) as image:
                image.write(0, b"x")
                image.flush()
        pool.trash_move("a")
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.open_live(image_id=image_id)
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.open_live("a")
        # It was not left open.
        pool.trash_remove(image_id)

    def test_it_is_kept_for_a_time(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        earliest = time.time() + 3600
        pool.trash_move("a", delay=3600)
        with refused(exceptions.InUse) as caught:
            pool.trash_remove(image_id)
        assert caught.value.spec is not None
        for entry in (pool.trash_get(image_id), *pool.trash_list()):
            assert entry is not None
            # A list may leave out the fraction of a second.
            assert earliest - 1 <= entry.kept_until <= time.time() + 3600
        pool.trash_restore(image_id, "a")
        assert read(pool, "a") == filled(DATA)

    def test_the_time_ends(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        began = time.monotonic()
        pool.trash_move("a", delay=1)
        while pool.trash_list():
            assert time.monotonic() < began + 60
            try:
                pool.trash_remove(image_id)
            except exceptions.InUse:
                time.sleep(0.05)
