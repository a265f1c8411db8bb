# SPDX-License-Identifier: Apache-2.0
"""A window: how many bytes of an upload are in memory at once, wherever on their way they are."""

from __future__ import annotations

from typing import Final

from rbdstore.threads import LONGEST_WAIT, threading

Piece = bytes | bytearray

_LEAST_LENGTH: Final = 1 << 20


def piece_length(object_size: int, window: int) -> int:
    """How long pieces are: as objects, or parts of them where a window could not hold four."""
    most = max(window // 4, _LEAST_LENGTH)
    return min(object_size, 1 << (most.bit_length() - 1))


class Window:
    """Room for pieces of a body. It is taken by one thread, and given back by any.

    A piece has its room before it is read. What it is read into is used again.
    """

    def __init__(self, size: int, length: int) -> None:
        """Have room for ``size`` bytes, for pieces of ``length`` bytes."""
        self.length = length
        self._size = size
        self._taken = 0
        self._waiting = False
        # A buffer that keeps its room, for as long as nobody else needs it.
        self._spare: bytearray | None = None
        self._error: BaseException | None = None
        self._changed = threading.Condition(threading.Lock())

    def reserve(self) -> bytearray | None:
        """Wait for room for a piece; perhaps there is a buffer in it already.

        :raises: as :meth:`take`
        """
        with self._changed:
            spare, self._spare = self._spare, None
        if spare is None:
            self.take(self.length)
        return spare

    def release(self, piece: list[Piece]) -> None:
        """Give back the room of a piece, and the memory: the list has the last reference."""
        with self._changed:
            found = piece.pop()
            wanted = self._spare is None and not self._waiting
            if wanted and isinstance(found, bytearray) and len(found) == self.length:
                self._spare = found
            else:
                del found
                self._give(self.length)

    def take(self, length: int, *, beside: int = 0) -> None:
        """Wait for room. There is some when nothing but ``beside`` is taken, however much it is.

        :raises: what :meth:`fail` was called with first
        """
        with self._changed:
            self._waiting = True
            try:
                while self._error is None and beside < self._taken > self._size - length:
                    if self._spare is None:
                        # A Ctrl-C that comes right before is seen at the end of a wait only.
                        self._changed.wait(LONGEST_WAIT)
                    else:
                        self._spare = None
                        self._taken -= self.length
            finally:
                self._waiting = False
            if self._error is not None:
                raise self._error
            self._taken += length

    def give(self, length: int) -> None:
        """Give room back."""
        with self._changed:
            self._give(length)

    def _give(self, length: int) -> None:
        self._taken -= length
        self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """Let nothing more in."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify()
