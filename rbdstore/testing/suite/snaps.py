# SPDX-License-Identifier: Apache-2.0
"""Snaps: made, looked at, renamed, protected, removed, rolled back to."""

from __future__ import annotations

from rbdstore import driver, exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import (
    DATA,
    OBJECT,
    SIZE,
    Suite,
    changed,
    filled,
    make,
    make_child,
    make_parent,
    read,
    refused,
    resize,
    snap,
    write,
)


class SnapSuite(Suite):
    def test_snaps_are_listed_oldest_first(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.create_snap("z")
            image.resize(2 * SIZE)
            image.create_snap("a")
            first, second = image.snaps()
            assert first == driver.Snap(first.id, "z", SIZE, protected=False, trashed=False)
            assert second == driver.Snap(second.id, "a", 2 * SIZE)
            assert first.id != second.id
            assert driver.find_snap(image, "a") == second
            with refused(exceptions.SnapshotNotFound, pool.spec("a", "nope")):
                driver.find_snap(image, "nope")

    def test_a_snaps_name_that_is_taken(self, pool: Pool) -> None:
        snap_id = make_parent(pool, "a")
        with pool.open("a", read_only=False) as image:
            with refused(exceptions.Duplicate, pool.spec("a", "s")):
                image.create_snap("s")
            assert [each.id for each in image.snaps()] == [snap_id]
            image.create_snap("t")
            with refused(exceptions.Duplicate):
                image.rename_snap("t", "s")
            assert [each.name for each in image.snaps()] == ["s", "t"]

    def test_two_images_may_have_snaps_of_one_name(self, pool: Pool) -> None:
        make_parent(pool, "a")
        make_parent(pool, "b", b"b")
        with pool.open("a") as image:
            assert len(image.snaps()) == 1

    def test_an_id_of_a_snap_is_never_used_again(self, pool: Pool) -> None:
        make(pool, "a")
        ids = []
        for _ in range(2):
            ids.append(snap(pool, "a", "s"))
            with pool.open("a", read_only=False) as image:
                image.unprotect_snap("s")
                image.remove_snap(ids[-1])
        assert ids[0] != ids[1]

    def test_a_snap_that_was_reserved_is_as_any_other(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        reserved = pool.reserve_snap().result()
        with pool.open("a", read_only=False) as image:
            # For the second one it is used up.
            for name, data in (("s", b"first"), ("t", b"second")):
                image.write(0, data)
                image.create_reserved_snap(name, reserved)
                with refused(exceptions.Duplicate, pool.spec("a", name)):
                    image.create_reserved_snap(name, pool.reserve_snap().result())
                image.write(OBJECT, data)
                image.flush()
                for whole_object in (False, True):
                    found = image.extents(0, SIZE, from_snap=name, whole_object=whole_object)
                    (extent,) = found
                    assert extent.offset // OBJECT == 1
            first, second = image.snaps()
            assert (first.name, second.name) == ("s", "t")
        assert read(pool, "a", first.id)[:6] == b"first" + DATA[5:6]
        assert read(pool, "a", first.id)[OBJECT:] == filled(DATA)[OBJECT:]
        assert read(pool, "a", second.id)[OBJECT:][:5] == b"first"
        assert read(pool, "a")[OBJECT:][:6] == read(pool, "a")[:6] == b"second"

    def test_a_snap_stays_what_it_was(self, pool: Pool) -> None:
        snap_id = make_parent(pool, "a")
        write(pool, "a", 5, b"changed")
        with pool.open("a", read_only=False) as image:
            image.discard(OBJECT, OBJECT)
            image.resize(10, allow_shrink=True)
            image.resize(2 * SIZE)
        assert read(pool, "a", snap_id) == filled(DATA)
        assert read(pool, "a") == filled(DATA[:5] + b"chang", 2 * SIZE)

    def test_set_snap(self, pool: Pool) -> None:
        first = make_parent(pool, "a")
        write(pool, "a", 0, b"second")
        resize(pool, "a", 2 * SIZE)
        second = snap(pool, "a", "s2")
        write(pool, "a", 0, b"latest")
        with pool.open("a") as image:
            for snap_id, size, content in (
                (None, 2 * SIZE, b"latest"),
                (first, SIZE, DATA[:6]),
                (second, 2 * SIZE, b"second"),
                (None, 2 * SIZE, b"latest"),
            ):
                image.set_snap(snap_id)
                assert (image.size(), image.read(0, 6)) == (size, content)
                assert image.read(SIZE - 1, 100) == bytes(min(100, size - SIZE + 1))
                assert [each.id for each in image.snaps()] == [first, second]

    def test_set_snap_to_what_is_not_there(self, pool: Pool) -> None:
        make_parent(pool, "a")
        with pool.open("a") as image:
            with refused(exceptions.SnapshotNotFound, pool.spec("a")):
                image.set_snap(1 << 40)
            assert image.read(0, SIZE) == filled(DATA)

    def test_whether_a_snap_is_still_there(self, pool: Pool) -> None:
        """Also by a handle that was opened before."""
        make(pool, "a")
        with pool.open("a", read_only=False) as writer, pool.open("a") as before:
            writer.create_snap("s")
            writer.create_snap("t")
            first, second = (each.id for each in writer.snaps())
            with pool.open("a") as reader:
                reader.set_snap(first)
                for image in (writer, before, reader):
                    assert [image.still_has(each) for each in (first, second)] == [True, True]
                    assert not image.still_has(second + 1000)
                writer.remove_snap(first)
                for image in (writer, before, reader):
                    assert [image.still_has(each) for each in (first, second)] == [False, True]
            writer.remove_snap(second)
        with pool.open("a") as reader:
            pool.remove("a")
            with refused(exceptions.ImageNotFound):
                reader.still_has(second)

    def test_rename_snap(self, pool: Pool) -> None:
        snap_id = make_parent(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.rename_snap("s", "t")
            assert [(each.id, each.name) for each in image.snaps()] == [(snap_id, "t")]
            with refused(exceptions.SnapshotNotFound, pool.spec("a", "s")):
                image.rename_snap("s", "u")
        assert read(pool, "a", snap_id) == filled(DATA)

    def test_remove_snap(self, pool: Pool) -> None:
        make_parent(pool, "a")
        write(pool, "a", 0, b"later")
        second = snap(pool, "a", "s2")
        with pool.open("a", read_only=False) as image:
            first = driver.find_snap(image, "s").id
            image.unprotect_snap("s")
            image.remove_snap(first)
            assert [each.name for each in image.snaps()] == ["s2"]
            with refused(exceptions.SnapshotNotFound, pool.spec("a")):
                image.remove_snap(first)
        assert read(pool, "a", second) == changed(filled(DATA), 0, b"later")
        assert read(pool, "a") == changed(filled(DATA), 0, b"later")

    def test_a_protected_snap_stays(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.create_snap("s")
            image.protect_snap("s")
            image.protect_snap("s")
            (found,) = image.snaps()
            assert found.protected
            with refused(exceptions.InUse, pool.spec("a", "s")) as caught:
                image.remove_snap(found.id)
            assert "protected" in str(caught.value)
            assert image.snaps() == [found]
            image.unprotect_snap("s")
            image.unprotect_snap("s")
            assert not image.snaps()[0].protected
            image.remove_snap(found.id)
            assert image.snaps() == []

    def test_protect_what_is_not_there(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            with refused(exceptions.SnapshotNotFound, pool.spec("a", "nope")):
                image.protect_snap("nope")
            with refused(exceptions.SnapshotNotFound, pool.spec("a", "nope")):
                image.unprotect_snap("nope")

    # Rolled back

    def test_rollback(self, pool: Pool) -> None:
        make_parent(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.set_metadata("key", "value")
            image.write(OBJECT - 3, b"changed")
            image.write(3 * OBJECT, b"new")
            image.discard(0, 100)
            image.resize(2 * SIZE)
            image.create_snap("later")
            image.set_metadata("key", "later")
            calls: list[tuple[int, int]] = []
            image.rollback("s", progress=lambda done, total: calls.append((done, total)))
            assert calls
            assert all(0 <= done <= total for done, total in calls)
            assert image.size() == SIZE
            assert image.read(0, SIZE) == filled(DATA)
            assert [each.name for each in image.snaps()] == ["s", "later"]
            later = driver.find_snap(image, "later")
            assert later.size == 2 * SIZE
            # The metadata are the image's, not the snap's.
            assert image.metadata() == {"key": "later"}
            image.rollback("s")
        assert read(pool, "a") == filled(DATA)
        assert read(pool, "a", later.id)[OBJECT - 3 : OBJECT + 4] == b"changed"
        with pool.open("a", read_only=False) as image:
            image.rollback("later")
        assert read(pool, "a") == read(pool, "a", later.id)

    def test_rollback_makes_it_longer_again(self, pool: Pool) -> None:
        make_parent(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.resize(10, allow_shrink=True)
            image.rollback("s")
            assert image.size() == SIZE
        assert read(pool, "a") == filled(DATA)

    def test_rollback_to_what_is_not_there(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        with (
            pool.open("a", read_only=False) as image,
            refused(exceptions.SnapshotNotFound, pool.spec("a", "nope")),
        ):
            image.rollback("nope")
        assert read(pool, "a") == filled(DATA)

    def test_rollback_of_a_clone(self, pool: Pool) -> None:
        make_child(pool)
        write(pool, "child", OBJECT, b"own")
        snap_id = snap(pool, "child", "s")
        with pool.open("child", read_only=False) as image:
            image.write(0, b"later")
            image.resize(10, allow_shrink=True)
            image.rollback("s")
        assert read(pool, "child") == changed(filled(DATA), OBJECT, b"own")
        assert read(pool, "child", snap_id) == read(pool, "child")

    def test_rollback_after_flatten(self, pool: Pool) -> None:
        make_child(pool)
        write(pool, "child", OBJECT, b"own")
        snap(pool, "child", "s")
        with pool.open("child", read_only=False) as image:
            image.write(0, b"later")
            image.flatten()
            image.rollback("s")
        assert read(pool, "child") == changed(filled(DATA), OBJECT, b"own")
