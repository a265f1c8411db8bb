# SPDX-License-Identifier: Apache-2.0
"""A window: how many bytes may be in memory at once on their way through a transfer."""

from __future__ import annotations

from rbdstore.threads import threading


class Window:
    """Bytes are taken by the thread that transfers, and given back by any."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition(threading.Lock())

    def take(self, length: int) -> None:
        """Wait until there is room. What is larger than the window has room in an empty one.

        :raises: what :meth:`fail` was called with first
        """
        with self._changed:
            while self._taken and self._taken + length > self._size and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._taken += length

    def give(self, length: int) -> None:
        """Make room."""
        with self._changed:
            self._taken -= length
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """Let nothing more through."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify()
