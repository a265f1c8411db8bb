# SPDX-License-Identifier: Apache-2.0
"""Flatten: a clone lets go of its parent."""

from __future__ import annotations

import pytest

from rbdstore import exceptions
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
    remove_snaps,
    resize,
    snap,
    write,
)


def flatten(pool: Pool, name: str) -> None:
    with pool.open(name, read_only=False) as image:
        image.flatten()


def children(pool: Pool, name: str, snap_id: int) -> list[str]:
    with pool.open(name) as image:
        return [child.image for child in image.children(snap_id)]


class StopError(Exception):
    """Raised by a progress callback."""


class FlattenSuite(Suite):
    def test_flatten(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        calls: list[tuple[int, int]] = []
        with pool.open("child", read_only=False) as image:
            image.flatten(progress=lambda done, total: calls.append((done, total)))
            assert image.parent() is None
        assert all(0 <= done <= total for done, total in calls)
        assert children(pool, "parent", snap_id) == []
        assert read(pool, "child") == filled(DATA)
        # Nothing is shared any more.
        with pool.open("parent", read_only=False) as image:
            remove_snaps(image)
            image.discard(0, SIZE)
        pool.remove("parent")
        assert read(pool, "child") == filled(DATA)

    def test_what_the_clone_changed_stays_so(self, pool: Pool) -> None:
        make_child(pool)
        with pool.open("child", read_only=False) as image:
            image.write(OBJECT - 3, b"changed")
            image.discard(2 * OBJECT, 100)
            image.discard(10, 20)
            image.flush()
        expected = read(pool, "child")
        assert expected != filled(DATA)
        flatten(pool, "child")
        assert read(pool, "child") == expected

    def test_what_was_cut_off_stays_so(self, pool: Pool) -> None:
        make_child(pool)
        resize(pool, "child", OBJECT + 10)
        resize(pool, "child", 2 * SIZE)
        flatten(pool, "child")
        assert read(pool, "child") == filled(DATA[: OBJECT + 10], 2 * SIZE)

    def test_twice_is_as_good_as_once(self, pool: Pool) -> None:
        make_child(pool)
        for _ in range(2):
            flatten(pool, "child")
            with pool.open("child") as image:
                assert image.parent() is None
            assert read(pool, "child") == filled(DATA)

    def test_without_a_parent(self, pool: Pool) -> None:
        make(pool, "a", DATA)
        flatten(pool, "a")
        assert read(pool, "a") == filled(DATA)

    def test_in_the_middle_of_a_line(self, pool: Pool) -> None:
        snap_id = make_child(pool)
        write(pool, "child", OBJECT, b"child's")
        middle = snap(pool, "child", "s")
        pool.clone(pool, "child", "s", "grandchild")
        flatten(pool, "grandchild")
        assert children(pool, "child", middle) == []
        assert children(pool, "parent", snap_id) == ["child"]
        assert read(pool, "grandchild") == changed(filled(DATA), OBJECT, b"child's")

    def test_across_pools(self, pool: Pool, pool2: Pool) -> None:
        snap_id = make_parent(pool)
        pool2.clone(pool, "parent", "s", "child")
        flatten(pool2, "child")
        assert children(pool, "parent", snap_id) == []
        assert read(pool2, "child") == filled(DATA)

    def test_the_clones_own_snaps(self, pool: Pool) -> None:
        """With deep-flatten they let go of the parent too; without, they hold it."""
        snap_id = make_child(pool)
        own = snap(pool, "child", "own")
        write(pool, "child", 0, b"later")
        flatten(pool, "child")
        with pool.open("child") as image:
            deep = "deep-flatten" in image.features()
            assert image.parent() is None
            image.set_snap(own)
            assert (image.parent() is None) == deep
            image.set_snap(None)
            assert image.parent() is None
        assert read(pool, "child", own) == filled(DATA)
        assert read(pool, "child") == changed(filled(DATA), 0, b"later")
        assert children(pool, "parent", snap_id) == ([] if deep else ["child"])
        if not deep:
            with (
                pool.open("parent", read_only=False) as image,
                refused(exceptions.InUse),
            ):
                image.remove_snap(snap_id)
            with pool.open("child", read_only=False) as image:
                remove_snaps(image)
            assert children(pool, "parent", snap_id) == []

    def test_a_clone_of_the_clones_own_snap(self, pool: Pool) -> None:
        make_child(pool)
        snap(pool, "child", "s")
        pool.clone(pool, "child", "s", "grandchild")
        flatten(pool, "child")
        assert read(pool, "grandchild") == filled(DATA)
        with pool.open("grandchild") as image:
            found = image.parent()
        assert found is not None
        assert found.spec == pool.spec("child", "s")

    def test_a_progress_that_raises_ends_it(self, pool: Pool) -> None:
        pool.create("parent", 200 << 12, order=12)
        write(pool, "parent", 0, DATA)
        snap(pool, "parent", "s")
        pool.clone(pool, "parent", "s", "child")

        def stop(done: int, total: int) -> None:
            raise StopError

        with pool.open("child", read_only=False) as image:
            with pytest.raises(StopError):
                image.flatten(progress=stop)
            assert image.parent() is not None
            assert image.read(0, len(DATA)) == DATA
            image.flatten()
            assert image.parent() is None
        assert read(pool, "child") == filled(DATA, 200 << 12)
