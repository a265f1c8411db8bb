# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes: full ones, and increments of what the volume still has a snapshot of.

An increment begins at the latest snapshot that the volume has of a backup which still exists. What
has changed since is read from the volume, in whole blocks, and what these were before from the
backup, for the digests of their chunks; written is no more than what has changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from oslo_log import log

from rbdstore import exceptions
from rbdstore.backup import (
    changes,
    chunks,
    digests,
    manifests,
    points,
    source_snaps,
    stretches,
)
from rbdstore.backup.catalog import Backup, Catalog, describe
from rbdstore.backup.changes import Change
from rbdstore.backup.manifests import Manifest
from rbdstore.backup.stretches import Stretch
from rbdstore.driver import Image, Pool, Progress, Snap, find_snap
from rbdstore.settings import Settings

LOG = log.getLogger(__name__)

Incremental = Literal["auto"] | bool


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be backed up, and how. All is checked.

    :ivar snapshot: a user's, of the volume; None: one is made
    :ivar incremental: where that can be
    :ivar reason: why it is not to be, though it was asked for
    """

    volume: str
    snapshot: str | None
    incremental: bool
    progress: Progress | None
    reason: str = ""


class _BrokenChain(exceptions.BrokenBackup):
    """What an increment would be of cannot be read."""


def create(
    catalog: Catalog, settings: Settings, pool: Pool, backup_id: str, wanted: Wanted
) -> Backup:
    """Back up a volume of ``pool``.

    :raises Duplicate: there is such a backup, or somebody is making it right now
    :raises Vanished: the volume, or its snapshot, was deleted meanwhile
    """
    try:
        return _create(catalog, settings, pool, backup_id, wanted)
    except _BrokenChain as error:
        reason = f"the backup before it is damaged: {error}"
        full = dataclasses.replace(wanted, incremental=False, reason=reason)
        return _create(catalog, settings, pool, backup_id, full)


def _create(
    catalog: Catalog, settings: Settings, pool: Pool, backup_id: str, wanted: Wanted
) -> Backup:
    request = ["create", str(pool.spec(wanted.volume, wanted.snapshot)), wanted.incremental]
    with points.claimed(catalog, backup_id, request, settings) as claim:
        if claim.adopted:
            return catalog.show(backup_id)
        with contextlib.ExitStack() as stack:
            reserving = stack.enter_context(points.Reserving(catalog.pool))
            with pool.open(wanted.volume) as image:
                source_snaps.tidy(image, catalog, settings.lease_seconds)
                snap = stack.enter_context(
                    _snapshot(catalog, image, backup_id, wanted, settings, reserving)
                )
                image_id = image.id
            # Anew, for the snapshot.
            image = stack.enter_context(pool.open(image_id=image_id))
            source = source_snaps.source(image, snap, users=wanted.snapshot is not None)
            image.set_snap(snap.id)
            while True:
                # Of those that there were before the snapshot was made.
                chain: Sequence[Manifest] = ()
                reason = wanted.reason
                if wanted.incremental:
                    chain, reason = _chain(catalog, image, snap, settings)
                parent = chain[0] if chain else None
                shape = points.Shape(
                    wanted.volume, snap.size, _chunk_size(image, parent), parent, source, reason
                )
                begun = stack.enter_context(contextlib.ExitStack())
                with contextlib.suppress(exceptions.BackupNotFound):
                    point = begun.enter_context(points.made(claim, shape, settings, reserving))
                    # From here on nobody removes what it begins at.
                    if parent is None or image.still_has(_snap_id(parent)):
                        break
                # It was deleted meanwhile, or its snapshot was; there may be another.
                begun.close()
            before = _Before(catalog, chain)
            _copy(image, shape, point, before, settings, wanted.progress)
            _check_still_there(image, snap)
            manifest = point.publish()
    _limit_snaps(catalog, settings, pool, image_id)
    return describe(catalog.pool, manifest)


@contextlib.contextmanager
def _snapshot(
    catalog: Catalog,
    image: Image,
    backup_id: str,
    wanted: Wanted,
    settings: Settings,
    reserving: points.Reserving,
) -> Iterator[Snap]:
    if wanted.snapshot is not None:
        yield find_snap(image, wanted.snapshot)
        return
    name = source_snaps.prefix(catalog.pool) + backup_id
    # Where both are asked for at once the monitors are waited for once.
    with source_snaps.made(
        image.pool, image, name, settings.lease_seconds, about_to=reserving.begin
    ) as snap:
        yield snap


# What an increment begins at


def _chain(
    catalog: Catalog, image: Image, snap: Snap, settings: Settings
) -> tuple[Sequence[Manifest], str]:
    """The latest backup that a snapshot is left of, older than ``snap``; or why there is none.

    With what that is an increment of, and so on.
    """
    pool = image.pool
    here = {found.id for found in image.snaps() if not found.trashed and found.id < snap.id}
    place = source_snaps.place(image)
    entries = catalog.readable().items()
    backups = {key: entry.snap_id for key, entry in entries if entry.source == place}
    if not backups:
        return (), "it is the first backup of this volume"
    for backup_id in sorted(backups, key=backups.__getitem__, reverse=True):
        snap_id = backups[backup_id]
        # What the handle knows may be over.
        if snap_id not in here or not image.still_has(snap_id):
            continue
        if chain := _whole(catalog, backup_id):
            break
    else:
        return (), "the volume has none of the snapshots that backups were made of"
    try:
        if settings.backup_trust_fast_diff and not _can_be_trusted(pool, image, snap, chain[0]):
            return (), "the volume's object map is flagged invalid"
    except exceptions.SnapshotNotFound:
        # Removed meanwhile; unless it is ``snap``, of which that is seen in the end.
        if image.still_has(_snap_id(chain[0])):
            raise
        return _chain(catalog, image, snap, settings)
    return chain, ""


def _whole(catalog: Catalog, backup_id: str) -> Sequence[Manifest]:
    """The chain of a backup, if that and its snapshot are there."""
    try:
        chain = catalog.chain(backup_id)
        with catalog.pool.open(image_id=chain[0].base_id) as base:
            if any(snap.id == chain[0].snap_id for snap in base.snaps()):
                return chain
    except (exceptions.NotFound, exceptions.BrokenBackup) as error:
        LOG.warning("nothing can be an increment of backup %s: %s", backup_id, error)
    return ()


def _snap_id(manifest: Manifest) -> int:
    assert manifest.source is not None  # nosec B101: for mypy; those without are left out
    return manifest.source.snap_id


def _can_be_trusted(pool: Pool, image: Image, snap: Snap, parent: Manifest) -> bool:
    """Whether the object maps of both snapshots are right, as far as there are any."""
    if "fast-diff" not in image.features():
        return True
    with pool.open(image_id=image.id) as looked_at:
        for snap_id in (_snap_id(parent), snap.id):
            looked_at.set_snap(snap_id)
            if not looked_at.fast_diff():
                return False
    return True


def _chunk_size(image: Image, parent: Manifest | None) -> int:
    return parent.chunk_size if parent else image.object_size


# Data


def _copy(
    image: Image,
    shape: points.Shape,
    point: points.Point,
    before: _Before,
    settings: Settings,
    progress: Progress | None,
) -> None:
    size, chunk_size = shape.size, shape.chunk_size
    total = 0
    if progress is not None:
        # Looked at twice rather than kept: there may be millions.
        total = sum(
            min(chunk_size, size - change.number * chunk_size)
            for change in _changes(image, shape, settings)
            if change.exists
        )
    done = 0
    # Of a diff that is not believed, what it has missed in a chunk is to be found by verifying.
    whole = not settings.backup_trust_fast_diff
    wanted, again = itertools.tee(
        stretch
        for change in _changes(image, shape, settings)
        for stretch in stretches.of(
            change, before.mark(change.number), size, chunk_size, whole=whole
        )
    )
    now = ((each, each.offset, each.length) for each in wanted)
    then = ((each, each.offset, _length_before(each)) for each in again)
    window = settings.transfer_window
    with chunks.Ahead(image, now, window) as reads, chunks.Ahead(point.image, then, window) as old:
        mark = digests.ZEROS
        parts: list[tuple[Stretch, bytes]] = []
        for (stretch, data), (_, was) in zip(reads, old, strict=True):
            # With that of each stretch one comes closer to that of the chunk.
            mark = stretch.digest(mark if parts else stretch.mark, was, data)
            parts.append((stretch, data))
            if not stretch.is_last:
                continue
            change = stretch.change
            _write(point, shape, change.number, parts, mark)
            point.add(change.number, mark)
            parts = []
            if progress is not None and change.exists:
                done += min(chunk_size, size - change.number * chunk_size)
                progress(done, max(total, done))


def _length_before(stretch: Stretch) -> int:
    """How much has to be read of what was there before."""
    return 0 if stretch.is_whole or stretch.was_zeros else stretch.length


def _changes(image: Image, shape: points.Shape, settings: Settings) -> Iterable[Change]:
    trust = settings.backup_trust_fast_diff
    if shape.parent is None:
        return changes.everything(image, shape.chunk_size, trust=trust)
    return changes.since(
        image,
        _snap_id(shape.parent),
        shape.parent.size,
        shape.chunk_size,
        trust=trust and image.fast_diff(),
        exact=trust,
    )


class _Before:
    """What chunks read as in the parent, asked for in order; of a full backup they were zeros."""

    def __init__(self, catalog: Catalog, chain: Sequence[Manifest]) -> None:
        """``chain`` is that of the parent."""
        self._catalog = catalog
        self._chain = chain
        self._part = -1
        self._sums: manifests.Sums = {}

    def mark(self, number: int) -> bytes:
        part = number // manifests.PART_CHUNKS
        if self._chain and part != self._part:
            try:
                self._part, self._sums = part, self._catalog.sums(self._chain, part)
            except exceptions.BrokenBackup as error:
                raise _BrokenChain(str(error)) from error
        return self._sums.get(number, digests.ZEROS)


def _write(
    point: points.Point,
    shape: points.Shape,
    number: int,
    parts: Iterable[tuple[Stretch, bytes]],
    mark: bytes,
) -> None:
    """Write of a chunk, whose digest is ``mark`` now, what has changed."""
    start = number * shape.chunk_size
    if mark == digests.ZEROS:
        if shape.parent is not None:
            point.writing.discard(start, shape.chunk_size)
        return
    for stretch, data in parts:
        if shape.parent is None:
            point.writing.begin_data(start, data)
        elif not stretch.pieces:
            point.writing.begin(start, data)
        for piece in stretch.pieces:
            first = piece.offset - stretch.offset
            if piece.exists:
                point.writing.begin(piece.offset, data[first : first + piece.length])
            else:
                point.writing.discard(piece.offset, piece.length)


def _limit_snaps(catalog: Catalog, settings: Settings, pool: Pool, image_id: str) -> None:
    """Have the volume keep no more snapshots than it may. The backup is there in any case."""
    keep = settings.backup_max_snapshots
    try:
        if keep:
            with pool.open(image_id=image_id) as image:
                source_snaps.limit(image, catalog, keep, settings.lease_seconds)
    except exceptions.RbdStoreError as error:
        LOG.warning("old snapshots are left until the volume's next backup: %s", error)


def _check_still_there(image: Image, snap: Snap) -> None:
    """librbd gives zeros for what is deleted while it is read."""
    try:
        there = image.still_has(snap.id)
    except exceptions.ImageNotFound:
        there = False
    if not there:
        raise exceptions.Vanished(
            "it was deleted while it was backed up", spec=image.pool.spec(image.name, snap.name)
        )
