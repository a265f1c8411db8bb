# SPDX-License-Identifier: Apache-2.0
"""Streams of ``rbd export-diff`` become backups.

A stream has no checksums: those of the backup are of what was written. That a stream is what once
left is for whoever kept it to know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rbdstore import exceptions, spec
from rbdstore.backup import manifests, points, recorded
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.diffstreams import PIECE_LENGTH, DiffReader, Header, Readable
from rbdstore.backup.manifests import Manifest, Sums
from rbdstore.driver import Progress
from rbdstore.settings import Settings
from rbdstore.transfer.bodies import zeros

Chain = Sequence[Manifest]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream is to become. All is checked.

    :ivar backup_id: None: the one that the stream names
    :ivar volume: whose backup it is; None: that of the one before
    :ivar since: which backup that is; None: the one that the stream names
    """

    backup_id: str | None
    volume: str | None
    since: str | None
    progress: Progress | None


def import_(catalog: Catalog, settings: Settings, stream: Readable, wanted: Wanted) -> Manifest:
    """Make a backup of a stream: a full one, or an increment of one that is there.

    :raises InvalidInput: the stream does not go with what is wanted
    :raises BrokenStream: nothing of it is left then
    :raises BackupNotFound: the one that it is an increment of
    :raises Duplicate: there is one of its id
    """
    reader = DiffReader(stream)
    header = reader.header
    parent = _parent(catalog, header, wanted)
    backup_id, volume = _called(header, wanted, parent)
    shape = points.Shape(
        volume=volume,
        size=header.size,
        chunk_size=parent.chunk_size if parent else 1 << settings.object_order(PIECE_LENGTH),
        parent=parent,
    )
    request = ["import", volume, header.size, header.from_snap, header.to_snap]
    with points.claimed(catalog, backup_id, request, settings) as claim:
        if claim.adopted:
            return catalog.manifest(backup_id)
        with points.made(claim, shape, settings) as point:
            filling = _Filling(catalog, point, shape)
            filling.run(reader, wanted.progress)
            point.measure(filling.touched(), settings.transfer_window)
            return point.publish(imported=header.to_snap or "")


def _called(header: Header, wanted: Wanted, parent: Manifest | None) -> tuple[str, str]:
    """The id of the backup, and whose it is."""
    backup_id = wanted.backup_id or (header.to_snap and spec.backup_of(header.to_snap))
    if not backup_id:
        raise exceptions.InvalidInput(
            "the stream does not say which backup it is: name the one that it is to become"
        )
    volume = wanted.volume or (parent.volume if parent else None)
    if volume is None:
        raise exceptions.InvalidInput("the stream does not say which volume it is of: name it")
    if parent is not None and volume != parent.volume:
        raise exceptions.InvalidInput(
            f"the stream is of changes since {parent.backup_id}, a backup of {parent.volume}, and "
            f"not of {volume}"
        )
    # A stream may name anything.
    backup_id = spec.check_new_name(backup_id)
    spec.check_new_name(spec.backup_base(volume, backup_id))
    return backup_id, volume


def _parent(catalog: Catalog, header: Header, wanted: Wanted) -> Manifest | None:
    """The backup that the stream is an increment of; None: it is of all of a volume."""
    if header.from_snap is None:
        if wanted.since is not None:
            raise exceptions.InvalidInput(
                f"the stream is of all of a volume, and not of changes since {wanted.since}"
            )
        return None
    found = wanted.since or _find(catalog, header.from_snap, wanted.volume)
    parent = catalog.manifest(found)
    if not _is_called(parent, header.from_snap):
        raise exceptions.InvalidInput(
            f"the stream is of changes since {exceptions.shown(header.from_snap)}, which backup "
            f"{found} is not"
        )
    return parent


def _find(catalog: Catalog, snap: str, volume: str | None) -> str:
    """The backup that a stream calls by the name of a snapshot."""
    named = spec.backup_of(snap)
    if named is not None and _is_there_as(catalog, named, snap):
        return named
    for backup_id, entry in catalog.readable().items():
        if volume in (None, entry.volume) and _is_there_as(catalog, backup_id, snap):
            return backup_id
    raise exceptions.BackupNotFound(
        f"the stream is of changes since {exceptions.shown(snap)}: in pool {catalog.pool.name} "
        "there is no backup that was imported as such; name the one that it is"
    )


