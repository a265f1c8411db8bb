# SPDX-License-Identifier: Apache-2.0
"""A backup being made, whoever gives it its data: a volume, or a stream.

A full one gets an image of its own, which has a draft's name until it is whole; an increment is
written to the image of the backup before it, as that was then. A snapshot of the image keeps it,
the manifest says what it reads as, and the entry in the catalog, last of all, makes it a backup.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import Any

from rbdstore import exceptions, leases, spec
from rbdstore.backup import chunks, digests, manifests, withdrawing
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.manifests import Manifest, Source
from rbdstore.closing import Closing
from rbdstore.completions import Completion
from rbdstore.driver import Image, Pool, ReservedSnap, find_snap
from rbdstore.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a backup is to be.

    :ivar volume: whose it is
    :ivar size: in bytes
    :ivar chunk_size: how large the objects of its image are
    :ivar parent: what it is an increment of; None: it is a full one
    :ivar source: the snapshot of a volume that it is made of; None: it comes from a stream
    :ivar reason: why it is a full one though an increment was wanted
    """

    volume: str
    size: int
    chunk_size: int
    parent: Manifest | None = None
    source: Source | None = None
    reason: str = ""


@contextlib.contextmanager
def claimed(
    catalog: Catalog, backup_id: str, request: Iterable[Any], settings: Settings
) -> Iterator[withdrawing.Claim]:
    """Have the right to make a backup. Where the block raises, nothing is left of it.

    If the claim is ``adopted``, the backup was made by one who could not say so any more.

    :raises Duplicate: there is one of that id, or somebody is making it right now
    """
    claim = withdrawing.Claim(
        catalog, backup_id, request, settings.lease_seconds, effect="make", wait=leases.LETTING_GO
    )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(claim)
        except exceptions.InUse as error:
            raise exceptions.Duplicate(str(error)) from error
        if not claim.adopted and catalog.has(backup_id):
            raise exceptions.Duplicate(
                f"there is a backup {backup_id} in pool {catalog.pool.name}"
            )
        yield claim


