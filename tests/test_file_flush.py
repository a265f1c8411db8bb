# SPDX-License-Identifier: Apache-2.0
"""What is safe when, as far as it can be seen without a loss of power."""

import contextlib
import os
import resource
import sqlite3

import filestore
import pytest
from filestore import MiB

from rbdstore import driver, exceptions

OBJECT = 4 * MiB


@pytest.fixture
def pool(tmp_path):
    cluster = filestore.connect(tmp_path)
    yield cluster.open_pool("volumes")
    cluster.close()


@contextlib.contextmanager
def no_more_files():
    """Let no file be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def synced(monkeypatch):
    """The files and folders that were made safe, by inode, in order."""
    found = []

    def fsync(fd, really=os.fsync):
        really(fd)
        found.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_a_flush_that_failed_is_not_forgotten(pool, tmp_path, synced):
    filestore.fill(pool, "a", b"data")
    with pool.open("a", read_only=False) as image:
        image.write(0, b"more")
        with no_more_files(), pytest.raises(exceptions.ClusterError):
            image.flush()
        synced.clear()
        image.flush()
        (path,) = tmp_path.glob("pools/*/*/*/0")
        assert path.stat().st_ino in synced


def test_a_discard_is_flushed(pool, tmp_path, synced):
    filestore.fill(pool, "a", b"data")
    with pool.open("a", read_only=False) as image:
        (path,) = tmp_path.glob("pools/*/*/*/0")
        image.discard(0, 4)
        assert not path.exists()
        synced.clear()
        image.flush()
        assert path.parent.stat().st_ino in synced


@pytest.mark.parametrize("length", [1, OBJECT], ids=["part", "whole"])
def test_what_hides_something_safe_is_safe_itself(pool, monkeypatch, synced, length):
    """Else a name might outlive its content, and an empty file would hide what was flushed."""
    linked = []

    def link(source, target, really=os.link):
        assert os.stat(source).st_ino in synced
        really(source, target)
        linked.append(target)

    monkeypatch.setattr(os, "link", link)
    filestore.fill(pool, "a", b"x" * OBJECT)
    with pool.open("a", read_only=False) as image:
        image.create_snap("s")
        image.write(0, b"y" * length)
    assert len(linked) == 1


@contextlib.contextmanager
def without_power(folder):
    """Take the database back to what it was, as if nothing it was told had been safe."""
    path = folder / "rbdstore.db"
    with contextlib.closing(sqlite3.connect(":memory:")) as before:
        with contextlib.closing(sqlite3.connect(path)) as now:
            now.backup(before)
        yield
        with contextlib.closing(sqlite3.connect(path)) as now:
            before.backup(now)


def test_what_was_not_flushed_is_not_found_again(pool, tmp_path):
    """Files may outlive rows, and the next rows may have the same numbers."""
    filestore.fill(pool, "a", b"first")
    with without_power(tmp_path):
        lost = filestore.connect(tmp_path)
        with lost.open_pool("volumes").open("a", read_only=False) as image:
            image.create_snap("s")
            image.write(0, b"lost!")
        filestore.fill(lost.open_pool("volumes"), "lost", b"lost!")
        lost.close()
    assert pool.list_images() == ["a"]
    with pool.open("a", read_only=False) as image:
        image.write(0, b"later")
        image.create_snap("s")
        image.write(5 - 1, b"R")
        assert image.read(0, 5) == b"lateR"
        image.remove_snap(driver.find_snap(image, "s").id)
        assert image.read(0, 5) == b"lateR"
    pool.create("new", 5)
    assert filestore.content(pool, "new") == bytes(5)
    filestore.remove_all(pool)
    assert pool.cluster.leftovers() == []
    assert filestore.files(tmp_path) == []


def wal(pool):
    return os.stat(os.path.join(pool.cluster.data.root, "rbdstore.db-wal")).st_ino


def test_a_snap_is_gone_for_good_before_its_data_are(pool, monkeypatch, synced):
    renamed = []

    def rename(source, target, really=os.rename):
        assert wal(pool) in synced
        really(source, target)
        renamed.append(target)

    filestore.fill(pool, "a", b"first")
    with pool.open("a", read_only=False) as image:
        image.create_snap("s")
        image.write(0, b"later")
        monkeypatch.setattr(os, "rename", rename)
        synced.clear()
        image.remove_snap(driver.find_snap(image, "s").id)
    assert len(renamed) == 1


def test_an_image_is_gone_for_good_before_its_data_are(pool, synced):
    filestore.fill(pool, "a", b"first")
    synced.clear()
    pool.remove("a")
    assert wal(pool) in synced
