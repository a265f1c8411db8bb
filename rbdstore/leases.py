# SPDX-License-Identifier: Apache-2.0
"""Leases: locks on names that outlive neither their holder's process nor, for long, its death.

A lease is a lock on a small object in the pool, with a time limit. One thread renews all leases
that this process holds; when the process dies or hangs they run out, and whoever comes next takes
the object over and finds in it what the dead holder had written (:mod:`rbdstore.names.claims`).
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from oslo_log import log

from rbdstore import exceptions, observing, spec, threads
from rbdstore.driver import Pool
from rbdstore.undo import Undo

LOG = log.getLogger(__name__)

LETTING_GO: Final = 1.0
"""Seconds to wait for somebody who is about to let go, where nobody is to wait for work."""


class Lease:
    """A lease that this process holds."""

    def __init__(self, pool: Pool, name: str, seconds: float) -> None:
        self.pool = pool
        self.key = spec.lease_object(name)
        self.seconds = seconds
        self._cookie = uuid.uuid4().hex
        self._owner = f"{socket.gethostname()} pid {os.getpid()}"
        # A renewal and the end exclude each other: a renewal that came after the end would lock
        # the name for nobody.
        self._ending = threads.threading.Lock()
        self._ended = False

    def try_acquire(self) -> bool:
        """Take the lease if it is free."""
        try:
            if not self.pool.lease(self.key, self._cookie, self.seconds, self._owner):
                return False
            _RENEWER.add(self)
        except BaseException:
            # Taken or not, nobody knows.
            with contextlib.suppress(exceptions.RbdStoreError):
                self.give_back()
            raise
        return True

    def renew(self) -> None:
        """Called by a renewing thread.

        :raises LeaseLost: it has run out; it is not taken again, because others may have had it
        """
        with self._ending:
            if not self._ended:
                self._renew(self.seconds)

    def _renew(self, seconds: float) -> None:
        if not self.pool.lease(self.key, self._cookie, seconds, self._owner, renew=True):
            raise exceptions.LeaseLost(f"the lease on {self.key} ran out")

    def read(self) -> bytes:
        """What is written in the lease's object, by this holder or a dead one before."""
        return self.pool.read_object(self.key)

    def write(self, data: bytes) -> None:
        """Write it anew.

        :raises LeaseLost: this process was held up and the lease is somebody else's now
        """
        self.pool.write_leased(self.key, self._cookie, data)

    def release(self) -> None:
        """Remove the object, and the lease with it."""
        self.abandon()
        try:
            self.pool.remove_leased(self.key, self._cookie)
        except exceptions.LeaseLost:
            raise
        except exceptions.ClusterError:
            # Removed or not, nobody knows. If it was, the lease is lost.
            with contextlib.suppress(exceptions.LeaseLost):
                self.pool.remove_leased(self.key, self._cookie)

    def expire(self) -> None:
        """Let go of the lease at once, but leave the object and what is written in it."""
        self.abandon()
        self._renew(0.001)

    def give_back(self) -> None:
        """Let go of it as if it had never been taken: what a dead holder wrote stays."""
        self.abandon()
        if self.read():
            self.expire()
        else:
            self.release()

    def abandon(self) -> None:
        """Do no more than stop renewing: for when the cluster does not answer."""
        _RENEWER.discard(self)
        with self._ending:
            self._ended = True


def acquire(
    pool: Pool,
    name: str,
    seconds: float,
    *,
    wait: float,
    meanwhile: Callable[[], object] | None = None,
) -> Lease:
    """Take the lease on ``name``, waiting ``wait`` seconds for whoever holds it.

    :param meanwhile: called again and again while it waits; what it raises ends that
    :raises InUse: it is still held then
    """
    lease = Lease(pool, name, seconds)
    deadline = time.monotonic() + wait
    pause = 0.01
    try:
        while not lease.try_acquire():
            left = deadline - time.monotonic()
            if left <= 0:
                owner = pool.lease_owner(lease.key) or "somebody else"
                raise exceptions.InUse(
                    f"{owner} is at work on it; try again when that has ended",
                    spec=pool.spec(name),
                )
            if meanwhile is not None:
                meanwhile()
            time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # nosec B311: only a jitter
            pause = min(pause * 1.5, 0.5)
    except BaseException:
        lease.abandon()
        raise
    return lease


@contextlib.contextmanager
def held(
    pool: Pool,
    name: str,
    seconds: float,
    *,
    wait: float = math.inf,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[Lease]:
    """Hold the lease on ``name``, waiting for a holder to end, or for a dead one's time to end.

    However long that is: a holder that is alive gets done, and to give up would leave behind what
    this process was about to clear. Only ``meanwhile``, called while it waits, can end that, by
    raising. What can as well be done another time waits for ``wait`` seconds.

    :raises InUse: it is still held then
    """
    lease = acquire(pool, name, seconds, wait=wait, meanwhile=meanwhile)
    with Undo() as undo:
        undo.add(lease.release)
        yield lease
    try:
        lease.release()
    except exceptions.RbdStoreError as error:
        LOG.warning("could not let go of %s: %s", lease.key, error)


class _Renewer:
    """The thread that has leases renewed; there is one while there are leases.

    Each is renewed by a thread of its own: one whose cluster, or placement group, does not answer
    lets no other run out.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # A child process inherits no thread, and none of its parent's leases.
        self._changed = threads.threading.Condition()
        # When each is to be renewed; never, while it is being.
        self._due: dict[Lease, float] = {}
        self._running = False

    def add(self, lease: Lease) -> None:
        """:raises RuntimeError: no thread can be started now"""
        with self._changed:
            if not self._running:
                _start(self._run)
                self._running = True
            self._due[lease] = _next(lease)
            self._changed.notify()

    def discard(self, lease: Lease) -> None:
        with self._changed:
            self._due.pop(lease, None)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._running = False
                    return
                lease = min(self._due, key=self._due.__getitem__)
                left = self._due[lease] - time.monotonic()
                if left > 0:
                    self._changed.wait(None if left == math.inf else left)
                    continue
                self._due[lease] = math.inf
            try:
                _start(self._renew, lease)
            except RuntimeError:
                self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        due = True
        try:
            lease.renew()
        except exceptions.LeaseLost as error:
            LOG.warning("%s", error)
            observing.happened("lease_lost")
            due = False
        except Exception as error:
            LOG.warning("could not renew the lease on %s: %s", lease.key, error)
        with self._changed:
            # Unless it has ended meanwhile.
            if self._due.pop(lease, None) is not None and due:
                self._due[lease] = _next(lease)
            self._changed.notify()


def _next(lease: Lease) -> float:
    return time.monotonic() + lease.seconds / 3


def _start(do: Callable[..., None], *args: object) -> None:
    threads.threading.Thread(target=do, args=args, name="rbdstore-leases", daemon=True).start()


_RENEWER = _Renewer()
