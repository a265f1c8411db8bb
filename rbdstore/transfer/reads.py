# SPDX-License-Identifier: Apache-2.0
"""Reading an image ahead of whoever takes its data.

Several reads are in flight, in order, and no more than the window has room for: how much is in
memory does not depend on the image, nor on how slow its reader is. Where an image has no data
nothing is read, if it costs little to know.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Final, Self

from rbdstore import observing
from rbdstore.completions import Completion, Ended
from rbdstore.driver import Extent, Image
from rbdstore.settings import TRANSFER_WINDOW
from rbdstore.transfer.bodies import zeros
from rbdstore.transfer.window import piece_length

# Pieces without data need no room; this many may be known of ahead.
_MOST_PIECES: Final = 64


def drain(image: Image, offset: int, length: int, *, window: int = TRANSFER_WINDOW) -> Reads:
    """Read a stretch of an image, in pieces that end where its objects end, or within them.

    What has been begun is waited for by ``close()`` of the iterator, or of the image.

    :param window: how many bytes are read ahead of whoever takes the pieces
    """
    return Reads(image, offset, length, window)


class Reads:
    """What is read ahead, in order.

    No generator: where one is forgotten its ``finally`` may be run by any thread, also by the one
    that what it waits for needs.
    """

    def __init__(self, image: Image, offset: int, length: int, window: int) -> None:
        self._image = image
        self._window = window
        self._most = piece_length(image.object_size, window)
        self._stretches = _stretches(image, self._most, offset, offset + length)
        self._pieces: collections.deque[tuple[int, Completion[bytes]]] = collections.deque()
        self._taken = 0
        self.count: Callable[[int], object] = observing.read

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            if self._look_ahead():
                piece = self._take()
                # Before its reader is at work on this one.
                self._look_ahead()
                return piece
        except BaseException:
            self.close()
            raise
        raise StopIteration

    def _look_ahead(self) -> bool:
        """Begin as many reads as there is room for. False: everything has been taken."""
        while not self._pieces or (
            self._taken + self._most <= self._window and len(self._pieces) < _MOST_PIECES
        ):
            found = next(self._stretches, None)
            if found is None:
                break
            self._begin(*found)
        return bool(self._pieces)

    def _begin(self, start: int, stop: int, has_data: bool) -> None:
        size = stop - start
        if has_data:
            self._pieces.append((size, self._image.aio_read(start, size)))
            self._taken += size
        else:
            whole = zeros(self._most)
            self._pieces.append((0, Ended(whole if size == self._most else whole[:size])))

    def _take(self) -> bytes:
        """Wait for the next piece."""
        size, completion = self._pieces[0]
        piece = completion.result()
        self._pieces.popleft()
        self._taken -= size
        self.count(size)
        return piece

    def close(self) -> None:
        """Give nothing more, and return when nothing is in flight."""
        self._stretches = iter(())
        for _size, completion in self._pieces:
            completion.wait()
        self._pieces.clear()


def _stretches(image: Image, most: int, offset: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Each piece: from where to where, and whether there may be data in it."""
    extents: Iterator[Extent] = iter([Extent(offset, end - offset, True)])
    # What a parent has would have to be asked for object by object.
    if offset < end and image.fast_diff() and image.parent() is None:
        extents = image.extents(offset, end - offset, whole_object=True)
    data = (extent for extent in extents if extent.exists)
    extent = next(data, None)
    while offset < end:
        stop = min(end, (offset // most + 1) * most)
        while extent is not None and extent.offset + extent.length <= offset:
            extent = next(data, None)
        yield offset, stop, extent is not None and extent.offset < stop
        offset = stop
