# SPDX-License-Identifier: Apache-2.0
"""Extents: which parts of an image are there, and which changed since a snap.

A driver may name more than has changed, but not in an object that was not touched.
"""

from __future__ import annotations

from collections.abc import Iterable

from rbdstore import driver, exceptions
from rbdstore.driver import Extent, Pool
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


def extents(
    pool: Pool, name: str, *, at: int | None = None, from_snap: str | None = None
) -> list[Extent]:
    """All extents of an image, as it is or as it was at a snap.

    Applied to what it was before they must give what it is: the exact ones, and by whole objects.
    """
    with pool.open(name) as image:
        image.set_snap(at)
        size = image.size()
        exact, whole = (
            list(image.extents(0, size, from_snap=from_snap, whole_object=whole_object))
            for whole_object in (False, True)
        )
        after = image.read(0, size)
        before = b""
        if from_snap is not None:
            image.set_snap(driver.find_snap(image, from_snap).id)
            before = image.read(0, image.size())
    assert applied(before, exact, after) == after
    assert applied(before, whole, after) == after
    assert set(touched(exact)) <= set(touched(whole))
    return whole


def own(pool: Pool, name: str, *, at: int | None = None) -> set[int]:
    """The objects that an image, or a snap of it, has of its own, and not by its parent."""
    with pool.open(name) as image:
        image.set_snap(at)
        exact, whole = (
            there(image.extents(0, image.size(), include_parent=False, whole_object=whole_object))
            for whole_object in (False, True)
        )
        everything = there(image.extents(0, image.size(), whole_object=True))
    assert exact <= whole <= everything
    return whole


def applied(before: bytes, found: Iterable[Extent], after: bytes) -> bytes:
    """What a copy of ``before`` is when the changed parts of ``after`` are copied to it."""
    copy = filled(before, len(after))
    end = 0
    for extent in found:
        assert end <= extent.offset < extent.offset + extent.length <= len(after)
        end = extent.offset + extent.length
        data = after[extent.offset : end] if extent.exists else bytes(extent.length)
        copy = changed(copy, extent.offset, data)
    return copy