def _is_there_as(catalog: Catalog, backup_id: str, snap: str) -> bool:
    try:
        manifest = catalog.manifest(backup_id)
    except (exceptions.BackupNotFound, exceptions.BrokenBackup):
        return False
    return snap in (manifest.snap, manifest.imported)


def _is_called(manifest: Manifest, snap: str) -> bool:
    # With its time: there may have been another backup of that id.
    if snap in (manifest.snap, manifest.imported):
        return True
    # What came without a name may have any.
    return manifest.source is None and not manifest.imported


class _Filling:
    """A stream being written to a backup.

    What a stream says costs no more than what it brings, or what its parent has: a stretch of
    zeros may be as long as an image can be.
    """

    def __init__(self, catalog: Catalog, point: points.Point, shape: points.Shape) -> None:
        self._catalog = catalog
        self._writing = point.writing
        self._size = shape.size
        self._chunk_size = shape.chunk_size
        self._chain: Chain = ()
        # Of the chunks that may read otherwise than before, from which to before which.
        self._touched: list[tuple[int, int]] = []
        self._end = 0
        self._part: tuple[int, Sums] | None = None
        self._parts: Sequence[int] = ()
        if shape.parent is not None:
            self._chain = catalog.chain(shape.parent.backup_id)
            self._parts = recorded.parts(self._chain)
            if self._size < shape.parent.size and self._size % self._chunk_size:
                # It has been cut off.
                last = self._size // self._chunk_size
                self._touch(last, last + 1)

    def run(self, reader: DiffReader, progress: Progress | None) -> None:
        for change in reader:
            if change.offset < self._end:
                # What was written before may be under this, which is to win.
                self._writing.finish()
            if change.data is None or _is_zeros(change.data):
                self._discard(change.offset, change.length)
            else:
                self._writing.begin(change.offset, change.data)
                self._touch(*self._numbers(change.offset, change.length))
            self._end = max(self._end, change.offset + change.length)
            if progress is not None:
                progress(self._end, self._size)

    def touched(self) -> Iterator[int]:
        """The numbers of the chunks that may read otherwise than before, in order."""
        following = 0
        for first, stop in sorted(self._touched):
            yield from range(max(first, following), stop)
            following = max(following, stop)

    def _touch(self, first: int, stop: int) -> None:
        if self._touched and self._touched[-1][0] <= first <= self._touched[-1][1]:
            first, last = self._touched.pop()
            stop = max(stop, last)
        self._touched.append((first, stop))

    def _numbers(self, offset: int, length: int) -> tuple[int, int]:
        return offset // self._chunk_size, -(-(offset + length) // self._chunk_size)

    def _discard(self, offset: int, length: int) -> None:
        for number in sorted({*self._had(offset, length), *self._written(offset, length)}):
            start = max(offset, number * self._chunk_size)
            stop = min(offset + length, (number + 1) * self._chunk_size)
            self._writing.discard(start, stop - start)
            self._touch(number, number + 1)

    def _had(self, offset: int, length: int) -> Iterator[int]:
        """The chunks of a stretch that the parent has data in."""
        first, stop = self._numbers(offset, length)
        for part in self._parts:
            start = part * manifests.PART_CHUNKS
            if start < stop and first < start + manifests.PART_CHUNKS:
                yield from (number for number in self._sums(part) if first <= number < stop)

    def _written(self, offset: int, length: int) -> Iterator[int]:
        """The chunks of a stretch that the stream has brought data for."""
        if offset < self._end:
            first, stop = self._numbers(offset, length)
            for start, end in self._touched:
                yield from range(max(start, first), min(end, stop))

    def _sums(self, part: int) -> Sums:
        # Streams are in order, but for those of strangers.
        if self._part is None or self._part[0] != part:
            self._part = part, self._catalog.sums(self._chain, part)
        return self._part[1]


def _is_zeros(data: bytes | bytearray) -> bool:
    return data == zeros(PIECE_LENGTH)[: len(data)]
