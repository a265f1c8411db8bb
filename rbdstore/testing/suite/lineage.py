# SPDX-License-Identifier: Apache-2.0
"""Clones: what they share with their parents, and what they know of each other."""

from __future__ import annotations

import pytest

from rbdstore import driver, exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import (
    DATA,
    OBJECT,
    SIZE,
    Suite,
    changed,
    filled,
    in_use,
    make,
    make_child,
    make_parent,
    read,
    refused,
    resize,
    snap,
    write,
)


def parent(pool: Pool, name: str) -> driver.Parent | None:
    with pool.open(name) as image:
        return image.parent()


def image_id(pool: Pool, name: str) -> str:
    with pool.open(name) as image:
        return image.id


def children(pool: Pool, name: str, snap_id: int) -> set[driver.Child]:
    with pool.open(name) as image:
        found = image.children(snap_id)
        assert image.has_children(snap_id) == bool(found)
    assert len(set(found)) == len(found)
    return set(found)


class LineageSuite(Suite):
    # The link

    def test_whole_links_are_not_torn(self, pool: Pool) -> None:
        make_child(pool)
        child_id = image_id(pool, "child")
        assert pool.torn() == []
        with pytest.raises(exceptions.ImageNotFound):
            pool.let_go(child_id)
        assert parent(pool, "child") is not None
        pool.trash_move("child")
        assert pool.torn() == []
        assert pool.torn({child_id}) == []

    # The data

    def test_a_clone_is_what_the_snap_was(self, pool: Pool) -> None:
        make_parent(pool)
        write(pool, "parent", 0, b"after the snap")
        resize(pool, "parent", 2 * SIZE)
        pool.clone(pool, "parent", "s", "child")
        assert sorted(pool.list_images()) == ["child", "parent"]
        assert image_id(pool, "child") != image_id(pool, "parent")
        assert read(pool, "child") == filled(DATA)

    def test_parent_and_children_do_not_see_each_others_writes(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        pool.clone(pool, "parent", "s", "sibling")
        write(pool, "child", OBJECT - 3, b"child's")
        write(pool, "parent", OBJECT - 3, b"parent's")
        assert read(pool, "child") == changed(filled(DATA), OBJECT - 3, b"child's")
        assert read(pool, "parent") == changed(filled(DATA), OBJECT - 3, b"parent's")
        assert read(pool, "sibling") == filled(DATA)
        assert read(pool, "parent", snap_id) == filled(DATA)

    def test_a_clone_of_a_clone(self, pool: Pool) -> None:
        make_child(pool)
        write(pool, "child", OBJECT, b"child's")
        snap(pool, "child", "s")
        write(pool, "child", OBJECT, b"after it")
        pool.clone(pool, "child", "s", "grandchild")
        write(pool, "grandchild", 5, b"own")
        expected = changed(changed(filled(DATA), OBJECT, b"child's"), 5, b"own")
        assert read(pool, "grandchild") == expected
        found = parent(pool, "grandchild")
        assert found is not None
        assert found.spec == pool.spec("child", "s")

    def test_a_clone_of_a_clone_that_was_cut(self, pool: Pool) -> None:
        make_child(pool)
        resize(pool, "child", OBJECT + 10)
        resize(pool, "child", SIZE)
        snap(pool, "child", "s")
        pool.clone(pool, "child", "s", "grandchild")
        assert read(pool, "grandchild") == filled(DATA[: OBJECT + 10])

    def test_a_clone_in_another_pool(self, pool: Pool, pool2: Pool) -> None:
        snap_id = make_parent(pool)
        pool2.clone(pool, "parent", "s", "child")
        assert (pool.list_images(), pool2.list_images()) == (["parent"], ["child"])
        assert read(pool2, "child") == filled(DATA)
        found = parent(pool2, "child")
        assert found is not None
        assert found.spec == pool.spec("parent", "s")
        child = driver.Child(pool2.name, "", "child", image_id(pool2, "child"))
        assert children(pool, "parent", snap_id) == {child}
        assert child.spec == pool2.spec("child")

    def test_the_metadata_are_copied(self, pool: Pool) -> None:
        make(pool, "parent")
        with pool.open("parent", read_only=False) as image:
            image.set_metadata("a", "parent's")
            image.set_metadata("b", "parent's")
        snap(pool, "parent", "s")
        pool.clone(pool, "parent", "s", "child")
        with pool.open("parent", read_only=False) as image:
            image.set_metadata("b", "later")
        with pool.open("child", read_only=False) as image:
            assert image.metadata() == {"a": "parent's", "b": "parent's"}
            image.set_metadata("a", "child's")
        with pool.open("parent") as image:
            assert image.metadata() == {"a": "parent's", "b": "later"}

    # What cannot be cloned

    def test_a_clones_name_that_is_taken(self, pool: Pool) -> None:
        make_parent(pool)
        make(pool, "child", b"taken")
        with refused(exceptions.Duplicate, pool.spec("child")):
            pool.clone(pool, "parent", "s", "child")
        assert read(pool, "child") == filled(b"taken")
        assert parent(pool, "child") is None

    def test_what_is_not_there_cannot_be_cloned(self, pool: Pool) -> None:
        make(pool, "parent")
        with refused(exceptions.SnapshotNotFound, pool.spec("parent", "s")):
            pool.clone(pool, "parent", "s", "child")
        with refused(exceptions.SnapshotNotFound, pool.spec("nope", "s")):
            pool.clone(pool, "nope", "s", "child")
        assert pool.list_images() == ["parent"]

    def test_protection_and_clones(self, pool: Pool) -> None:
        make(pool, "parent", DATA)
        with pool.open("parent", read_only=False) as image:
            image.create_snap("s")
            if pool.cluster.clone_format == 1:
                with refused(exceptions.NotCloneable, pool.spec("parent", "s")):
                    pool.clone(pool, "parent", "s", "child")
                assert pool.list_images() == ["parent"]
            image.protect_snap("s")
            pool.clone(pool, "parent", "s", "child")
            if pool.cluster.clone_format == 1:
                with refused(exceptions.InUse, pool.spec("parent", "s")) as caught:
                    image.unprotect_snap("s")
                assert in_use(caught).children == (pool.spec("child"),)
            else:
                image.unprotect_snap("s")
                assert not image.snaps()[0].protected
        assert read(pool, "child") == filled(DATA)

    def test_a_snap_of_no_size(self, pool: Pool) -> None:
        make(pool, "parent", size=0)
        snap(pool, "parent", "s")
        with refused(exceptions.NotCloneable, pool.spec("parent", "s")):
            pool.clone(pool, "parent", "s", "child")
        assert pool.list_images() == ["parent"]

    # Who is whose

    def test_parent_and_child_know_each_other(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        assert parent(pool, "parent") is None
        assert parent(pool, "child") == driver.Parent(
            pool.name, "", "parent", image_id(pool, "parent"), "s"
        )
        child = driver.Child(pool.name, "", "child", image_id(pool, "child"), trashed=False)
        assert children(pool, "parent", snap_id) == {child}
        pool.remove("child")
        assert children(pool, "parent", snap_id) == set()

    def test_each_snap_has_its_own_children(self, pool: Pool) -> None:
        first = make_child(pool)
        second = snap(pool, "parent", "s2")
        pool.clone(pool, "parent", "s2", "child2")
        pool.clone(pool, "parent", "s2", "child3")
        assert {child.image for child in children(pool, "parent", first)} == {"child"}
        assert {child.image for child in children(pool, "parent", second)} == {"child2", "child3"}
        with pool.open("parent") as image:
            image.set_snap(second)
            # Whatever the handle looks at, and that stays what it was.
            assert [child.image for child in image.children(first)] == ["child"]
            write(pool, "parent", 0, b"later")
            assert image.read(0, 5) == DATA[:5]
            with refused(exceptions.SnapshotNotFound):
                image.children(1 << 40)
        with pool.open("parent", read_only=False) as image:
            assert len(image.children(second)) == 2
            assert image.read(0, 5) == b"later"

    def test_they_know_each_others_new_names(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        pool.rename("parent", "parent2")
        pool.rename("child", "child2")
        with pool.open("parent2", read_only=False) as image:
            image.rename_snap("s", "s2")
        found = parent(pool, "child2")
        assert found is not None
        assert found.spec == pool.spec("parent2", "s2")
        assert {child.image for child in children(pool, "parent2", snap_id)} == {"child2"}
        assert read(pool, "child2") == filled(DATA)

    def test_the_parent_of_a_snap(self, pool: Pool) -> None:
        make_child(pool)
        snap_id = snap(pool, "child", "s")
        with pool.open("child") as image:
            image.set_snap(snap_id)
            found = image.parent()
        assert found is not None
        assert found.spec == pool.spec("parent", "s")

    def test_a_parent_in_the_trash(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        parent_id = image_id(pool, "parent")
        pool.trash_move("parent")
        assert read(pool, "child") == filled(DATA)
        assert parent(pool, "child") == driver.Parent(pool.name, "", "parent", parent_id, "s")
        with pool.open(image_id=parent_id) as image:
            assert [child.image for child in image.children(snap_id)] == ["child"]
        # Its name is somebody else's now.
        make(pool, "parent", b"another")
        found = parent(pool, "child")
        assert found is not None
        assert found.image_id == parent_id
        assert read(pool, "child") == filled(DATA)

    def test_a_child_in_the_trash(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        child_id = image_id(pool, "child")
        pool.trash_move("child")
        trashed = driver.Child(pool.name, "", "child", child_id, trashed=True)
        assert children(pool, "parent", snap_id) == {trashed}
        with pool.open(image_id=child_id) as image:
            assert image.read(0, SIZE) == filled(DATA)
        with pool.open("parent", read_only=False) as image:
            with refused(exceptions.InUse) as caught:
                image.remove_snap(snap_id)
            assert in_use(caught).children == (pool.spec("child"),)
        pool.trash_remove(child_id)
        assert children(pool, "parent", snap_id) == set()

    def test_a_snap_with_children_stays(self, pool: Pool, pool2: Pool) -> None:
        snap_id = make_child(pool)
        pool2.clone(pool, "parent", "s", "other")
        with pool.open("parent", read_only=False) as image:
            with refused(exceptions.InUse, pool.spec("parent", "s")) as caught:
                image.remove_snap(snap_id)
            assert set(in_use(caught).children) == {pool.spec("child"), pool2.spec("other")}
            assert "child" in str(caught.value)
            assert [(each.id, each.trashed) for each in image.snaps()] == [(snap_id, False)]
        assert read(pool, "child") == read(pool2, "other") == filled(DATA)
