# SPDX-License-Identifier: Apache-2.0
"""What snaps and clones share is not changed by what happens to those they share it with."""

import filestore
import pytest
from filestore import MiB

from rbdstore import driver, exceptions
from rbdstore.drivers.file import diff

OBJECT = 4 * MiB


@pytest.fixture
def pool(tmp_path):
    cluster = filestore.connect(tmp_path)
    pool = cluster.open_pool("volumes")
    yield pool
    filestore.remove_all(pool)
    assert cluster.leftovers() == []
    cluster.close()


def remove_snap(image, name):
    image.remove_snap(driver.find_snap(image, name).id)


def test_a_snap_of_what_was_rolled_back_stays_as_it_was(pool):
    """What the head has come back to is below the snap, though no snap has it any more."""
    pool.create("a", 2 * OBJECT)
    with pool.open("a", read_only=False) as image:
        image.write(0, b"first")
        image.create_snap("before")
        image.write(0, b"later")
        image.create_snap("after")
        image.rollback("before")
        remove_snap(image, "before")
        image.write(0, b"again")
        image.write(OBJECT, b"again")
        assert image.read(0, 5) == b"again"
        after = driver.find_snap(image, "after").id
    seen = filestore.content(pool, "a", after)
    assert (seen[:5], seen[OBJECT : OBJECT + 5]) == (b"later", bytes(5))


def test_flattened_while_a_parent_is_flattened_too(pool):
    """What the parent has let go of is overwritten, and is not what its clone must copy."""
    filestore.fill(pool, "top", b"old" * 1000, size=2 * OBJECT)
    with pool.open("top", read_only=False) as top:
        top.create_snap("s")
        pool.clone(pool, "top", "s", "middle")
        with pool.open("middle", read_only=False) as middle:
            middle.create_snap("s")
        pool.clone(pool, "middle", "s", "clone")

        def meanwhile(done, _total):
            if done == OBJECT:
                with pool.open("middle", read_only=False) as middle:
                    middle.flatten()
                remove_snap(top, "s")
                top.write(OBJECT, b"new" * 1000)

        with pool.open("clone", read_only=False) as clone:
            expected = clone.read(0, clone.size())
            clone.write(OBJECT, b"")
            clone.flatten(progress=meanwhile)
            assert clone.read(0, clone.size()) == expected


@pytest.fixture
def clone(pool):
    """A clone of two objects without deep-flatten, and a snap ``whole`` of it."""
    filestore.fill(pool, "top", b"x" * (2 * OBJECT))
    with pool.open("top", read_only=False) as top:
        top.create_snap("s")
    other = filestore.connect(pool.cluster.data.root, file_store_features="layering")
    other.open_pool("volumes").clone(pool, "top", "s", "clone")
    other.close()
    with pool.open("clone", read_only=False) as clone:
        clone.create_snap("whole")
        yield clone


def is_whole(clone):
    snap_id = driver.find_snap(clone, "whole").id
    return filestore.content(clone.pool, "clone", snap_id) == b"x" * (2 * OBJECT)


def test_flattened_where_a_snap_shows_more_of_an_object(clone):
    clone.resize(OBJECT // 2, allow_shrink=True)
    clone.flatten()
    assert is_whole(clone)
    clone.resize(OBJECT)
    assert clone.read(0, OBJECT) == b"x" * (OBJECT // 2) + bytes(OBJECT // 2)


def test_rolled_back_where_an_older_snap_shows_more_of_an_object(clone):
    clone.resize(OBJECT // 2, allow_shrink=True)
    clone.create_snap("half")
    clone.resize(0, allow_shrink=True)
    clone.rollback("half")
    assert clone.parent() is None
    assert is_whole(clone)
    clone.resize(OBJECT)
    assert clone.read(0, OBJECT) == b"x" * (OBJECT // 2) + bytes(OBJECT // 2)


def test_shrunk_to_nothing_while_it_is_flattened(pool):
    """The image needs nothing of its parent any more, but its snap still does."""
    filestore.fill(pool, "top", b"x" * (2 * OBJECT))
    with pool.open("top", read_only=False) as top:
        top.create_snap("s")
    pool.clone(pool, "top", "s", "clone")

    def meanwhile(_done, _total):
        with pool.open("clone", read_only=False) as other:
            other.resize(0, allow_shrink=True)

    with pool.open("clone", read_only=False) as clone:
        assert "deep-flatten" in clone.features()
        clone.create_snap("whole")
        clone.flatten(progress=meanwhile)
        assert is_whole(clone)


def test_an_object_that_has_another_link_is_replaced(pool, tmp_path):
    """As one has whose maker was killed before its file in ``tmp`` was gone."""
    filestore.fill(pool, "a", b"first")
    with pool.open("a", read_only=False) as image, pool.open("a", read_only=False) as other:
        image.write(0, b"again")
        (path,) = tmp_path.glob("pools/*/*/*/0")
        (tmp_path / "link").hardlink_to(path)
        other.create_snap("s")
        other.write(0, b"other")
        remove_snap(other, "s")
        image.write(0, b"later")
        assert image.read(0, 5) == b"later"


def test_a_snap_that_is_removed_while_it_is_compared_with(pool, monkeypatch):
    """Its objects are gone, and the image, which shows none of them, is the same as before."""
    filestore.fill(pool, "a", b"first")
    with pool.open("a", read_only=False) as image:
        image.create_snap("before")
        image.write(0, b"later")
        image.create_snap("after")
        image.rollback("before")
        image.write(1, b"")

        def meanwhile(*views, really=diff.extents, **options):
            with pool.open("a", read_only=False) as other:
                remove_snap(other, "after")
            return really(*views, **options)

        monkeypatch.setattr(diff, "extents", meanwhile)
        with pool.open("a") as reader, pytest.raises(exceptions.SnapshotNotFound):
            list(reader.extents(0, reader.size(), from_snap="after"))
