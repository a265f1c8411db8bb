# SPDX-License-Identifier: Apache-2.0
"""Clusters and clients that stop answering: an error within the limit, and no more than that left.

And when it is over, the same stores go on.
"""

import contextlib
import os
import shutil
import threading
import time
from concurrent import futures

import pytest
import racers
from scratch import MiB

from rbdstore import exceptions
from rbdstore.testing.recipe import Role

LIMIT = 2
ROUNDS = 20 if os.environ.get("RBDSTORE_SOAK") else 2
# A machine may be slow; what there was no limit to would take far longer.
SOON = 30

GUEST = Role("guest", osd=("profile rbd pool=volumes",), mgr=("profile rbd pool=volumes",))


@pytest.fixture
def user():
    return "cinder"


@pytest.fixture
def cluster(connect):
    return connect(rbd_operation_timeout=LIMIT, rados_connect_timeout=1)


def instance(cluster):
    with cluster.calls() as connection:
        return connection.instance


@contextlib.contextmanager
def frozen(sandbox, *daemons):
    for daemon in daemons:
        sandbox.pause_daemon(daemon)
    try:
        yield
    finally:
        for daemon in daemons:
            sandbox.resume_daemon(daemon)
        sandbox.wait_ready()


@contextlib.contextmanager
def soon(most=SOON):
    started = time.monotonic()
    yield
    assert time.monotonic() - started < most


def asking():
    """The threads of this library that wait for an answer."""
    names = ("rbdstore-asking", "rbdstore-manager")
    return [thread for thread in threading.enumerate() if thread.name in names]


def test_a_cluster_that_died_is_waited_for_once(sandbox, connect):
    cluster = connect(rbd_operation_timeout=9, rados_connect_timeout=1)
    pool = cluster.open_pool("volumes")
    with frozen(sandbox, "mon.a", "osd.0"):
        with pytest.raises(exceptions.Timeout):
            pool.read_object("k")
        for _ in range(2):
            # Without the limit of a single request: no monitor answers either.
            with soon(8), pytest.raises(exceptions.Unreachable, match="no monitor answered"):
                pool.read_object("k")
    assert answer(pool.read_object, "k") == b""


def answer(call, *arguments):
    """What a call returns once the cluster is itself again."""
    until = time.monotonic() + 60
    while True:
        try:
            return call(*arguments)
        except (exceptions.Timeout, exceptions.Unreachable):
            assert time.monotonic() < until


def test_one_call_that_had_no_answer_costs_nobody_the_connection(sandbox, cluster):
    """What others have on it, leases above all, would go with it."""
    pool = answer(cluster.open_pool, "volumes")
    before = instance(cluster)
    assert pool.lease("k", "cookie", 60, "owner")
    with frozen(sandbox, "mon.a"), pytest.raises(exceptions.Timeout):
        pool.stats()
    assert answer(pool.stats).images == 0
    assert instance(cluster) == before
    pool.remove_leased("k", "cookie")


@pytest.fixture
def guest(sandbox, tmp_path):
    """A ceph.conf and a keyring of a user's own, and a way to give it another key."""
    keyring = tmp_path / "keyring"
    conf = shutil.copy(sandbox.conf_path, tmp_path / "guest.conf")
    caps = [word for service, text in GUEST.caps.items() for word in (service, text)]

    def new_key():
        with contextlib.suppress(Exception):
            sandbox.ceph("auth", "rm", "client.guest")
        keyring.write_text(sandbox.ceph("auth", "get-or-create", "client.guest", *caps))

    new_key()
    with open(conf, "a") as file:
        file.write(f"[client.guest]\nkeyring = {keyring}\n")
    yield conf, new_key
    sandbox.ceph("auth", "rm", "client.guest")


