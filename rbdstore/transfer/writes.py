# SPDX-License-Identifier: Apache-2.0
"""Writes in flight."""

from __future__ import annotations

import collections
import functools
import itertools
import types
from typing import Self

from rbdstore import observing
from rbdstore.completions import Completion
from rbdstore.driver import Image
from rbdstore.transfer.window import Piece, Window


class Writes:
    """The writes in flight to an image; none once the ``with`` is left, by whatever error.

    If that is none of theirs, but one of them had failed before, theirs is raised instead.
    """

    def __init__(self, image: Image, window: Window) -> None:
        self._image = image
        self._window = window
        self._numbers = itertools.count()
        self._flying: dict[int, Completion[None]] = {}
        # The numbers of those that have ended, in that order. Others' threads append to it.
        self._ended: collections.deque[int] = collections.deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        failed = len(self._ended)
        for completion in self._flying.values():
            completion.wait()
        if isinstance(error, Exception) and not self._failed:
            # What failed while the body was read did so before the body.
            self._check(failed)

    def begin(self, offset: int, piece: Piece) -> None:
        """Begin a write; the piece is free when this returns.

        :raises: what an earlier one has failed with
        """
        length = len(piece)
        # The driver makes a copy of its own.
        self._window.take(length, beside=self._window.length)
        self._check(len(self._ended))
        number = next(self._numbers)
        done = functools.partial(self._done, number, length)
        self._flying[number] = self._image.aio_write(offset, piece, done)
        observing.written(length)

    def _done(self, number: int, length: int) -> None:
        self._ended.append(number)
        self._window.give(length)

    def finish(self) -> None:
        """Wait for all of them."""
        for completion in self._flying.values():
            completion.wait()
        self._check(len(self._ended))

    def _check(self, count: int) -> None:
        """Look how those went that have ended, the first ``count`` of them."""
        for _ in range(count):
            completion = self._flying.pop(self._ended.popleft())
            try:
                completion.result()
            except BaseException:
                self._failed = True
                raise
