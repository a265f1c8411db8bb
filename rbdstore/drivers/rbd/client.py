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
import json
import os
from collections.abc import Iterator
from typing import Any, Final

import rados
import tenacity
from oslo_log import log

from rbdstore import exceptions
from rbdstore.drivers.rbd import errors, full
from rbdstore.drivers.rbd.options import ClientSettings
from rbdstore.threads import threading

LOG = log.getLogger(__name__)

# Releases whose clients know clone format 1 only. From mimic on they know 2.
_BEFORE_MIMIC: Final = (
    *("argonaut", "bobtail", "cuttlefish", "dumpling", "emperor", "firefly"),
    *("giant", "hammer", "infernalis", "jewel", "kraken", "luminous"),
)


class Connection:
    """A connected librados client, and what was opened with it."""

    def __init__(self, client: rados.Rados, user: str, clone_format: int) -> None:
        self.rados = client
        self.user = user
        self.clone_format = clone_format
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
        # Opening an unknown pool blocks for seconds, whatever the limits are.
        if pool not in self.rados.list_pools():
            self.rados.wait_for_latest_osdmap()
            if pool not in self.rados.list_pools():
                return None
        if ioctx is not None and ioctx.get_pool_id() == self.rados.pool_lookup(pool):
            return ioctx
        ioctx = self.rados.open_ioctx(pool)
        ioctx.set_namespace(namespace)
        full.try_all(ioctx)
        self.keep(ioctx)
        with self._lock:
            self._ioctxs[pool, namespace] = ioctx
        return ioctx

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
        try:
            yield connection
        except exceptions.Unreachable:
            self.drop(connection)
            raise
        finally:
            connection.release()

    def hold(self) -> Connection:
        """Give the connection, connecting if need be, until ``release()`` of it."""
        tries = self._tries
        with self._lock:
            if self._connection is None:
                if self._failure is not None and self._tries != tries:
                    # It has just failed while this thread waited: a queue of threads must not
                    # wait out the limit one after the other.
                    raise type(self._failure)(str(self._failure)) from self._failure
                self._connection = self._connect()
            self._connection.hold()
            return self._connection

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
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.settings.connection_retries),
            wait=tenacity.wait_fixed(self.settings.connection_interval),
            retry=tenacity.retry_if_exception_type(exceptions.Timeout),
            reraise=True,
        )
        try:
            connection: Connection = retrying(_connect, self.settings)
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


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for connection in _connections:
        connection.forget()
    _connections.clear()
    for client in _clients.values():
        client.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _connect(settings: ClientSettings) -> Connection:
    """Try once.

    :raises Timeout: no monitor answered
    """
    client = configured(settings)
    try:
        client.connect()
        clone_format = _clone_format(client, settings)
        client.conf_set("rbd_default_clone_format", str(clone_format))
    except (rados.Error, exceptions.RbdStoreError) as exc:
        try:
            raise _explained(exc, client, settings) from exc
        finally:
            client.shutdown()
    return Connection(client, settings.user, clone_format)


def configured(settings: ClientSettings) -> rados.Rados:
    """A client that is not connected yet."""
    values = {
        # A removed image must not turn up in the trash, where nobody would look for it.
        "rbd_move_to_trash_on_remove": "false",
    }
    if settings.connect_timeout > 0:
        values["client_mount_timeout"] = str(settings.connect_timeout)
    if settings.operation_timeout > 0:
        values["rados_mon_op_timeout"] = str(settings.operation_timeout)
        values["rados_osd_op_timeout"] = str(settings.operation_timeout)
    try:
        client = rados.Rados(
            conffile=settings.conf, rados_id=settings.user, clustername=settings.cluster_name
        )
        for name, value in values.items():
            client.conf_set(name, value)
        # Else, without a cache, librbd never tells that it refused a write (16.2.15).
        with contextlib.suppress(rados.ObjectNotFound):  # An older one has no such option.
            client.conf_set("rbd_disable_zero_copy_writes", "true")
    except rados.Error as exc:
        raise exceptions.ConfigError(
            f"rbd_ceph_conf: {settings.conf} cannot be used ({exc})"
        ) from exc
    return client


def _clone_format(client: rados.Rados, settings: ClientSettings) -> int:
    if settings.clone_format != "auto":
        return int(settings.clone_format)
    command = json.dumps({"prefix": "osd get-require-min-compat-client"})
    result, output, message = client.mon_command(command, b"")
    if result:
        raise errors.from_errno(result, message, user=settings.user, service="mon")
    return 1 if output.decode().strip() in _BEFORE_MIMIC else 2


def _explained(
    exc: Exception, client: rados.Rados, settings: ClientSettings
) -> exceptions.RbdStoreError:
    """Why a client could not connect, and what mends it."""
    if isinstance(exc, exceptions.RbdStoreError):
        return exc
    user = f"client.{settings.user}"
    keyring = str(client.conf_get("keyring")).split(",")
    seen = " or ".join(f"{path} ({_state(path)})" for path in keyring)
    monitors = client.conf_get("mon_host")
    if isinstance(exc, rados.TimedOut):
        return exceptions.Timeout(
            f"no monitor answered within {client.conf_get('client_mount_timeout')} s (option "
            f"rados_connect_timeout); {settings.conf} has mon host = {monitors}"
        )
    if not monitors:
        return exceptions.ConfigError(
            f"rbd_ceph_conf: {settings.conf} names no monitors: it wants a line `mon host`"
        )
    if not any(_has_key(path, user) for path in keyring):
        return exceptions.ConfigError(
            f"no key of {user} (option rbd_user) in {seen}: write what `ceph auth get {user}` "
            f"shows to a keyring there, readable by user id {os.geteuid()}, or name another one "
            f"by `keyring` in {settings.conf} ({exc})"
        )
    if isinstance(exc, (rados.PermissionError, rados.PermissionDeniedError)):
        return exceptions.Unreachable(
            f"the cluster refused the key of {user} (option rbd_user) in {seen}: compare it with "
            f"what `ceph auth get {user}` shows ({exc})"
        )
    return exceptions.ConfigError(
        f"cannot connect as {user} (option rbd_user) with {settings.conf} (option rbd_ceph_conf), "
        f"mon host = {monitors}, keyring {seen} ({exc})"
    )


def _has_key(path: str, user: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as keyring:
            return any(line.strip() == f"[{user}]" for line in keyring)
    except OSError:
        return False


def _state(path: str) -> str:
    if not os.path.exists(path):
        return "missing"
    return "readable" if os.access(path, os.R_OK) else "not readable"
