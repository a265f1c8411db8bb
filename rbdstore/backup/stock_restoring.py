# SPDX-License-Identifier: Apache-2.0
"""What Cinder's own driver backed up becomes a volume again, or a stream.

There are no checksums to compare it with. That it was not deleted while it was read is looked at.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import operator
from collections.abc import Iterator
from typing import Final

from rbdstore import exceptions
from rbdstore.backup import changes, chunks, digests, manifests
from rbdstore.backup.diffstreams import DiffWriter, Header, Writable
from rbdstore.backup.recorded import Marked
from rbdstore.backup.stock import Stock
from rbdstore.driver import Extent, Image, Pool, Progress
from rbdstore.settings import Settings

# Of chunks whose digest nobody knows.
_UNKNOWN: Final = b""


class StockSource:
    """A backup of Cinder's; to be restored, as ``restoring`` wants it."""

    def __init__(self, pool: Pool, stock: Stock, *, trust: bool = True) -> None:
        """``trust`` is whether the object maps of images are believed."""
        self._stock = stock
        self._trust = trust
        self.backup_id = stock.backup.id
        self.pool = pool
        self.size = stock.backup.size
        with pool.open(image_id=stock.image_id) as image:
            self.chunk_size = image.object_size

    def check(self) -> None:
        """There is nothing beside its data."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Image]:
        with opened(self.pool, self._stock) as image:
            self._image = image
            yield image

    def chunks(self) -> Iterator[Marked]:
        return ((number, _UNKNOWN) for number in self._numbers(self._image))

    def differing(self, target: Image) -> Iterator[Marked]:
        limit = manifests.count(self.size, self.chunk_size)
        found = heapq.merge(
            ((number, True) for number in self._numbers(self._image)),
            ((number, False) for number in self._numbers(target)),
        )
        for number, which in itertools.groupby(found, key=operator.itemgetter(0)):
            if number < limit:
                yield number, _UNKNOWN if any(there for _, there in which) else digests.ZEROS

    def _numbers(self, image: Image) -> Iterator[int]:
        found = changes.everything(image, self.chunk_size, trust=self._trust)
        return (change.number for change in found)


@contextlib.contextmanager
def opened(pool: Pool, stock: Stock) -> Iterator[Image]:
    """Have the image open that a backup is in, as it was then.

    :raises Vanished: it was deleted meanwhile
    """
    with pool.open(image_id=stock.image_id) as image:
        if stock.snap_id is not None:
            image.set_snap(stock.snap_id)
        yield image
        there = pool.has_image(stock.image_id)
        if there and stock.snap_id is not None:
            there = image.still_has(stock.snap_id)
        if not there:
            raise exceptions.Vanished(
                f"backup {stock.backup.id} was deleted while it was read; what was read cannot be "
                "trusted",
                spec=image.spec,
            )


def export(
    pool: Pool,
    stock: Stock,
    stream: Writable,
    since: Stock | None,
    settings: Settings,
    progress: Progress | None,
) -> None:
    """Write a backup to a stream: all of it, or what changed since an earlier one of its image.

    :raises InvalidInput: the other one is not earlier, or not in the same image
    """
    from_snap = None
    if since is not None:
        if since.image_id != stock.image_id or (since.snap_id or 0) >= (stock.snap_id or 0):
            raise exceptions.InvalidInput(
                f"backup {stock.backup.id} is no increment of {since.backup.id}, nor of one of its"
            )
        from_snap = since.backup.base.snap
    size = stock.backup.size
    with opened(pool, stock) as image:
        writer = DiffWriter(stream, Header(size, from_snap, stock.backup.base.snap))
        extents = changes.cut(image.extents(0, size, from_snap=from_snap), image.object_size)
        wanted = (
            (extent, extent.offset, extent.length if extent.exists else 0) for extent in extents
        )
        with chunks.Ahead(image, wanted, settings.transfer_window) as reads:
            for extent, data in reads:
                _tell(writer, extent, data)
                if progress is not None:
                    progress(extent.offset + extent.length, size)
    writer.end()


def _tell(writer: DiffWriter, extent: Extent, data: bytes) -> None:
    if extent.exists:
        writer.data(extent.offset, data)
    else:
        writer.zeros(extent.offset, extent.length)
