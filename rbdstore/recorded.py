# SPDX-License-Identifier: Apache-2.0
"""A backup that has a manifest: what it reads as, where that is, and where a volume differs."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence

from rbdstore import changes, exceptions, manifests, source_snaps
from rbdstore.catalog import Catalog
from rbdstore.driver import Image
from rbdstore.manifests import Manifest, Sums

Marked = tuple[int, bytes]
"""Of a chunk: its number, and the digest of what it reads as; empty: that is not known."""


class Recorded:
    """A backup, as it was when this was made; to be restored, as ``restoring`` wants it."""

    def __init__(self, catalog: Catalog, backup_id: str) -> None:
        """:raises BackupNotFound, BrokenBackup:"""
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
            yield image
            check_still_there(self._catalog, image, self._manifest)

    def chunks(self) -> Iterator[Marked]:
        for part in parts(self._chain):
            yield from self._catalog.sums(self._chain, part).items()

    def differing(self, target: Image) -> Iterator[Marked]:
        chunk_size = self.chunk_size
        shared = self._shared(target)
        if shared is None:
            found = changes.everything(target, chunk_size)
            others: Iterable[Iterable[int]] = [(number for number, _mark in self.chunks())]
        else:
            manifest, snap = shared
            trust = target.fast_diff()
            found = changes.since(target, snap, manifest.size, chunk_size, trust=trust)
            others = self._between(manifest)
        numbers = heapq.merge((change.number for change in found), *others)
        limit = manifests.count(self.size, chunk_size)
        distinct = (number for number, _same in itertools.groupby(numbers))
        return self._marked(itertools.takewhile(lambda number: number < limit, distinct))

    def _shared(self, target: Image) -> tuple[Manifest, str] | None:
        """The latest backup in the same image that ``target`` has a snapshot of, and that."""
        place = source_snaps.place(target)
        names = {snap.id: snap.name for snap in target.snaps() if not snap.trashed}
        best: tuple[Manifest, str] | None = None
        for manifest in self._catalog.of_base(self._manifest.base_id):
            source = manifest.source
            if (
                source is not None
                and source.place == place
                and source.snap_id in names
                and (best is None or manifest.snap_id > best[0].snap_id)
            ):
                best = manifest, names[source.snap_id]
        return best

    def _between(self, other: Manifest) -> list[Iterable[int]]:
        """The chunks in which another backup of the chain may differ from this one, in order."""
        chain = self._catalog.chain(other.backup_id)
        both = {each.backup_id: each for each in (*self._chain, *chain)}
        for each in self._chain:
            if each.backup_id in {common.backup_id for common in chain}:
                del both[each.backup_id]
        floor = min([self.size, other.size, *(each.floor for each in both.values())])
        end = max(self.size, other.size)
        chunk_size = self.chunk_size
        beyond = range(floor // chunk_size, manifests.count(end, chunk_size))
        return [*(self._listed(each) for each in both.values()), beyond if floor < end else ()]

    def _listed(self, manifest: Manifest) -> Iterator[int]:
        for part in sorted(manifest.parts):
            yield from sorted(manifests.read_part(self._catalog.pool, manifest, part))

    def _marked(self, numbers: Iterable[int]) -> Iterator[Marked]:
        part, sums = -1, Sums()
        for number in numbers:
            if number // manifests.PART_CHUNKS != part:
                part = number // manifests.PART_CHUNKS
                sums = self._catalog.sums(self._chain, part)
            yield number, sums.get(number, manifests.ZEROS)


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
