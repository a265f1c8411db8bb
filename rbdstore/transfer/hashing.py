# SPDX-License-Identifier: Apache-2.0
"""The hashes of what is transferred, computed beside the transfer.

hashlib lets other threads run while it works, so each hash may have a thread of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from rbdstore.threads import queue, threading


@dataclasses.dataclass(frozen=True, slots=True)
class Digests:
    """What was transferred: how much, its MD5, and a hash of the caller's choice, in hex.

    Both are empty where nobody asked for them.
    """

    size: int
    checksum: str
    os_hash_value: str


class Hashes:
    """MD5 and another hash of the same data. To be closed.

    :param algorithm: of the other one; None: nothing is hashed
    :param threads: how many threads compute them, none to two; none: the caller does
    :param failed: called with an error, by a thread that cannot go on
    """

    def __init__(
        self, algorithm: str | None, threads: int, failed: Callable[[BaseException], object]
    ) -> None:
        self._size = 0
        self._hashes = [] if algorithm is None else _made(algorithm)
        shares = [[each] for each in self._hashes] if threads > 1 else [self._hashes]
        workers = threads and self._hashes
        self._workers = [_Worker(share, failed) for share in shares] if workers else []

    def close(self) -> None:
        """Stop, if that has not been."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()

    def update(self, data: bytes | bytearray, done: Callable[[], object]) -> None:
        """Hash ``data`` some time, in order; they may be changed once ``done`` was called."""
        self._size += len(data)
        if not self._workers:
            for each in self._hashes:
                each.update(data)
            done()
            return
        last = _Last(len(self._workers), done)
        for worker in self._workers:
            worker.put(data, last)

    def digests(self) -> Digests:
        """Wait for the threads. Nothing can be hashed after this."""
        for worker in self._workers:
            worker.finish()
        found = [each.hexdigest() for each in self._hashes] or [""]
        return Digests(self._size, found[0], found[-1])


def _made(algorithm: str) -> list[Any]:
    """MD5 first, and the other one last, which may be the same."""
    md5 = hashlib.md5(usedforsecurity=False)
    chosen = hashlib.new(algorithm, usedforsecurity=False)
    return [md5] if chosen.name == md5.name else [md5, chosen]


class _Last:
    """Calls ``done`` at its own last call of ``count``."""

    def __init__(self, count: int, done: Callable[[], object]) -> None:
        self._count = count
        self._done = done
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._count -= 1
            is_last = self._count == 0
        if is_last:
            self._done()


class _Worker:
    """A thread that feeds some hashes."""

    def __init__(self, hashes: list[Any], failed: Callable[[BaseException], object]) -> None:
        self._hashes = hashes
        self._failed = failed
        self._jobs: Any = queue.SimpleQueue()
        self._stopped = False
        self._error: BaseException | None = None
        self._thread: Any = None

    def put(self, data: bytes | bytearray, done: Callable[[], object]) -> None:
        self._jobs.put((data, done))
        if self._thread is None:
            # A daemon: a process whose user interrupts it twice must not wait for it.
            thread = threading.Thread(target=self._run, name="rbdstore-hash", daemon=True)
            thread.start()
            self._thread = thread

    def finish(self) -> None:
        """Wait until all has been hashed."""
        self._jobs.put(None)
        self.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Hash no more."""
        self._stopped = True
        self._jobs.put(None)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped:
            data, done = job
            try:
                for each in self._hashes:
                    each.update(data)
            except BaseException as error:
                self._error = error
                self._failed(error)
                return
            # Before others are told that the memory is free.
            del data, job
            done()
