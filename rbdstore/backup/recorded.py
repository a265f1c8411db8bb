# SPDX-License-Identifier: Apache-2.0
"""A backup that has a manifest: what it reads as, where that is, and where a volume differs."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence

from rbdstore import exceptions
from rbdstore.backup import changes, digests, manifests, source_snaps
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.manifests import Manifest, Sums
from rbdstore.driver import Image

Marked = tuple[int, bytes]
"""Of a chunk: its number, and the digest of what it reads as; empty: that is not known."""


class Recorded:
    """A backup, as it was when this was made; to be restored, as ``restoring`` wants it."""

    def __init__(self, catalog: Catalog, backup_id: str, *, trust: bool = True) -> None:
        """``trust`` is whether the object maps of volumes are believed.

        :raises BackupNotFound, BrokenBackup:
        """
        self._trust = trust
        self._catalog = catalog
        self._chain = catalog.chain(backup_id)
        self._manifest = self._chain[0]
        self.backup_id = backup_id
        self.pool = catalog.pool
        self.size = self._manifest.size
        self.chunk_size = self._manifest.chunk_size

    def check(self) -> None:
        for part in parts(self._chain):
            self._catalog.sums(self._chain, part)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Image]:
        with opened(self._catalog, self._manifest) as image:
            try:
                yield image
            except exceptions.BrokenBackup:
                # What is deleted meanwhile looks as if it were damaged.
                check_still_there(self._catalog, image, self._manifest)
                raise
            check_still_there(self._catalog, image, self._manifest)

    def chunks(self) -> Iterator[Marked]:
        for part in parts(self._chain):
            yield from self._catalog.sums(self._chain, part).items()

    def differing(self, target: Image) -> Iterator[Marked]:
        limit = manifests.count(self.size, self.chunk_size)
        shared = self._shared(target)
        if shared is None:
            found = changes.everything(target, self.chunk_size, trust=self._trust)
            others: Iterable[int] = (number for number, _mark in self.chunks())
        else:
            manifest, others = shared
            source = manifest.source
            assert source is not None  # nosec B101: for mypy
            trust = self._trust and target.fast_diff()
            found = changes.since(
                target, source.snap_id, manifest.size, self.chunk_size, trust=trust
            )
        numbers = heapq.merge((change.number for change in found), others)
        distinct = (number for number, _same in itertools.groupby(numbers) if number < limit)
        return self._marked(distinct)

    def _shared(self, target: Image) -> tuple[Manifest, Iterable[int]] | None:
        """The latest backup in the same image that ``target`` has a snapshot of.

        With the chunks in which that one may differ from this one.
        """
        place = source_snaps.place(target)
        there = {snap.id for snap in target.snaps() if not snap.trashed}
        candidates = [
            manifest
            for manifest in self._catalog.usable_of_base(self._manifest.base_id)
            if manifest.source and manifest.source.place == place
            if manifest.source.snap_id in there
        ]
        for manifest in sorted(candidates, key=lambda each: each.snap_id, reverse=True):
            # Damage to another one is no reason not to restore this one.
            with contextlib.suppress(exceptions.BackupNotFound, exceptions.BrokenBackup):
                return manifest, self._between(manifest)
        return None

    def _between(self, other: Manifest) -> Iterable[int]:
        """The chunks in which another backup of the chain may differ from this one, in order."""
        limit = manifests.count(self.size, self.chunk_size)
        listed = bytearray(limit)
        chain = self._catalog.chain(other.backup_id)
        both = {each.backup_id: each for each in (*self._chain, *chain)}
        for each in self._chain:
            if each.backup_id in {common.backup_id for common in chain}:
                del both[each.backup_id]
        for each in both.values():
            for part in each.parts:
                for number in manifests.read_part(self._catalog.pool, each, part):
                    if number < limit:
                        listed[number] = True
        floor = min([self.size, other.size, *(each.floor for each in both.values())])
        if floor < max(self.size, other.size):
            first = min(floor // self.chunk_size, limit)
            listed[first:] = b"\1" * (limit - first)
        return itertools.compress(range(limit), listed)

    def _marked(self, numbers: Iterable[int]) -> Iterator[Marked]:
        part, sums = -1, Sums()
        for number in numbers:
            if number // manifests.PART_CHUNKS != part:
                part = number // manifests.PART_CHUNKS
                sums = self._catalog.sums(self._chain, part)
            yield number, sums.get(number, digests.ZEROS)


def parts(chain: Sequence[Manifest]) -> Sequence[int]:
    """The parts that there are of any of the manifests."""
    return sorted(set().union(*(manifest.parts for manifest in chain)))


@contextlib.contextmanager
def opened(catalog: Catalog, manifest: Manifest) -> Iterator[Image]:
    """Have the image open that a backup is in, as it was then.

    :raises BrokenBackup: the image is missing, or its snapshot is, or that has another size
    """
    text = ""
    with contextlib.ExitStack() as stack:
        try:
            image = stack.enter_context(catalog.pool.open(image_id=manifest.base_id))
            image.set_snap(manifest.snap_id)
            if image.size() != manifest.size:
                text = f"{manifest.base}@{manifest.snap} has {image.size()} bytes"
        except exceptions.SnapshotNotFound:
            text = f"the snapshot {manifest.snap} of {manifest.base} is missing"
        except exceptions.ImageNotFound:
            text = f"the image {manifest.base} is missing"
        if text:
            # It may have been deleted in this very moment.
            catalog.manifest(manifest.backup_id)
            raise manifests.broken(catalog.pool, manifest.backup_id, text)
        yield image


def check_still_there(catalog: Catalog, image: Image, manifest: Manifest) -> None:
    """:raises Vanished: the backup was deleted while it was read, so it read as zeros"""
    try:
        there = image.still_has(manifest.snap_id)
    except exceptions.ImageNotFound:
        there = False
    if not there:
        raise exceptions.Vanished(
            f"backup {manifest.backup_id} in pool {catalog.pool.name} was deleted while it was "
            "read; what was read cannot be trusted"
        )
