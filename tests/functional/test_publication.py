# SPDX-License-Identifier: Apache-2.0
"""A name is given in three steps: cut off anywhere, an image is whole, or nothing is left."""

import functools
import time

import pytest
import rados
import samples
import stores

from rbdstore import exceptions
from rbdstore.drivers.rbd import renaming

DATA = samples.pattern("published", samples.MiB)


class CutError(Exception):
    """The process is ended here."""


class Cut:
    """A pool's handle of which one change fails, done or not, and all after it."""

    def __init__(self, ioctx, change, error, *, after):
        self._ioctx = ioctx
        self._left = change
        self._error = error
        self._after = after

    def read(self, *args):
        return self._ioctx.read(*args)

    def execute(self, key, cls, method, data):
        if method.startswith("get_"):
            return self._ioctx.execute(key, cls, method, data)
        return self._change(self._ioctx.execute, key, cls, method, data)

    def operate_write_op(self, op, key, **flags):
        return self._change(functools.partial(self._ioctx.operate_write_op, **flags), op, key)

    def _change(self, change, *args):
        self._left -= 1
        if self._left >= 0:
            return change(*args)
        if self._left == -1 and self._after:
            change(*args)
        raise self._error


def cut_off_and_repeated(do, *args):
    """Do it again if it was cut off; what it returned."""
    try:
        return do(*args)
    except (CutError, exceptions.ClusterError):
        deadline = time.monotonic() + 60
    while True:
        try:
            return do(*args)
        except exceptions.Duplicate as error:
            # What was cut off lets go of the name in this moment.
            if "at work" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(
    params=[CutError(), rados.TimedOut("it takes too long", errno=110)], ids=["killed", "timeout"]
)
def cut_off(request, monkeypatch):
    """Have the next renaming fail at that change."""
    rename = renaming.rename

    def begin(change, *, after):
        def once(ioctx, name, new_name):
            monkeypatch.setattr(renaming, "rename", rename)
            return rename(Cut(ioctx, change, request.param, after=after), name, new_name)

        monkeypatch.setattr(renaming, "rename", once)

    return begin


CHANGES = pytest.mark.parametrize("change", range(3))
AFTER = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@CHANGES
@AFTER
def test_an_upload(sandbox, raw, cut_off, change, after):
    images = stores.image_store(sandbox)
    cut_off(change, after=after)
    image = cut_off_and_repeated(images.add, "image", DATA)
    assert raw.images("images") == ["image"]
    assert raw.snaps("images", "image") == ["snap"]
    assert b"".join(images.get(image.uri)) == DATA
    assert [key for key in raw.objects("images") if key.startswith("rbd_id.")] == ["rbd_id.image"]
    images.delete(image.uri)


@CHANGES
@AFTER
def test_a_clone(sandbox, raw, cut_off, change, after):
    volumes = stores.volume_store(sandbox)
    volumes.create("source", len(DATA))
    raw.write("volumes", "source", DATA)
    cut_off(change, after=after)
    cut_off_and_repeated(volumes.create_cloned_volume, "clone", "source")
    assert raw.images("volumes") == ["clone", "source"]
    assert raw.read("volumes", "clone") == DATA
    (record,) = [key for key in raw.objects("volumes") if key.startswith("rbdstore.image.")]
    with volumes._pool.open("clone") as clone:
        assert any(clone.id in entry for entry in volumes._pool.get_keys(record))
    names = [key for key in raw.objects("volumes") if key.startswith("rbd_id.")]
    assert names == ["rbd_id.clone", "rbd_id.source"]
    for name in ("source", "clone"):
        volumes.delete(name)


@CHANGES
@AFTER
def test_a_volume_gets_another_name(sandbox, raw, cut_off, change, after):
    volumes = stores.volume_store(sandbox)
    volumes.create("old", len(DATA))
    raw.write("volumes", "old", DATA)
    cut_off(change, after=after)
    cut_off_and_repeated(volumes.rename, "old", "new")
    assert raw.images("volumes") == ["new"]
    assert raw.read("volumes", "new") == DATA
    assert [key for key in raw.objects("volumes") if key.startswith("rbd_id.")] == ["rbd_id.new"]
    volumes.delete("new")


@pytest.mark.parametrize("cut_off", [CutError()], ids=["killed"], indirect=True)
def test_half_a_name_of_what_is_not_made_after_all(sandbox, raw, cut_off):
    volumes = stores.volume_store(sandbox)
    volumes.create("source", len(DATA))
    cut_off(1, after=False)
    with pytest.raises(CutError):
        volumes.create_cloned_volume("clone", "source")
    assert not [key for key in raw.objects("volumes") if "clone" in key]
    volumes.delete("source")


@pytest.mark.parametrize("cut_off", [CutError()], ids=["killed"], indirect=True)
def test_a_name_that_another_client_is_about_to_give_is_left_alone(sandbox, raw, cut_off):
    """His image has both names for a moment, and would have none if one were taken from it."""
    volumes = stores.volume_store(sandbox)
    volumes.create("source", len(DATA))
    raw.create("volumes", "others", len(DATA))
    with raw.ioctx("volumes") as ioctx:
        content = ioctx.read("rbd_id.others")
        cut_off(0, after=False)
        publish = volumes._pool.rename

        def rename(name, new_name):
            ioctx.write_full("rbd_id.clone", content)
            publish(name, new_name)

        volumes._pool.rename = rename
        with pytest.raises(CutError):
            volumes.create_cloned_volume("clone", "source")
        del volumes._pool.rename
        assert ioctx.read("rbd_id.clone") == content
        ioctx.remove_object("rbd_id.clone")
    raw.remove("volumes", "others")
    volumes.delete("source")
