# SPDX-License-Identifier: Apache-2.0
"""Leases are renewed for as long as they are held, whatever becomes of others."""

import threading
import time

import memory
import pytest

from rbdstore import leases, spec

SECONDS = 3.0


@pytest.fixture
def pool():
    return memory.memory_cluster().open_pool("volumes")


def is_kept(lease):
    """See that a lease outlives its time."""
    time.sleep(1.5 * SECONDS)
    # Of one that had run out this would raise.
    lease.write(b"")
    lease.release()


def test_one_that_the_cluster_does_not_answer_holds_up_no_other(pool):
    """Such as one in a placement group that is not active, or in another cluster."""
    answered = threading.Event()

    class Stuck(type(pool)):
        def lease(self, key, *args, renew=False):
            if renew and key == spec.lease_object("stuck"):
                answered.wait(60)
            return super().lease(key, *args, renew=renew)

    pool.__class__ = Stuck
    stuck = leases.acquire(pool, "stuck", 0.3, wait=0)
    try:
        is_kept(leases.acquire(pool, "well", SECONDS, wait=0))
    finally:
        answered.set()
        stuck.abandon()
    pool.remove_object(stuck.key)


def test_a_thread_that_could_not_be_started_is_tried_again(pool, monkeypatch):
    while leases._RENEWER._running:
        time.sleep(0.01)
    with monkeypatch.context() as patched:
        patched.setattr(leases.threads.threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="new thread"):
            leases.acquire(pool, "name", SECONDS, wait=0)
    # Nothing is left of the first try.
    is_kept(leases.acquire(pool, "name", SECONDS, wait=0))


def test_where_no_more_threads_can_be_started_one_renews_them_all(pool, monkeypatch):
    lease = leases.acquire(pool, "name", SECONDS, wait=0)
    monkeypatch.setattr(leases.threads.threading.Thread, "start", no_more)
    is_kept(lease)


def no_more(_thread):
    raise RuntimeError("can't start new thread")
