# SPDX-License-Identifier: Apache-2.0
"""Backups become volumes again: a new one, or one that exists.

What is read is compared with the manifest before it is written. To a volume that still has the
snapshot of a backup of the same chain, only that is written in which it differs from the backup.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rbdstore import changes, chunks, claims, drafts, exceptions, manifests, removal
from rbdstore.catalog import Catalog
from rbdstore.driver import Image, Pool, Progress
from rbdstore.manifests import Manifest, Sums
from rbdstore.settings import Settings

# Of a chunk: its number, and what it reads as.
Marked = tuple[int, bytes]


class Restorer:
    """Restores one backup, which is read as it was when this was made."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        backup_id: str,
        *,
        verify: bool,
        progress: Progress | None,
    ) -> None:
        """:raises BackupNotFound, BrokenBackup:"""
        self._catalog = catalog
        self._settings = settings
        self._chain = catalog.chain(backup_id)
        self._verify = verify
        self._progress = progress

    @property
    def _manifest(self) -> Manifest:
        return self._chain[0]

    def to_new(self, pool: Pool, name: str, order: int, seconds: float) -> None:
        """Make a volume of the backup.

        :raises Duplicate: the name is taken
        :raises BrokenBackup: nothing is left of the volume
        """
        with drafts.Draft(pool, name, self._request(), seconds, effect="make") as draft:
            if draft.adopted:
                return
            draft.check_free()
            self._check_sums()
            with self._base() as base, draft.create(self._manifest.size, order=order) as image:
                image.lock()
                self._fill(base, image, self._all(), is_new=True)
            draft.publish()

    def to_existing(self, pool: Pool, name: str, seconds: float) -> None:
        """Make a volume what it was at the backup; a larger one keeps its size.

        Not atomic: may be repeated.

        :raises InUse: it is open for writing
        :raises BrokenBackup: a chunk is damaged; those before it have been written
        """
        size = self._manifest.size
        self._check_sums()
        with (
            claims.Claim(pool, name, self._request(), seconds, effect="none"),
            self._base() as base,
            pool.open(name) as seen,
        ):
            removal.check_unwatched(seen, 0)
            with pool.open(image_id=seen.id, read_only=False) as image:
                image.lock()
                present = image.size()
                if present < size:
                    image.resize(size)
                self._fill(base, image, self._differing(seen), is_new=False)
                if self._settings.restore_discard_excess and present > size:
                    image.discard(size, present - size)
                    image.flush()

    def _check_sums(self) -> None:
        """See that all of the manifests can be read, before anything is written."""
        for part in parts(self._chain):
            self._catalog.sums(self._chain, part)

    def _request(self) -> list[Any]:
        return ["restore", self._catalog.pool.name, self._manifest.backup_id]

    @contextlib.contextmanager
    def _base(self) -> Iterator[Image]:
        """Have the image that the backup is in open, as it was then."""
        with opened(self._catalog, self._manifest) as image:
            yield image
            check_still_there(self._catalog, image, self._manifest)

    # What is to be written

    def _all(self) -> Iterator[Marked]:
        """All chunks of the backup that are not zeros."""
        for part in parts(self._chain):
            yield from self._catalog.sums(self._chain, part).items()

    def _differing(self, target: Image) -> Iterator[Marked]:
        """Every chunk in which a volume may differ from the backup.

        :param target: opened read-only
        """
        chunk_size = self._manifest.chunk_size
        shared = self._shared(target)
        if shared is None:
            found = changes.everything(target, chunk_size)
            others: Iterable[Iterable[int]] = [(number for number, _mark in self._all())]
        else:
            manifest, snap = shared
            trust = target.fast_diff()
            found = changes.since(target, snap, manifest.size, chunk_size, trust=trust)
            others = self._between(manifest)
        numbers = heapq.merge((change.number for change in found), *others)
        limit = manifests.count(self._manifest.size, chunk_size)
        distinct = (number for number, _same in itertools.groupby(numbers))
        return self._marked(itertools.takewhile(lambda number: number < limit, distinct))

    def _shared(self, target: Image) -> tuple[Manifest, str] | None:
        """The latest backup in the same image that ``target`` has a snapshot of, and that."""
        pool = target.pool
        place = (pool.cluster.fsid, pool.name, pool.namespace, target.id)
        names = {snap.id: snap.name for snap in target.snaps() if not snap.trashed}
        best: tuple[Manifest, str] | None = None
        for manifest in self._catalog.of_base(self._manifest.base_id):
            source = manifest.source
            if (
                source is not None
                and (source.fsid, source.pool, source.namespace, source.image_id) == place
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
        floor = min([self._manifest.size, other.size, *(each.floor for each in both.values())])
        end = max(self._manifest.size, other.size)
        chunk_size = self._manifest.chunk_size
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

    # Data

    def _fill(self, base: Image, image: Image, wanted: Iterable[Marked], *, is_new: bool) -> None:
        size, chunk_size = self._manifest.size, self._manifest.chunk_size
        window = self._settings.transfer_window // 2
        done = 0
        stretches = (stretch(marked, size, chunk_size) for marked in wanted)
        with (
            chunks.Writing(image, window) as writing,
            chunks.Ahead(base, stretches, window) as reads,
        ):
            for (number, mark), data in reads:
                start = number * chunk_size
                if mark == manifests.ZEROS:
                    writing.discard(start, min(chunk_size, size - start))
                elif self._verify and manifests.digest(data, chunk_size) != mark:
                    raise manifests.broken(
                        self._catalog.pool,
                        self._manifest.backup_id,
                        f"the chunk at {start} is damaged or missing; nothing of it was restored",
                    )
                elif is_new:
                    writing.begin_data(start, data)
                else:
                    writing.begin(start, data)
                done = start + chunk_size
                if self._progress is not None:
                    self._progress(min(done, size), size)
            writing.flush()
        if self._progress is not None:
            self._progress(size, size)


def stretch(marked: Marked, size: int, chunk_size: int) -> tuple[Marked, int, int]:
    """What is to be read of a chunk; nothing of one that is zeros."""
    number, mark = marked
    start = number * chunk_size
    return marked, start, 0 if mark == manifests.ZEROS else min(chunk_size, size - start)


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
