# SPDX-License-Identifier: Apache-2.0
"""What is read of a chunk that has changed: the blocks that its changes touch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rbdstore.backup import digests
from rbdstore.backup.changes import Change
from rbdstore.driver import Extent


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Whole blocks of a chunk; an image's last block as far as it goes.

    :ivar mark: the chunk's digest before
    :ivar offset: where in the image it begins
    :ivar at: where in the chunk
    :ivar pieces: what has changed in it; empty: perhaps all
    :ivar is_whole: whether it is all of the chunk, so that what it was before does not count
    :ivar is_last: whether there are no more of this chunk
    """

    change: Change
    mark: bytes
    offset: int
    at: int
    length: int
    pieces: tuple[Extent, ...]
    is_whole: bool = False
    is_last: bool = True

    @property
    def was_zeros(self) -> bool:
        return self.mark == digests.ZEROS

    def digest(self, before: bytes, old: bytes, data: bytes) -> bytes:
        """What the chunk reads as with ``data`` there, where it was ``before`` with ``old``."""
        if self.is_whole:
            return digests.digest(data)
        return digests.changed(before, self.at, old, data)


def of(
    change: Change, mark: bytes, size: int, chunk_size: int, *, whole: bool = False
) -> Iterator[Stretch]:
    """The stretches of a chunk that are to be read, one at the least, in order.

    :param size: of the image
    :param whole: read all of the chunk, whatever has changed in it
    """
    start = change.number * chunk_size
    length = min(chunk_size, size - start) if change.exists else 0
    runs = list(_runs(change, start, length)) if change.exists else []
    touched = sum(end - begin for begin, end, _pieces in runs)
    # What is read in pieces is read of what it was before, too.
    cost = touched if mark == digests.ZEROS else 2 * touched
    if whole or not runs or cost >= length:
        yield Stretch(change, mark, start, 0, length, change.pieces, is_whole=True)
        return
    for number, (begin, end, pieces) in enumerate(runs, 1):
        yield Stretch(
            change,
            mark,
            start + begin,
            begin,
            end - begin,
            tuple(pieces),
            is_last=number == len(runs),
        )


def _runs(change: Change, start: int, length: int) -> Iterator[tuple[int, int, list[Extent]]]:
    """From where to where in a chunk there are blocks that were touched, and by what."""
    begin, end, pieces = 0, 0, list[Extent]()
    for piece in change.pieces:
        first = (piece.offset - start) // digests.BLOCK * digests.BLOCK
        if pieces and first > end:
            yield begin, end, pieces
            pieces = []
        if not pieces:
            begin = first
        pieces.append(piece)
        blocks = -(-(piece.offset + piece.length - start) // digests.BLOCK)
        end = min(blocks * digests.BLOCK, length)
    if pieces:
        yield begin, end, pieces
