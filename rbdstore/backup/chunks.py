# SPDX-License-Identifier: Apache-2.0
"""Chunks of an image on their way: read ahead, and written while others are read."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import Final, Generic, Self, TypeVar

from rbdstore import observing
from rbdstore.closing import Closing
from rbdstore.completions import Completion
from rbdstore.driver import Image
from rbdstore.transfer.bodies import zeros
from rbdstore.transfer.window import Window
from rbdstore.transfer.writes import Writes

# In stretches of this length nothing is written that is all zeros.
_GRAIN: Final = 64 * 1024

T = TypeVar("T")


class Ahead(Closing, Generic[T]):
    """Reads of an image in flight, in order, no more than a window of them.

    An iterator of pairs: what was wanted, and its data. To be closed, which waits for what is in
    flight.
    """

    def __init__(self, image: Image, wanted: Iterable[tuple[T, int, int]], window: int) -> None:
        """``wanted`` are things to be read, each with its offset and length; of 0, none is."""
        self._image = image
        self._wanted = iter(wanted)
        self._window = window
        self._taken = 0
        self._flying: collections.deque[tuple[T, int, Completion[bytes] | None]]
        self._flying = collections.deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[T, bytes]:
        self._look_ahead()
        if not self._flying:
            raise StopIteration
        thing, length, completion = self._flying[0]
        data = b"" if completion is None else completion.result()
        self._flying.popleft()
        self._taken -= length
        observing.read(length)
        self._look_ahead()
        return thing, data

    def _look_ahead(self) -> None:
        while not self._flying or (self._taken < self._window and len(self._flying) < 64):
            found = next(self._wanted, None)
            if found is None:
                return
            thing, offset, length = found
            completion = self._image.aio_read(offset, length) if length else None
            self._flying.append((thing, length, completion))
            self._taken += length

    def close(self) -> None:
        self._wanted = iter(())
        for _thing, _length, completion in self._flying:
            if completion is not None:
                completion.wait()
        self._flying.clear()


class Writing(Writes):
    """Writes in flight, and discards. None is in flight at the end of the ``with``."""

    def __init__(self, image: Image, window: int) -> None:
        super().__init__(image, Window(window, 0))
        self.image = image

    def begin_data(self, offset: int, data: bytes) -> None:
        """Begin to write to what reads as zeros: where data are none, nothing is written."""
        for start, stop in stretches(data):
            whole = stop - start == len(data)
            self.begin(offset + start, data if whole else data[start:stop])

    def discard(self, offset: int, length: int) -> None:
        """Make a stretch read as zeros. No write to it may be in flight."""
        self.image.discard(offset, length)

    def flush(self) -> None:
        """Wait for the writes, and see that they are safe."""
        self.finish()
        self.image.flush()


def stretches(data: bytes) -> Iterator[tuple[int, int]]:
    """From where to where there are data, in steps of a grain."""
    nothing, end = zeros(_GRAIN), len(data)
    starts = range(0, end, _GRAIN)

    def is_data(start: int) -> bool:
        if start + _GRAIN > end:
            return not nothing.startswith(data[start:])
        return not data.startswith(nothing, start)

    for wanted, group in itertools.groupby(starts, is_data):
        if wanted:
            found = list(group)
            yield found[0], min(found[-1] + _GRAIN, len(data))