def test_a_client_whose_key_was_replaced(sandbox, connect, guest, connections):
    """The monitors do not talk to it any more, once they have lost it; the OSDs go on."""
    conf, new_key = guest
    cluster = connect("guest", rbd_ceph_conf=conf, rbd_operation_timeout=LIMIT)
    pool = cluster.open_pool("volumes")
    before = instance(cluster)
    pool.create("a", MiB)
    new_key()
    sandbox.kill_daemon("mon.a")
    sandbox.start_daemon("mon.a")
    sandbox.wait_ready()
    with pool.open("a") as image:
        with pytest.raises(exceptions.Timeout):
            pool.stats()
        assert answer(pool.stats).images == 1
        assert instance(cluster) != before
        assert image.read(0, 3) == b"\0\0\0"
    # The old one is gone with the last who used it.
    racers.until(lambda: len(connections()) == 1 and not asking())
    pool.remove("a")


def test_a_pool_that_is_not_known_and_a_monitor_that_is_silent(sandbox, cluster):
    answer(cluster.open_pool, "volumes")
    with frozen(sandbox, "mon.a"), soon(), pytest.raises(exceptions.Timeout):
        cluster.open_pool("nope")
    with pytest.raises(exceptions.PoolNotFound):
        answer(cluster.open_pool, "nope")


def test_what_librbd_waits_for_without_a_limit(sandbox, cluster):
    """News of the pools, before it unprotects a snapshot."""
    pool = answer(cluster.open_pool, "volumes")
    pool.create("a", MiB)
    with pool.open("a", read_only=False) as image:
        image.create_snap("s")
        image.protect_snap("s")
        with frozen(sandbox, "mon.a"), soon(), pytest.raises(exceptions.Timeout):
            image.unprotect_snap("s")
        answer(image.unprotect_snap, "s")
        answer(image.remove_snap, image.snaps()[0].id)
    answer(pool.remove, "a")


def test_a_manager_that_is_silent_is_asked_once(sandbox, cluster):
    answer(cluster.open_pool, "volumes")
    with frozen(sandbox, "mgr.x"):
        for _ in range(3):
            with soon(), pytest.raises(exceptions.Timeout):
                cluster.task_progress("a")
            assert len(asking()) == 1
    racers.until(lambda: not asking())
    assert answer(cluster.task_progress, "a") is None


def test_a_manager_that_is_silent_is_asked_once_by_many_at_the_same_time(sandbox, cluster):
    answer(cluster.task_progress, "a")
    with frozen(sandbox, "mgr.x"), futures.ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(cluster.task_progress, "a") for _ in range(6)]
        assert {type(call.exception()) for call in calls} == {exceptions.Timeout}
        assert len(asking()) == 1
    racers.until(lambda: not asking())


def test_a_manager_cannot_be_asked_without_a_configuration(connect, sandbox, tmp_path):
    """To have asked nobody is not to have been answered."""
    conf = shutil.copy(sandbox.conf_path, tmp_path / "gone.conf")
    cluster = connect(rbd_ceph_conf=str(conf))
    cluster.open_pool("volumes")
    os.remove(conf)
    with pytest.raises(exceptions.ConfigError, match="rbd_ceph_conf"):
        cluster.cancel_task("a")


def test_nothing_is_left_of_outages(sandbox, connect, connections):
    """No thread, no file and no client."""
    cluster = connect(rbd_operation_timeout=LIMIT, rados_connect_timeout=1)
    pool = answer(cluster.open_pool, "volumes")
    pool.create("a", MiB)

    def left():
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    counts = []
    for _ in range(ROUNDS):
        with frozen(sandbox, "mon.a"):
            for call in (pool.stats, lambda: cluster.open_pool("nope")):
                with soon(), pytest.raises((exceptions.Timeout, exceptions.Unreachable)):
                    call()
        assert answer(pool.stats).images == 1
        with answer(pool.open, "a") as image:
            assert image.read(0, 1) == b"\0"
        racers.until(lambda: not asking() and len(connections()) == 1)
        counts.append(left())
    # A first outage may make what the client keeps.
    assert counts[-1][0] <= counts[0][0]
    assert counts[-1][1] <= counts[0][1]
    pool.remove("a")
