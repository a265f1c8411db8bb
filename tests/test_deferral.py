# SPDX-License-Identifier: Apache-2.0
"""Deferral: the thread that purges outlives what fails, says it once, and ends when it is told."""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import memory
import pytest
import scenes
from scenes import SECONDS

from rbdstore import exceptions
from rbdstore.settings import Settings
from rbdstore.store import Store
from rbdstore.testing import faults

MiB = 1 << 20
LIMIT = 60


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["volumes"])


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


@pytest.fixture
def plan():
    return faults.Plan()


@pytest.fixture
def connect(cluster, plan, workers):
    """Open stores that are closed after the test."""
    opened = []

    def connected(interval=0.02, **values):
        settings = Settings(
            pool="volumes",
            lease_seconds=SECONDS,
            deferred_deletion_purge_interval=interval,
            **{"enable_deferred_deletion": True, **values},
        )
        opened.append(Store(faults.FaultyCluster(cluster, plan), settings))
        return opened[-1]

    yield connected
    for store in opened:
        store.close()
    assert workers() == set()


@pytest.fixture
def workers():
    """Tell the threads that purge for a store of this test."""

    def running():
        return {one for one in threading.enumerate() if one.name == "rbdstore-purging"}

    others = running()
    return lambda: running() - others


def until(is_so):
    deadline = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_what_is_deleted_is_gone_before_long(connect, cluster, caplog):
    volumes = connect().volumes
    for number in range(3):
        volumes.create(f"volume-{number}", MiB)
        volumes.delete(f"volume-{number}")
    with caplog.at_level(logging.WARNING):
        until(lambda: scenes.contents(cluster) == {})
    assert said(caplog) == []


def test_where_deletion_is_not_deferred_nothing_runs(connect, cluster, workers):
    volumes = connect(enable_deferred_deletion=False).volumes
    volumes.create("volume", MiB)
    volumes.delete("volume")
    assert scenes.contents(cluster) == {}
    assert workers() == set()


def test_a_store_has_one_thread_from_its_first_use_on(connect, workers):
    store = connect()
    assert workers() == set()
    store.images.list()
    store.volumes.list()
    store.volumes.create("volume", MiB)
    store.volumes.delete("volume")
    assert len(workers()) == 1


def test_what_another_process_left_is_purged_too(connect, cluster, pool):
    scenes.make(pool, "volume", b"data")
    scenes.delete(pool, "volume")
    connect().volumes.list()
    until(lambda: scenes.contents(cluster) == {})


@pytest.mark.parametrize(
    "error", [exceptions.Unreachable("injected"), exceptions.StorageFull("injected"), ValueError()]
)
def test_an_outage_is_told_once_and_outlived(connect, cluster, plan, caplog, error):
    volumes = connect().volumes
    volumes.create("volume", MiB)
    volumes.delete("volume")
    until(lambda: scenes.contents(cluster) == {})
    for _ in range(2):
        caplog.clear()
        volumes.create("volume", MiB)
        with caplog.at_level(logging.INFO):
            plan.fail(1, error, lasting=True)
            # Each is one more try.
            until(lambda: len(plan._calls) > 4)
            plan.stop()
            until(lambda: "works again" in caplog.text)
        (warning,) = said(caplog)
        assert "pool volumes" in warning
        volumes.delete("volume")
        until(lambda: scenes.contents(cluster) == {})


def test_what_cannot_be_removed_is_told_once(connect, pool, plan, caplog):
    volumes = connect().volumes
    volumes.create("busy", MiB)
    volumes.create("volume", MiB)
    plan.watch()
    with caplog.at_level(logging.WARNING):
        volumes.delete("busy")
        with pool.open(image_id=pool.trash_list()[0].image_id, read_only=False):
            until(lambda: plan._calls.count("Pool.trash_remove") > 3)
            volumes.delete("volume")
            until(lambda: scenes.trash(pool) == ["busy"])
        until(lambda: scenes.trash(pool) == [])
    (warning,) = said(caplog)
    assert "volumes/busy" in warning
    assert "opened by" in warning


def test_what_is_to_be_kept_for_longer_is_no_error(connect, pool, plan, caplog):
    volumes = connect(deferred_deletion_delay=3600).volumes
    volumes.create("volume", MiB)
    with caplog.at_level(logging.INFO):
        volumes.delete("volume")
        caplog.clear()
        plan.watch()
        until(lambda: plan._calls.count("Pool.trash_list") > 3)
    assert said(caplog, logging.INFO) == []
    assert scenes.trash(pool) == ["volume"]


def test_many_do_it_and_none_stands_in_the_others_way(connect, cluster, caplog):
    stores = [connect() for _ in range(4)]
    for store in stores:
        store.volumes.list()
    with caplog.at_level(logging.WARNING):
        for number in range(40):
            volumes = stores[number % 4].volumes
            volumes.create(f"volume-{number}", MiB)
            volumes.create_cloned_volume(f"clone-{number}", f"volume-{number}")
            volumes.delete(f"volume-{number}")
            volumes.delete(f"clone-{number}")
        until(lambda: scenes.contents(cluster) == {})
    assert said(caplog) == []


def test_closing_does_not_wait_for_the_next_look(connect, workers):
    store = connect(interval=3600)
    store.volumes.list()
    began = time.monotonic()
    store.close()
    assert time.monotonic() - began < LIMIT
    assert workers() == set()


def test_closing_ends_it_between_two_removals(connect, cluster, pool, workers):
    store = connect(interval=0.5)
    for number in range(50):
        scenes.make(pool, f"volume-{number}", b"data")
        scenes.delete(pool, f"volume-{number}")
    store.volumes.list()
    until(lambda: len(scenes.trash(pool)) < 50)
    store._purger.close()
    assert workers() == set()
    store.purge_deleted()
    assert scenes.contents(cluster) == {}


def test_a_child_process_has_a_thread_of_its_own(connect, workers):
    volumes = connect(interval=3600).volumes
    assert len(workers()) == 1
    pid = os.fork()
    if not pid:
        status = 1
        try:
            assert workers() == set()
            volumes.delete("nothing")
            assert len(workers()) == 1
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


UNCLOSED = """
import atexit
import sys
import threading

sys.path[:0] = {paths!r}


def running():
    return [one.name for one in threading.enumerate() if one.daemon]


# What is registered first is called last.
atexit.register(lambda: print(running()))

import memory

store = memory.memory_store(pool="rbd", enable_deferred_deletion=True)
store.volumes.list()
print(running())
"""


def test_it_ends_with_a_process_that_closes_nothing():
    """What librbd tells of a removal's progress would come to an interpreter that is no more."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    done = subprocess.run(
        [sys.executable, "-c", UNCLOSED.format(paths=paths)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['rbdstore-purging']", "[]"]
