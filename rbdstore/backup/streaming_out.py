# SPDX-License-Identifier: Apache-2.0
"""Backups leave the cluster as streams of ``rbd export-diff``, compared with their checksums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rbdstore import exceptions
from rbdstore.backup import chunks, digests, manifests, recorded
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.diffstreams import DiffWriter, Header, Writable
from rbdstore.backup.manifests import Manifest, Sums
from rbdstore.driver import Extent, Image, Progress
from rbdstore.settings import Settings

Chain = Sequence[Manifest]


def export(
    catalog: Catalog,
    settings: Settings,
    backup_id: str,
    stream: Writable,
    since: str | None,
    progress: Progress | None,
) -> None:
    """Write a backup to a stream: all of it, or what differs from another one of its volume.

    :raises BackupNotFound:
    :raises BrokenBackup: it is not what it was; the stream has no end then
    :raises InvalidInput: the other one has nothing to do with it
    :raises Vanished: it was deleted meanwhile
    """
    chain = catalog.chain(backup_id)
    older = () if since is None else catalog.chain(since)
    _check_related(chain[0], older)
    header = Header(chain[0].size, older[0].snap if older else None, chain[0].snap)
    writer = DiffWriter(stream, header)
    with recorded.opened(catalog, chain[0]) as image:
        _Exporting(catalog, image, chain, older, writer).run(settings.transfer_window, progress)
        recorded.check_still_there(catalog, image, chain[0])
    writer.end()


def _check_related(point: Manifest, older: Chain) -> None:
    for other in older[:1]:
        if (other.volume, other.chunk_size) != (point.volume, point.chunk_size):
            raise exceptions.InvalidInput(
                f"backup {point.backup_id} cannot be told as changes since {other.backup_id}, "
                "which is of another volume, or of one in objects of another size"
            )


class _Exporting:
    def __init__(
        self, catalog: Catalog, image: Image, chain: Chain, older: Chain, writer: DiffWriter
    ) -> None:
        self._catalog = catalog
        self._image = image
        self._chain = chain
        self._older = older
        self._writer = writer
        self._size = chain[0].size
        self._chunk_size = chain[0].chunk_size

    def run(self, window: int, progress: Progress | None) -> None:
        total = sum(length for _what, _offset, length in self._wanted()) if progress else 0
        done = 0
        with chunks.Ahead(self._image, self._wanted(), window) as reads:
            for (number, mark, before), data in reads:
                if mark == digests.ZEROS:
                    self._writer.zeros(*self._stretch(number))
                else:
                    self._check(number, mark, data)
                    self._tell(number * self._chunk_size, data, before)
                done += len(data)
                if progress is not None:
                    progress(done, total)

    def _wanted(self) -> Iterator[tuple[tuple[int, bytes, bytes], int, int]]:
        """Each chunk that differs, with its digest now and before; from where to read how much."""
        count = manifests.count(self._size, self._chunk_size)
        for part in sorted({*recorded.parts(self._chain), *recorded.parts(self._older)}):
            now, before = self._sums(self._chain, part), self._sums(self._older, part)
            for number in sorted(now.keys() | before.keys()):
                mark = now.get(number, digests.ZEROS)
                old = before.get(number, digests.ZEROS)
                if mark != old and number < count:
                    offset, length = self._stretch(number)
                    yield (number, mark, old), offset, 0 if mark == digests.ZEROS else length

    def _sums(self, chain: Chain, part: int) -> Sums:
        return self._catalog.sums(chain, part) if chain else {}

    def _stretch(self, number: int) -> tuple[int, int]:
        offset = number * self._chunk_size
        return offset, min(self._chunk_size, self._size - offset)

    def _check(self, number: int, mark: bytes, data: bytes) -> None:
        if digests.digest(data) == mark:
            return
        recorded.check_still_there(self._catalog, self._image, self._chain[0])
        offset, _length = self._stretch(number)
        raise manifests.broken(
            self._catalog.pool,
            self._chain[0].backup_id,
            f"the chunk at {offset} is damaged or missing; what was written of it is no backup",
        )

    def _tell(self, offset: int, data: bytes, before: bytes) -> None:
        """Write of a chunk what need be written."""
        found = self._changed(offset, len(data))
        if before == digests.ZEROS:
            found = ((start, stop, True) for start, stop in chunks.stretches(data))
        with memoryview(data) as view:
            for start, stop, exists in found:
                if exists:
                    self._writer.data(offset + start, view[start:stop])
                else:
                    self._writer.zeros(offset + start, stop - start)

    def _changed(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """What of a chunk has changed, as far as that is known."""
        known: list[Extent] = []
        point, older = self._chain[0], self._older[0]
        # Between snapshots of different images, or backwards, there are no extents.
        if older.base_id == point.base_id and older.snap_id < point.snap_id:
            known = list(self._image.extents(offset, length, from_snap=older.snap))
        if not known:
            yield 0, length, True
        for extent in known:
            start = extent.offset - offset
            yield start, start + extent.length, extent.exists
