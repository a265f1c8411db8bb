# SPDX-License-Identifier: Apache-2.0
"""Transactions on an SQLite database that several threads and processes use at once.

SQLite must not meet a fork: a child that used its parent's connections, or opened its own beside
what is left of them in its memory, could damage the database. So a fork waits for the transactions
that are running in its process, which are short, and closes the connections.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import weakref
from collections.abc import Iterator
from typing import Any, Final

from rbdstore import exceptions
from rbdstore.threads import threading

_IDLE_CONNECTIONS: Final = 4


class Database:
    """Opens connections as they are needed, and keeps a few."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._closed = False
        self._reset()
        _DATABASES.add(self)

    def _reset(self) -> None:
        self._changed: Any = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._busy: dict[int, int] = {}
        self._forking = False
        # Threads of one process queue here; SQLite would have them look in, now and then.
        self._turn: Any = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give one state of the database."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _end(connection, "ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the database for a change, which is done when the block ends, or not at all."""
        with self._connection() as connection:
            if not self._turn.acquire(timeout=self.timeout):
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"other threads kept the database busy for over {self.timeout} s",
                )
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    _end(connection, "ROLLBACK")
                    raise
            finally:
                self._turn.release()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            if self._closed:
                raise exceptions.ClusterError("the cluster was closed")
            connection = self._idle.pop() if self._idle else None
            self._busy[thread] = self._busy.get(thread, 0) + 1
        usable = False
        try:
            if connection is None:
                connection = connect(self.path, self.timeout)
            yield connection
            usable = True
        except exceptions.RbdStoreError:
            usable = True
            raise
        finally:
            with self._changed:
                self._busy[thread] -= 1
                if not self._busy[thread]:
                    del self._busy[thread]
                keep = usable and not self._closed and len(self._idle) < _IDLE_CONNECTIONS
                if connection is not None:
                    if keep:
                        self._idle.append(connection)
                    else:
                        connection.close()
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # A fork

    def before_fork(self) -> None:
        with self._changed:
            self._forking = True
            # The thread that forks may be in a transaction itself, by a signal's handler.
            mine = threading.get_ident()
            self._changed.wait_for(lambda: not set(self._busy) - {mine})
            for connection in self._idle:
                connection.close()
            self._idle = []

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        self._reset()


def connect(path: str, timeout: float) -> sqlite3.Connection:
    """Open a connection that begins no transaction by itself."""
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    # Outlives the death of any process; what must outlive a loss of power is synced by `flush`.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _end(connection: sqlite3.Connection, how: str) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute(how)


_DATABASES: Final[weakref.WeakSet[Database]] = weakref.WeakSet()


def before_fork() -> None:
    for database in list(_DATABASES):
        database.before_fork()


def after_fork_in_parent() -> None:
    for database in list(_DATABASES):
        database.after_fork_in_parent()


def after_fork_in_child() -> None:
    for database in list(_DATABASES):
        database.after_fork_in_child()