def touched(found: Iterable[Extent]) -> dict[int, bool]:
    """The objects that extents are in, and whether they exist."""
    return {
        number: extent.exists
        for extent in found
        for number in range(extent.offset // OBJECT, -(-(extent.offset + extent.length) // OBJECT))
    }


def there(found: Iterable[Extent]) -> set[int]:
    """The objects that have data in extents."""
    return {number for number, exists in touched(found).items() if exists}


class ExtentSuite(Suite):
    def test_what_was_written(self, pool: Pool) -> None:
        make(pool, "a")
        assert extents(pool, "a") == []
        write(pool, "a", OBJECT + 7, b"x" * 10)
        write(pool, "a", SIZE - 2, b"yy")
        assert extents(pool, "a") == [
            Extent(OBJECT, OBJECT, exists=True),
            Extent(4 * OBJECT, SIZE - 4 * OBJECT, exists=True),
        ]

    def test_what_changed_since_a_snap(self, pool: Pool) -> None:
        make_parent(pool, "a")
        assert extents(pool, "a", from_snap="s") == []
        write(pool, "a", 5, b"changed")
        write(pool, "a", 3 * OBJECT, b"new")
        with pool.open("a", read_only=False) as image:
            image.discard(OBJECT, OBJECT)
            image.flush()
        assert touched(extents(pool, "a", from_snap="s")) == {0: True, 1: False, 3: True}

    def test_what_changed_between_two_snaps(self, pool: Pool) -> None:
        first = make_parent(pool, "a")
        write(pool, "a", OBJECT, b"second")
        second = snap(pool, "a", "s2")
        write(pool, "a", 3 * OBJECT, b"later")
        assert touched(extents(pool, "a", at=first)) == {0: True, 1: True, 2: True}
        assert touched(extents(pool, "a", at=second, from_snap="s")) == {1: True}
        assert touched(extents(pool, "a", from_snap="s2")) == {3: True}
        assert set(touched(extents(pool, "a", from_snap="s"))) == {1, 3}

    def test_changes_since_what_is_not_there(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        with pool.open("a") as image:
            for whole_object in (False, True):
                with refused(exceptions.SnapshotNotFound, pool.spec("a", "nope")):
                    list(image.extents(0, SIZE, from_snap="nope", whole_object=whole_object))

    def test_a_part_of_the_image(self, pool: Pool) -> None:
        make(pool, "a", filled(DATA))
        content = read(pool, "a")
        with pool.open("a") as image:
            for start, stop in ((0, 1), (10, OBJECT + 10), (OBJECT, 2 * OBJECT), (SIZE - 9, SIZE)):
                for whole_object in (False, True):
                    found = list(image.extents(start, stop - start, whole_object=whole_object))
                    assert applied(b"", found, content)[start:stop] == content[start:stop]
                    assert all(start <= each.offset for each in found)
                    assert all(each.offset + each.length <= stop for each in found)
            assert list(image.extents(0, 0)) == []
            assert list(image.extents(SIZE, SIZE)) == []
            beyond = list(image.extents(4 * OBJECT, 9 * SIZE))
            assert max(each.offset + each.length for each in beyond) <= SIZE

    def test_the_parents_data_count(self, pool: Pool) -> None:
        make_child(pool)
        assert set(touched(extents(pool, "child"))) >= {0, 1, 2}
        write(pool, "child", OBJECT + 5, b"own")
        assert set(touched(extents(pool, "child"))) >= {0, 1, 2}

    def test_what_a_clone_has_of_its_own(self, pool: Pool) -> None:
        make_child(pool)
        assert own(pool, "child") == set()
        assert own(pool, "parent") == {0, 1, 2}
        early = snap(pool, "child", "early")
        assert own(pool, "child", at=early) == set()
        write(pool, "child", OBJECT + 5, b"own")
        write(pool, "child", 3 * OBJECT, b"where the parent has nothing")
        late = snap(pool, "child", "late")
        assert own(pool, "child", at=late) == {1, 3}
        write(pool, "child", 2 * OBJECT, b"since")
        assert own(pool, "child") == {1, 2, 3}
        # What is copied up for the image may be copied up for its snaps, too.
        assert own(pool, "child", at=early) <= {1, 2}
        assert {1, 3} <= own(pool, "child", at=late) <= {1, 2, 3}
        with pool.open("child") as image:
            both = [
                list(image.extents(0, SIZE, from_snap="late", include_parent=include_parent))
                for include_parent in (False, True)
            ]
        assert both[0] == both[1]
        assert touched(both[0]) == {2: True}

    def test_what_a_clone_of_a_clone_has_of_its_own(self, pool: Pool) -> None:
        make_child(pool)
        write(pool, "child", OBJECT, b"child's")
        snap(pool, "child", "s")
        pool.clone(pool, "child", "s", "grandchild")
        write(pool, "grandchild", 0, b"own")
        assert own(pool, "child") == {1}
        assert own(pool, "grandchild") == {0}
        with pool.open("grandchild") as image:
            seen = there(image.extents(0, SIZE, whole_object=True))
        assert seen >= {0, 1, 2}

    def test_what_a_cut_clone_has_of_its_own(self, pool: Pool) -> None:
        make_child(pool)
        write(pool, "child", 2 * OBJECT, b"cut off")
        resize(pool, "child", OBJECT)
        resize(pool, "child", SIZE)
        assert own(pool, "child") == set()
        with pool.open("child") as image:
            assert there(image.extents(0, SIZE, whole_object=True)) == {0}
        write(pool, "child", 2 * OBJECT, b"own")
        assert own(pool, "child") == {2}

    def test_what_a_flattened_clone_has_of_its_own(self, pool: Pool) -> None:
        make_child(pool)
        write(pool, "child", OBJECT, b"own")
        with pool.open("child", read_only=False) as image:
            image.flatten()
        assert own(pool, "child") == {0, 1, 2}

    def test_what_changed_in_a_clone(self, pool: Pool) -> None:
        make_child(pool)
        snap(pool, "child", "s")
        assert extents(pool, "child", from_snap="s") == []
        write(pool, "child", OBJECT + 5, b"own")
        with pool.open("child", read_only=False) as image:
            image.discard(0, OBJECT)
            image.flush()
        assert set(touched(extents(pool, "child", from_snap="s"))) == {0, 1}

    def test_what_changed_by_resizing(self, pool: Pool) -> None:
        make_parent(pool, "a")
        for size in (2 * SIZE, OBJECT, SIZE, OBJECT // 2, 2 * OBJECT, 0, SIZE):
            resize(pool, "a", size)
            extents(pool, "a", from_snap="s")
