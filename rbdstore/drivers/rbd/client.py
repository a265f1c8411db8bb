# SPDX-License-Identifier: Apache-2.0
"""One client of a cluster in a process, shared by all who connect with the same settings.

A :class:`Client` lasts; the :class:`Connection` under it comes and goes. It is made at the first
use, dropped when the cluster has cut it off, made anew at the next use, and shut down when the
last one who uses it is done. librados frees a connection under whoever still uses it, so whoever
does is counted.

A connection does not survive a fork: in the child, anything done with it hangs, shutting it down
too, and Python would do that when it frees the object. So the child forgets it without freeing it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import time
from collections.abc import Iterator
from typing import Any, Final

import rados
import tenacity
from oslo_log import log

from rbdstore import exceptions, observing
from rbdstore.drivers.rbd import connecting, errors, full
from rbdstore.drivers.rbd.health import Health
from rbdstore.drivers.rbd.options import ClientSettings
from rbdstore.threads import threading

LOG = log.getLogger(__name__)

# Who is well answers in milliseconds. That somebody does not is found out in so many seconds,
# which a call waits beside its own limit; to give a connection up for it takes more.
_SOON: Final = 1
_CERTAIN: Final = 5
_QUESTION: Final = '{"prefix": "fsid"}'


class Connection:
    """A connected librados client, and what was opened with it."""

    def __init__(self, client: rados.Rados, user: str, clone_format: int) -> None:
        self.rados = client
        self.user = user
        self.clone_format = clone_format
        self.instance = int(client.get_instance_id())
        self.health = Health()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._uses = 1
        self._opened: set[Any] = set()
        self._ioctxs: dict[tuple[str, str], rados.Ioctx] = {}
        _connections.add(self)

    @property
    def inherited(self) -> bool:
        """Whether it was made in another process, so that nothing may be done with it."""
        return self._pid != os.getpid()

    def osds_answer(self, seconds: float) -> bool:
        """Whether an OSD answers within so many seconds."""
        with self._lock:
            ioctx = next(iter(self._ioctxs.values()), None)
        if ioctx is None:
            return False
        answered = threading.Event()
        try:
            # Any object will do, there or not.
            asked = ioctx.aio_stat("rbd_directory", lambda *_: answered.set())
        except rados.Error:
            return False
        return answered.wait(seconds) and asked.get_return_value() in (0, -errno.ENOENT)

    def hold(self) -> None:
        with self._lock:
            self._uses += 1

    def release(self) -> None:
        """Undo one :meth:`hold`; the last one shuts the connection down."""
        if self.inherited:
            return
        with self._lock:
            self._uses -= 1
            if self._uses:
                return
        for handle in self._opened:
            handle.close()
        self._opened.clear()
        self.rados.shutdown()
        _connections.discard(self)

    def keep(self, handle: Any) -> None:
        """Close ``handle`` before the connection, if it was not closed by then."""
        with self._lock:
            self._opened.add(handle)

    def close_handle(self, handle: Any) -> None:
        """Close what was kept, once; in a child process, leave it alone."""
        if self.inherited:
            return
        with self._lock:
            if handle not in self._opened:
                return
            self._opened.remove(handle)
        handle.close()

    def ioctx(self, pool: str, namespace: str, *, look: bool = False) -> rados.Ioctx | None:
        """The handle of a pool; None: there is no such pool.

        There is one for all: it keeps nothing that two threads could disagree about.

        :param look: see whether it is still the same pool, not another one of that name
        """
        with self._lock:
            ioctx = self._ioctxs.get((pool, namespace))
        if ioctx is not None and not look:
            return ioctx
        # Opening an unknown pool blocks for seconds, and waiting for news of the pools for as long
        # as the monitors are silent, whatever the limits are: so they are asked first.
        if pool not in self.rados.list_pools():
            if pool not in json.loads(self.monitor_command("osd pool ls")):
                return None
            self.rados.wait_for_latest_osdmap()
        if ioctx is not None and ioctx.get_pool_id() == self.rados.pool_lookup(pool):
            return ioctx
        ioctx = self.rados.open_ioctx(pool)
        ioctx.set_namespace(namespace)
        full.try_all(ioctx)
        self.keep(ioctx)
        with self._lock:
            self._ioctxs[pool, namespace] = ioctx
        return ioctx

    def ask_monitors(self) -> None:
        """See that they answer: for what would wait for them without a limit.

        :raises Timeout: they do not
        """
        result, _, message = self.rados.mon_command(_QUESTION, b"")
        # To be refused is an answer, too.
        if result == -errno.ETIMEDOUT:
            raise errors.from_errno(result, f"the monitors: {message}", user=self.user)

    def monitor_command(self, prefix: str, **arguments: Any) -> bytes:
        """Send a command to the monitors and return its output, JSON where it knows it."""
        command = json.dumps({"prefix": prefix, "format": "json", **arguments})
        result, output, message = self.rados.mon_command(command, b"")
        if result:
            raise errors.from_errno(result, f"{prefix}: {message}", user=self.user, service="mon")
        return bytes(output)

    def forget(self) -> None:
        """In a child process: never free the connection, nor what was opened with it."""
        for thing in (self.rados, *self._opened):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Client:
    """The client for one set of settings."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.references = 0
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._tries = 0
        self._failure: exceptions.RbdStoreError | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[Connection]:
        """Give the connection for one call, connecting if need be.

        :raises ConfigError: ceph.conf or the keyring is not what it must be
        :raises Unreachable: no monitor answers, or the key is refused
        """
        connection = self.hold()
        began = time.monotonic()
        try:
            yield connection
            connection.health.answered()
        except exceptions.Unreachable:
            self.drop(connection)
            raise
        except exceptions.Timeout:
            connection.health.timed_out(began)
            raise
        finally:
            connection.release()

    def hold(self) -> Connection:
        """Give the connection, connecting if need be, until ``release()`` of it."""
        tries = self._tries
        with self._lock:
            connection = self._connection
            if connection is None or connection.health.wants_a_look():
                if self._failure is not None and (
                    self._tries != tries
                    or (connection is not None and connection.health.is_surely_silent())
                ):
                    # It has just failed, while this thread waited or before: a queue of threads,
                    # and what is taken back then, must not wait out one limit after the other.
                    raise type(self._failure)(str(self._failure)) from self._failure
                connection = self._connect() if connection is None else self._checked(connection)
                self._connection = connection
            connection.hold()
            return connection

    def drop(self, connection: Connection) -> None:
        """Never give this connection again: it is dead."""
        with self._lock:
            if self._connection is not connection:
                return
            self._connection = None
        LOG.warning("The connection of client.%s was lost", self.settings.user)
        connection.release()

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def after_fork(self) -> None:
        """In a child process: begin anew. Another thread may have held the lock at the fork."""
        self._lock = threading.Lock()
        self._connection = None

    def _connect(self) -> Connection:
        """Connect, trying again while the monitors are silent."""
        interval, most = self.settings.connection_interval, self.settings.connection_retries
        user = self.settings.user

        def tell(state: tenacity.RetryCallState) -> None:
            number = state.attempt_number
            LOG.warning("client.%s: no monitor answered, try %d of %d", user, number, most)
            observing.happened("connect_retry")

        return self._noted(
            tenacity.Retrying(
                stop=tenacity.stop_after_attempt(most),
                # Not all processes of a host at the same moment.
                wait=tenacity.wait_fixed(interval) + tenacity.wait_random(0, interval / 4),
                retry=tenacity.retry_if_exception_type(exceptions.Timeout),
                before_sleep=tell,
                reraise=True,
            ),
            self.settings,
        )

    def _checked(self, connection: Connection) -> Connection:
        """What to use after a call had no answer: the same connection, or a new one.

        It may have been that call alone. It may be that the cluster does not talk to this client
        any more, as when its key was replaced: a new one is answered then, and this one is not.
        It may be the monitors, without which the OSDs go on. And it may be all of the cluster:
        then no call is to wait for all of its limit again.

        :raises Unreachable: it is the cluster
        """
        health = connection.health
        if health.silent and connection.osds_answer(_SOON):
            health.silent = False
        if not health.wants_a_look():
            return connection
        once = tenacity.Retrying(stop=tenacity.stop_after_attempt(1), reraise=True)
        try:
            new = self._noted(once, dataclasses.replace(self.settings, connect_timeout=_SOON))
        except exceptions.RbdStoreError as exc:
            health.looked_at(is_well=False)
            if health.silent:
                self._failure = exceptions.Unreachable(
                    f"the cluster is silent since a call ran into its limit: {exc}"
                )
                raise self._failure from exc
            LOG.warning("No other client.%s can connect: %s", self.settings.user, exc)
            return connection
        if _is_answered(connection, _CERTAIN):
            health.looked_at(is_well=True)
            new.release()
            return connection
        LOG.warning("The connection of client.%s is of no use any more", self.settings.user)
        connection.release()
        return new

    def _noted(self, retrying: tenacity.Retrying, settings: ClientSettings) -> Connection:
        """Connect, and keep the failure for those who wait for the outcome, too."""
        try:
            connection: Connection = retrying(_connect, settings)
        except exceptions.RbdStoreError as exc:
            self._failure = exc
            if isinstance(exc, exceptions.Timeout):
                self._failure = exceptions.Unreachable(str(exc), errno=exc.errno)
                raise self._failure from exc
            raise
        finally:
            self._tries += 1
        self._failure = None
        return connection