class Reserving(Closing):
    """The snapshot that will be a backup, being reserved. Whoever closes it waits for that."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._completion: Completion[ReservedSnap | None] | None = None

    def begin(self) -> None:
        """Begin it, if that has not been."""
        if self._completion is None:
            self._completion = self._pool.reserve_snap()

    def result(self) -> ReservedSnap | None:
        """What has been reserved, if anything."""
        self.begin()
        assert self._completion is not None  # nosec B101: for mypy
        return self._completion.result()

    def close(self) -> None:
        if self._completion is not None:
            self._completion.wait()


class Point:
    """A backup that is being written.

    :ivar image: open for writing, of the right size; a full one's is of zeros, an increment's what
        its parent is
    :ivar writing: writes to it that go on meanwhile
    :ivar sums: to be told the digest of each chunk that is written, in order (:meth:`measure`)
    """

    def __init__(
        self,
        claim: withdrawing.Claim,
        shape: Shape,
        image: Image,
        writing: chunks.Writing,
        lease: leases.Lease,
        reserving: Reserving,
    ) -> None:
        """``lease`` is the one on the image."""
        self._reserving = reserving
        self._claim = claim
        self._shape = shape
        self._lease = lease
        self._begun = time.time()
        self.image = image
        self.writing = writing
        self.sums = manifests.Writer(claim.pool, claim.backup_id)

    def measure(self, numbers: Iterable[int], window: int) -> None:
        """Read back the chunks that were written, each once and in order, for their digests."""
        self.writing.flush()
        size, chunk_size = self._shape.size, self._shape.chunk_size
        wanted = (
            (number, number * chunk_size, min(chunk_size, size - number * chunk_size))
            for number in numbers
        )
        with chunks.Ahead(self.image, wanted, window) as reads:
            for number, data in reads:
                self.add(number, digests.digest(data))

    def add(self, number: int, mark: bytes) -> None:
        """Note what a chunk reads as now."""
        if mark != digests.ZEROS or self._shape.parent is not None:
            self.sums.add(number, mark)

    def publish(self, *, imported: str = "") -> Manifest:
        """Keep what has been written, and have it be a backup.

        :param imported: how the stream called it that it came from
        :raises ClusterError: also if not all of it could be written
        """
        claim, shape, parent = self._claim, self._shape, self._shape.parent
        self.writing.flush()
        self._check_held()
        self.sums.finish()
        finished = time.time()
        snap = spec.backup_snap(claim.backup_id, finished)
        self.image.create_reserved_snap(snap, self._reserving.result())
        base = self.image.name
        if parent is None:
            base = spec.backup_base(shape.volume, claim.backup_id)
            # Where stock drivers look, nothing that is not whole has such a name.
            claim.pool.rename(self.image.name, base)
            if claim.pool.id_of(base) != self.image.id:
                raise exceptions.Duplicate("the name is taken", spec=claim.pool.spec(base))
        manifest = Manifest(
            backup_id=claim.backup_id,
            volume=shape.volume,
            source=shape.source,
            base=base,
            base_id=self.image.id,
            snap=snap,
            snap_id=find_snap(self.image, snap).id,
            parent=parent.backup_id if parent else None,
            size=shape.size,
            floor=min(parent.size, shape.size) if parent else 0,
            chunk_size=shape.chunk_size,
            stored=self.sums.chunks * shape.chunk_size,
            begun=self._begun,
            finished=finished,
            reason=shape.reason,
            imported=imported,
            parts=self.sums.parts,
        )
        manifests.write(claim.pool, manifest)
        self._check_held()
        claim.catalog.publish(manifest)
        return manifest

    def _check_held(self) -> None:
        """:raises LeaseLost: this process was held up for too long: what it has made, or the
        image that it is in, may be somebody else's now
        """
        self._claim.note()
        self._lease.renew()


@contextlib.contextmanager
def made(
    claim: withdrawing.Claim,
    shape: Shape,
    settings: Settings,
    reserving: Reserving | None = None,
) -> Iterator[Point]:
    """Begin a backup, whose id is claimed. It is to be published in the block.

    :param reserving: its snapshot, if that has begun; else it is while the backup is written
    :raises BackupNotFound: the parent has been deleted meanwhile
    """
    # What is left of an earlier one of this id would be taken for this one's.
    manifests.remove(claim.pool, claim.backup_id)
    opened = _full(claim, shape) if shape.parent is None else _increment(claim, shape)
    with contextlib.ExitStack() as stack:
        if reserving is None:
            reserving = stack.enter_context(Reserving(claim.pool))
        reserving.begin()
        image, lease = stack.enter_context(opened)
        if image.size() != shape.size:
            image.resize(shape.size, allow_shrink=True)
        with chunks.Writing(image, settings.transfer_window) as writing:
            yield Point(claim, shape, image, writing, lease, reserving)


@contextlib.contextmanager
def _full(claim: withdrawing.Claim, shape: Shape) -> Iterator[tuple[Image, leases.Lease]]:
    base = spec.backup_base(shape.volume, claim.backup_id)
    if claim.pool.id_of(base) is not None:
        raise exceptions.Duplicate(
            "increments of a deleted backup of this id are in there",
            spec=claim.pool.spec(base),
        )
    draft = spec.draft_name(base)
    claim.note_draft(draft)
    # By the name that it is to get it is known whether somebody is at work on a draft.
    with leases.held(claim.pool, base, claim.seconds) as lease:
        claim.pool.clear_debris(base)
        claim.pool.create(draft, shape.size, order=shape.chunk_size.bit_length() - 1)
        with claim.pool.open(draft, read_only=False) as image:
            claim.note_base(base, image.id, shape.source)
            yield image, lease


@contextlib.contextmanager
def _increment(claim: withdrawing.Claim, shape: Shape) -> Iterator[tuple[Image, leases.Lease]]:
    parent = shape.parent
    assert parent is not None  # nosec B101
    claim.note_base(parent.base, parent.base_id, shape.source)
    with leases.held(claim.pool, spec.chain_lease(parent.base_id), claim.seconds) as lease:
        now = claim.catalog.manifest(parent.backup_id)
        with claim.pool.open(image_id=now.base_id, read_only=False) as image:
            if all(snap.id != now.snap_id for snap in image.snaps()):
                raise manifests.broken(claim.pool, now.backup_id, "its snapshot is missing")
            withdrawing.go_back(image, now.snap, claim.seconds)
            yield image, lease
