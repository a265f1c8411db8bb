# SPDX-License-Identifier: Apache-2.0
"""Images of a pool: made, opened, renamed, removed by their names; the pool's figures."""

from __future__ import annotations

from collections.abc import Callable

from rbdstore import exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import (
    DATA,
    OBJECT,
    ORDER,
    SIZE,
    Suite,
    filled,
    in_use,
    make,
    make_child,
    make_parent,
    read,
    refused,
    snap,
)


class PoolSuite(Suite):
    # Made

    def test_a_new_image_is_zeros(self, pool: Pool) -> None:
        sizes = (0, 1, OBJECT, 3 * OBJECT, 3 * OBJECT + 17)
        for size in sizes:
            pool.create(f"a{size}", size, order=ORDER)
            with pool.open(f"a{size}") as image:
                assert image.size() == size
                assert image.read(0, size + 1) == bytes(size)
                assert image.snaps() == []
                assert image.metadata() == {}
                assert image.parent() is None
        assert sorted(pool.list_images()) == sorted(f"a{size}" for size in sizes)

    def test_the_size_of_objects(self, pool: Pool) -> None:
        for order in (12, ORDER, 22):
            pool.create(f"a{order}", SIZE, order=order)
            with pool.open(f"a{order}") as image:
                assert image.object_size == 1 << order
        pool.create("default", SIZE)
        with pool.open("default") as image:
            assert image.object_size.bit_count() == 1

    def test_features(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a") as image:
            assert isinstance(image.features(), frozenset)
            assert all(isinstance(feature, str) for feature in image.features())

    def test_a_name_that_is_taken(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        with refused(exceptions.Duplicate, pool.spec("a")):
            pool.create("a", 1)
        assert read(pool, "a") == filled(DATA)
        with pool.open("a") as image:
            assert image.id == image_id

    def test_an_id_is_never_used_again(self, pool: Pool) -> None:
        ids = []
        for _ in range(3):
            ids.append(make(pool, "a"))
            pool.remove("a")
        assert len(set(ids)) == 3

    # Opened

    def test_open_by_name_and_by_id(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        for image in (pool.open("a"), pool.open(image_id=image_id)):
            with image:
                assert (image.name, image.id, image.pool) == ("a", image_id, pool)
                assert image.spec == pool.spec("a")
                assert image.read(0, len(DATA)) == DATA

    def test_what_is_not_there_cannot_be_opened(self, pool: Pool) -> None:
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.open("a")
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.open("a", read_only=False)
        with refused(exceptions.ImageNotFound) as caught:
            pool.open(image_id="1234567890")
        assert caught.value.spec is not None

    def test_names_and_ids_are_looked_up(self, pool: Pool, pool2: Pool) -> None:
        image_id = make(pool, "a")
        assert pool.id_of("a") == image_id
        assert pool.id_of("b") is None
        assert pool2.id_of("a") is None
        assert pool.has_image(image_id)
        assert not pool.has_image("1234567890")
        pool.rename("a", "b")
        assert (pool.id_of("a"), pool.id_of("b")) == (None, image_id)
        assert not pool.has_snaps(image_id)
        snap_id = snap(pool, "b", "s")
        pool.trash_move("b")
        assert pool.id_of("b") is None
        assert pool.has_image(image_id)
        assert pool.has_snaps(image_id)
        with pool.open(image_id=image_id, read_only=False) as image:
            image.remove_snap(snap_id)
        assert not pool.has_snaps(image_id)
        pool.trash_remove(image_id)
        assert not pool.has_image(image_id)
        assert not pool.has_snaps(image_id)

    def test_it_is_opened_by_one_of_the_two(self, pool: Pool) -> None:
        image_id = make(pool, "a")
        with refused(exceptions.InvalidInput):
            pool.open()
        with refused(exceptions.InvalidInput):
            pool.open("a", image_id=image_id)

    def test_it_is_opened_read_only(self, pool: Pool) -> None:
        make_child(pool)
        with pool.open("child", read_only=False) as image:
            assert not image.read_only
            image.create_snap("s")
            image.create_snap("p")
            image.protect_snap("p")
            before = image.snaps()
        with pool.open("child") as image:
            assert image.read_only
            changes: tuple[Callable[[], None], ...] = (
                lambda: image.write(0, b"x"),
                lambda: image.discard(0, OBJECT),
                lambda: image.resize(2 * SIZE),
                lambda: image.flatten(),
                lambda: image.rollback("s"),
                lambda: image.create_snap("new"),
                lambda: image.rename_snap("s", "new"),
                lambda: image.remove_snap(before[0].id),
                lambda: image.protect_snap("s"),
                lambda: image.unprotect_snap("p"),
                lambda: image.set_metadata("key", "value"),
            )
            for change in changes:
                with refused(exceptions.ReadOnly) as caught:
                    change()
                assert caught.value.spec is not None
                assert caught.value.spec.image == "child"
        with pool.open("child") as image:
            assert image.snaps() == before
            assert image.metadata() == {}
            assert image.parent() is not None
            assert image.size() == SIZE
        assert read(pool, "child") == filled(DATA)

    def test_a_closed_handle_is_of_no_use(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a") as image:
            assert image.size() == SIZE
        image.close()
        with refused(exceptions.ClusterError, pool.spec("a")):
            image.size()
        with refused(exceptions.ClusterError, pool.spec("a")):
            image.read(0, 1)

    def test_many_handles(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        handles = [pool.open("a") for _ in range(50)]
        for image in handles:
            assert image.read(OBJECT, 9) == DATA[OBJECT : OBJECT + 9]
        for image in handles:
            image.close()

    # Renamed

    def test_rename(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        snap(pool, "a", "s")
        pool.rename("a", "b")
        assert pool.list_images() == ["b"]
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.open("a")
        with pool.open("b") as image:
            assert (image.name, image.id) == ("b", image_id)
            assert [each.name for each in image.snaps()] == ["s"]
        assert read(pool, "b") == filled(DATA)
        make(pool, "a")

    def test_rename_to_a_name_that_is_taken(self, pool: Pool) -> None:
        make(pool, "a", b"a")
        make(pool, "b", b"b")
        with refused(exceptions.Duplicate, pool.spec("b")):
            pool.rename("a", "b")
        assert read(pool, "a") == filled(b"a")
        assert read(pool, "b") == filled(b"b")

    def test_rename_what_is_not_there(self, pool: Pool) -> None:
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.rename("a", "b")
        assert pool.list_images() == []

    def test_rename_under_an_open_handle(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            pool.rename("a", "b")
            image.write(0, b"still")
            image.flush()
        assert read(pool, "b") == filled(b"still")

    # Removed

    def test_remove(self, pool: Pool) -> None:
        image_id = make(pool, "a", DATA)
        calls: list[tuple[int, int]] = []
        pool.remove("a", progress=lambda done, total: calls.append((done, total)))
        assert all(0 <= done <= total for done, total in calls)
        assert pool.list_images() == []
        assert pool.trash_list() == []
        with refused(exceptions.ImageNotFound, pool.spec("a")):
            pool.remove("a")
        with refused(exceptions.ImageNotFound):
            pool.open(image_id=image_id)
        make(pool, "a")
        assert read(pool, "a") == bytes(SIZE)

    def test_remove_what_has_snaps(self, pool: Pool) -> None:
        make_parent(pool, "a")
        snap(pool, "a", "s2")
        with refused(exceptions.InUse, pool.spec("a")) as caught:
            pool.remove("a")
        assert set(in_use(caught).snapshots) == {"s", "s2"}
        assert "s2" in str(caught.value)
        assert read(pool, "a") == filled(DATA)

    def test_remove_what_is_open_for_writing(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            for each in (pool, elsewhere):
                with refused(exceptions.InUse, pool.spec("a")) as caught:
                    each.remove("a")
                assert in_use(caught).watchers == tuple(image.watchers())
            image.write(0, b"still")
        assert read(pool, "a") == filled(b"still")

    def test_a_reader_keeps_nobody_from_removing(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a"):
            pool.remove("a")
        assert pool.list_images() == []

    def test_no_debris(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        with pool.open("a", read_only=False):
            assert pool.clear_debris("a") is False
        assert pool.clear_debris("nope") is False
        assert pool.list_images() == ["a"]
        assert read(pool, "a") == filled(DATA)

    # Figures

    def test_stats(self, pool: Pool) -> None:
        before = pool.stats()
        assert (before.provisioned, before.images, before.snapshots) == (0, 0, 0)
        assert before.total >= before.free > 0
        assert before.used >= 0
        make_parent(pool, "a")
        pool.create("b", 10 * SIZE)
        after = pool.stats()
        assert (after.provisioned, after.images, after.snapshots) == (11 * SIZE, 2, 1)
        assert 0 < after.free <= after.total

    def test_stats_leave_the_trash_out(self, pool: Pool, pool2: Pool) -> None:
        make_child(pool)
        make(pool2, "b")
        pool.trash_move("parent")
        found = pool.stats()
        assert (found.provisioned, found.images) == (SIZE, 1)

    # For others

    def test_how_qemu_opens_an_image(self, pool: Pool) -> None:
        if type(pool).blockdev is Pool.blockdev:
            with refused(exceptions.NotSupported):
                pool.blockdev("a")
            return
        options = pool.blockdev("a")
        assert options["driver"]
        assert all(isinstance(text, str) for pair in options.items() for text in pair)
        assert not {"key", "secret", "password"} & {key.split("-")[0] for key in options}
        assert options != pool.blockdev("b")
