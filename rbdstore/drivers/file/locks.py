# SPDX-License-Identifier: Apache-2.0
"""File locks: they end with their process, however that ends.

``flock`` locks belong to an open file, so that two handles of one process exclude each other as
those of two processes do. A child process would share them; it closes its copies at once, which
leaves its parent's as they are.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from typing import Final

from rbdstore.threads import threading

_SHORTEST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


class FileLock:
    """A file, or a folder, opened in order to be locked."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self.path = path
        # A fork sees all of them, and none half-made.
        with _OPENING:
            self.fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
            _OPEN.add(self)

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free. Who has it already changes its kind."""
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self, timeout: float, *, shared: bool = False) -> None:
        """Take the lock, waiting for whoever has it.

        :raises TimeoutError: it was not free in time; nothing was done
        """
        if self.try_take(shared=shared):
            return
        deadline = time.monotonic() + timeout
        pause = _SHORTEST_PAUSE
        while not self.try_take(shared=shared):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    errno.ETIMEDOUT, f"another operation kept it locked for over {timeout} s"
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def release(self) -> None:
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def held(self, timeout: float, *, shared: bool = False) -> Iterator[None]:
        self.take(timeout, shared=shared)
        try:
            yield
        finally:
            self.release()

    def is_linked(self) -> bool:
        """Whether the path is still that of the file that is open."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        with _OPENING:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
            _OPEN.discard(self)


class Turnstile:
    """Many may hold it together, or one alone, who need not fear that it is never its turn.

    File locks let a newcomer join those who share one, whoever waits. So everybody passes a gate
    first, and who wants it alone keeps the gate.
    """

    def __init__(self, folder: str, timeout: float) -> None:
        self._timeout = timeout
        self._gate = FileLock(os.path.join(folder, "gate"), os.O_RDWR | os.O_CREAT)
        try:
            self._data = FileLock(os.path.join(folder, "data"), os.O_RDWR | os.O_CREAT)
        except BaseException:
            self._gate.close()
            raise

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._gate.held(self._timeout, shared=True):
            self._data.take(self._timeout, shared=True)
        try:
            yield
        finally:
            self._data.release()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._gate.held(self._timeout), self._data.held(self._timeout):
            yield

    def close(self) -> None:
        self._gate.close()
        self._data.close()


def make_live(path: str) -> FileLock:
    """Make a file that counts as dead as soon as the lock on it is let go of."""
    while True:
        made = FileLock(path, os.O_RDWR | os.O_CREAT)
        try:
            # Whoever sweeps may have come between the two, and have taken it for dead.
            fcntl.flock(made.fd, fcntl.LOCK_EX)
            if made.is_linked():
                return made
        except BaseException:
            made.close()
            raise
        made.close()


@contextlib.contextmanager
def temporary(folder: str) -> Iterator[FileLock]:
    """Give a new file that is open for reading and writing, and is gone after."""
    made = make_live(os.path.join(folder, uuid.uuid4().hex))
    try:
        yield made
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made.path)
        made.close()


def is_live(path: str) -> bool:
    """Whether somebody holds the lock on a file made by :func:`make_live`."""
    try:
        found = FileLock(path)
    except FileNotFoundError:
        return False
    try:
        # Shared: two who look at the same time must not take each other for its holder.
        return not found.try_take(shared=True)
    finally:
        found.close()


def sweep(folder: str, suffix: str = "") -> list[str]:
    """Remove the dead ones among the files of a folder; return the names of the live ones."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(suffix)]
    except FileNotFoundError:
        return []
    live = []
    for name in sorted(names):
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):
            found = FileLock(path)
            try:
                if not found.try_take(shared=True):
                    live.append(name)
                elif found.is_linked():
                    os.unlink(path)
            finally:
                found.close()
    return live


_OPEN: Final[set[FileLock]] = set()
_OPENING: Final = threading.RLock()


def before_fork() -> None:
    _OPENING.acquire()


def after_fork_in_parent() -> None:
    _OPENING.release()


def after_fork_in_child() -> None:
    for lock in _OPEN:
        with contextlib.suppress(OSError):
            os.close(lock.fd)
        lock.fd = -1
    _OPEN.clear()
    _OPENING.release()