def _connect(settings: ClientSettings) -> Connection:
    client, clone_format = connecting.connect(settings)
    return Connection(client, settings.user, clone_format)


def _is_answered(connection: Connection, seconds: float) -> bool:
    """Whether the monitors answer a connection within so many seconds.

    The question stays on its way for as long as the connection's own limit is.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            with errors.translated():
                connection.ask_monitors()
            answered.set()
        except exceptions.RbdStoreError as error:
            LOG.debug("%s", error)
        finally:
            connection.release()

    connection.hold()
    threading.Thread(target=ask, name="rbdstore-asking", daemon=True).start()
    return bool(answered.wait(seconds))


_lock = threading.Lock()
_clients: dict[ClientSettings, Client] = {}
_connections: set[Connection] = set()


def acquire(settings: ClientSettings) -> Client:
    """The process's client for these settings. Each call wants one :func:`release`."""
    with _lock:
        client = _clients.setdefault(settings, Client(settings))
        client.references += 1
        return client


def release(client: Client) -> None:
    """Let go of a client; with the last reference its connection goes."""
    with _lock:
        client.references -= 1
        if client.references:
            return
        del _clients[client.settings]
    client.close()


def instances() -> set[int]:
    """By which numbers the cluster knows this process's clients."""
    return {connection.instance for connection in list(_connections)}


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for connection in _connections:
        connection.forget()
    _connections.clear()
    for client in _clients.values():
        client.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
