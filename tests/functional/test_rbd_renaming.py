# SPDX-License-Identifier: Apache-2.0
"""Renaming without librbd: its own steps, and librbd where there is more to do."""

import functools

import pytest
import rados
import rbd
import scratch

from rbdstore import exceptions
from rbdstore.drivers.rbd import renaming


class CutError(Exception):
    """The process dies here."""


class Cut:
    """A pool's handle that does so many changes, and no more."""

    def __init__(self, ioctx, changes):
        self._ioctx = ioctx
        self._left = changes

    def _change(self, change, *args):
        if not self._left:
            raise CutError
        self._left -= 1
        return change(*args)

    def read(self, *args):
        return self._ioctx.read(*args)

    def execute(self, key, cls, method, data):
        if method.startswith("get_"):
            return self._ioctx.execute(key, cls, method, data)
        return self._change(self._ioctx.execute, key, cls, method, data)

    def operate_write_op(self, op, key, **flags):
        self._change(functools.partial(self._ioctx.operate_write_op, **flags), op, key)

    def remove_object(self, key):
        self._change(self._ioctx.remove_object, key)


@pytest.fixture
def ioctx(pool):
    with pool._ioctx() as found:
        yield found


@pytest.fixture
def renamed(pool):
    """An image "b" that was "a"; to be called when it should be that, and nothing else."""
    pool.create("a", scratch.MiB)
    with pool.open("a") as image:
        image_id = image.id

    def check():
        assert pool.list_images() == ["b"]
        assert not any(map(pool.is_debris, "ab"))
        with pool.open("b") as image:
            assert (image.name, image.id) == ("b", image_id)
        with pytest.raises(exceptions.ImageNotFound):
            pool.open("a")

    yield check
    for name in pool.list_images():
        pool.remove(name)


def test_it_is_done_without_librbd(ioctx, renamed):
    assert renaming.rename(ioctx, "a", "b")
    renamed()


@pytest.mark.parametrize("changes", range(3))
def test_what_was_cut_off_is_completed_by_the_next(pool, ioctx, renamed, changes):
    with pytest.raises(CutError):
        renaming.rename(Cut(ioctx, changes), "a", "b")
    # One of the names is the image's at any time, and the other one is no image's.
    [name] = pool.list_images()
    pool.open(name).close()
    pool.rename("a", "b")
    renamed()


def test_it_is_done_while_somebody_has_the_image_open(pool, renamed):
    with pool.open("a", read_only=False) as image:
        image.lock()
        pool.rename("a", "b")
        image.write(0, b"still the same")
        image.flush()
        image.create_snap("s")
    renamed()
    with pool.open("b", read_only=False) as image:
        assert image.read(0, 5) == b"still"
        image.remove_snap(image.snaps()[0].id)


def test_an_image_with_a_journal_is_left_to_librbd(pool, ioctx, renamed, raw):
    with raw.open("volumes", "a") as image:
        image.update_features(rbd.RBD_FEATURE_JOURNALING, True)
    assert not renaming.rename(ioctx, "a", "b")
    assert pool.list_images() == ["a"]
    pool.rename("a", "b")
    renamed()


def test_a_name_that_is_taken_is_left_alone(pool, ioctx, renamed):
    pool.create("b", 0)
    assert not renaming.rename(ioctx, "a", "b")
    with pytest.raises(exceptions.Duplicate):
        pool.rename("a", "b")
    assert sorted(pool.list_images()) == ["a", "b"]
    pool.remove("b")
    pool.rename("a", "b")
    renamed()


def test_a_name_that_only_the_directory_has_is_left_alone(pool, ioctx, renamed):
    """As of an image that is being created, or was removed half."""
    pool.create("b", 0)
    data = ioctx.read("rbd_id.b")
    ioctx.remove_object("rbd_id.b")
    assert not renaming.rename(ioctx, "a", "b")
    with pytest.raises(rados.ObjectNotFound):
        ioctx.stat("rbd_id.b")
    ioctx.write_full("rbd_id.b", data)
    pool.remove("b")
    pool.rename("a", "b")
    renamed()


def test_what_is_not_there_is_no_image_of_the_new_name(pool, ioctx):
    assert not renaming.rename(ioctx, "a", "b")
    with pytest.raises(exceptions.ImageNotFound):
        pool.rename("a", "b")
    assert pool.list_images() == []
    assert not any(map(pool.is_debris, "ab"))
