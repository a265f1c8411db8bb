# SPDX-License-Identifier: Apache-2.0
"""The catalog: which backups there are in a pool, and how they hang together.

One object has an entry for each backup. A backup exists if, and only if, it is in there: making
one ends with that entry, deleting one begins with its removal. The image and the manifest of a
backup that is not in there are leftovers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, Self

from oslo_log import log

from rbdstore import exceptions, leases, parallel, spec
from rbdstore.backup import digests, manifests, sealed
from rbdstore.backup.manifests import Manifest, Sums
from rbdstore.driver import Pool

LOG = log.getLogger(__name__)

# More increments than images can have snapshots.
_MOST_INCREMENTS: Final = 100_000


@dataclasses.dataclass(frozen=True, slots=True)
class Backup:
    """A backup, as it was when it was looked at.

    :ivar size: the volume's then, in bytes
    :ivar parent: the backup that this one is an increment of, if it is one
    :ivar stored: how many bytes were written for it, and for those deleted since that it needs;
        None: not known
    :ivar created: when it was finished, in seconds since 1970
    :ivar base: the image it is in, and the snapshot of that
    :ivar source: the volume, with the snapshot if a user's was given; None: it was imported, or
        is of a file
    :ivar fsid: of the cluster that the volume was in
    :ivar reason: why it is a full one though an increment was wanted
    :ivar origin: whose format it has
    """

    id: str
    volume: str
    size: int
    kind: Literal["full", "incremental"]
    parent: str | None
    stored: int | None
    created: float
    base: spec.ImageSpec
    source: spec.ImageSpec | None
    fsid: str
    reason: str = ""
    origin: Literal["rbdstore", "cinder"] = "rbdstore"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What the catalog has of a backup: whose it is, and the id of the image that it is in.

    :ivar source: the image that it was made of
        (:attr:`rbdstore.backup.manifests.Source.place`), and ``snap_id`` the snapshot of that;
        empty and 0: it was imported
    """

    volume: str
    base_id: str
    source: str = ""
    snap_id: int = 0

    def to_bytes(self) -> bytes:
        return sealed.seal(dataclasses.asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """:raises ValueError: it is damaged"""
        try:
            return cls(**sealed.unseal(data))
        except TypeError as error:
            raise ValueError(f"it is no entry: {error}") from error


def _entry(manifest: Manifest) -> Entry:
    source = manifest.source
    if source is None:
        return Entry(manifest.volume, manifest.base_id)
    return Entry(manifest.volume, manifest.base_id, source.place, source.snap_id)


class Catalog:
    """The backups in one pool."""

    def __init__(self, pool: Pool, seconds: float) -> None:
        """``seconds`` is how long a lease outlives this process."""
        self.pool = pool
        self._seconds = seconds
        self._cookie = uuid.uuid4().hex

    # Entries

    def entries(self) -> dict[str, Entry]:
        """All backups, by their ids: for who must not miss one.

        :raises BrokenBackup: an entry is damaged
        """
        found = self.pool.get_keys(spec.BACKUP_INDEX)
        return {backup_id: self._read(backup_id, data) for backup_id, data in found.items()}

    def readable(self) -> dict[str, Entry]:
        """All backups but those whose entries are damaged, by their ids."""
        entries = {}
        for backup_id, data in self.pool.get_keys(spec.BACKUP_INDEX).items():
            try:
                entries[backup_id] = self._read(backup_id, data)
            except exceptions.BrokenBackup as error:
                LOG.warning("%s", error)
        return entries

    def ids(self) -> set[str]:
        """Those of all backups, be their entries damaged or not."""
        return set(self.pool.get_keys(spec.BACKUP_INDEX))

    def has(self, backup_id: str) -> bool:
        """Whether there is such a backup, be its entry damaged or not."""
        return self.pool.get_key(spec.BACKUP_INDEX, backup_id) is not None

    def entry(self, backup_id: str) -> Entry | None:
        """None: there is no such backup."""
        data = self.pool.get_key(spec.BACKUP_INDEX, backup_id)
        return None if data is None else self._read(backup_id, data)

    def publish(self, manifest: Manifest) -> None:
        """Have a backup be there, all of which has been written."""
        data = _entry(manifest).to_bytes()
        with self._changing():
            self.pool.set_keys(spec.BACKUP_INDEX, {manifest.backup_id: data})

    def withdraw(self, backup_id: str) -> None:
        """Have a backup be no more."""
        with self._changing():
            self.pool.remove_keys(spec.BACKUP_INDEX, [backup_id])

    def tidy(self) -> bool:
        """Remove the catalog if there is nothing in it; whether it is gone."""
        if self.pool.get_keys(spec.BACKUP_INDEX):
            return False
        with self._changing():
            if not self.pool.lease(spec.BACKUP_INDEX, self._cookie, self._seconds, "rbdstore"):
                # Of one who was killed here; it runs out.
                return False
            # Who is held up here for so long that somebody else may have changed it has lost
            # the lease.
            if self.pool.get_keys(spec.BACKUP_INDEX):
                return False
            self.pool.remove_leased(spec.BACKUP_INDEX, self._cookie)
            return True

    def _changing(self) -> contextlib.AbstractContextManager[leases.Lease]:
        """Keep others from removing it as an empty one."""
        return leases.held(self.pool, spec.CATALOG_LEASE, self._seconds)

    def _read(self, backup_id: str, data: bytes) -> Entry:
        try:
            return Entry.from_bytes(data)
        except (ValueError, RecursionError) as error:
            damaged = manifests.broken(
                self.pool, backup_id, f"its entry in {spec.BACKUP_INDEX} cannot be used: {error}"
            )
        try:
            # Which has all that an entry has.
            manifest = manifests.read(self.pool, backup_id)
        except exceptions.BrokenBackup:
            raise damaged from None
        LOG.warning("%s; its manifest is used", damaged)
        return _entry(manifest)

    # Manifests

    def manifest(self, backup_id: str) -> Manifest:
        """The head of a backup's manifest.

        :raises BackupNotFound:
        :raises BrokenBackup: the manifest is missing, damaged, or of another release
        """
        entry = self.entry(backup_id)
        if entry is None:
            raise not_found(self.pool, backup_id)
        manifest = manifests.read(self.pool, backup_id)
        if manifest.base_id != entry.base_id:
            raise manifests.broken(self.pool, backup_id, "its manifest is of another image")
        return manifest

    def chain(self, backup_id: str) -> Sequence[Manifest]:
        """A backup, what it is an increment of, and so on to a full one.

        :raises BackupNotFound:
        :raises BrokenBackup: also if one of the others is not there
        """
        found = [self.manifest(backup_id)]
        while (parent := found[-1].parent) is not None:
            try:
                found.append(self.manifest(parent))
            except (exceptions.BackupNotFound, exceptions.BrokenBackup) as error:
                if self._have_changed(found):
                    return self.chain(backup_id)
                raise manifests.broken(
                    self.pool, backup_id, f"what it is an increment of is lost: {error}"
                ) from error
            if len(found) > _MOST_INCREMENTS:
                raise manifests.broken(self.pool, backup_id, "its increments go in a circle")
        return found

    def _have_changed(self, found: Sequence[Manifest]) -> bool:
        """Whether what they were increments of has been deleted since they were read."""
        try:
            return any(self.manifest(each.backup_id) != each for each in found)
        except (exceptions.BackupNotFound, exceptions.BrokenBackup):
            return True

    def sums(self, chain: Sequence[Manifest], part: int) -> Sums:
        """What the chunks of one part read as at a backup, all that are not zeros.

        :raises BrokenBackup:
        :raises Vanished: the backup was deleted since the chain was read
        """
        try:
            return self._sums(chain, part)
        except exceptions.BrokenBackup:
            # Others may have been deleted since, which changes what manifests list, and not what
            # a backup reads as.
            try:
                now = self.chain(chain[0].backup_id)
            except exceptions.BackupNotFound as error:
                raise exceptions.Vanished(f"{error}: it was deleted meanwhile") from error
            if list(now) == list(chain):
                raise
        return self.sums(now, part)

    def _sums(self, chain: Sequence[Manifest], part: int) -> Sums:
        chunk_size = chain[0].chunk_size
        limit = manifests.count(chain[0].size, chunk_size)
        found: Sums = {}
        for manifest, listed in self._listed(chain, part):
            for number, mark in listed.items():
                if number < limit:
                    found.setdefault(number, mark)
            limit = min(limit, manifests.count(manifest.floor, chunk_size))
        return {
            number: found[number] for number in sorted(found) if found[number] != digests.ZEROS
        }

    def _listed(self, chain: Sequence[Manifest], part: int) -> Iterator[tuple[Manifest, Sums]]:
        # So many are in memory at once.
        for start in range(0, len(chain), parallel.MOST):
            some = chain[start : start + parallel.MOST]
            yield from zip(
                some,
                parallel.each(lambda each: manifests.read_part(self.pool, each, part), some),
                strict=True,
            )

    # Backups

    def show(self, backup_id: str) -> Backup:
        """:raises BackupNotFound, BrokenBackup:"""
        return describe(self.pool, self.manifest(backup_id))

    def of_base(self, base_id: str) -> list[Manifest]:
        """Of all backups that are in one image.

        :raises BrokenBackup:
        """
        mine = _in_base(self.entries(), base_id)
        return parallel.each(self.manifest, mine) if mine else []

    def usable_of_base(self, base_id: str) -> list[Manifest]:
        """Of all backups that are in one image, but for those that cannot be used, or found."""

        def look(backup_id: str) -> Manifest | None:
            try:
                return self.manifest(backup_id)
            except (exceptions.BackupNotFound, exceptions.BrokenBackup):
                return None

        mine = _in_base(self.readable(), base_id)
        found = parallel.each(look, mine) if mine else []
        return [manifest for manifest in found if manifest is not None]


def _in_base(entries: Mapping[str, Entry], base_id: str) -> list[str]:
    return [key for key, entry in entries.items() if entry.base_id == base_id]


def describe(pool: Pool, manifest: Manifest) -> Backup:
    """What users are shown of a backup."""
    return Backup(
        manifest.backup_id,
        manifest.volume,
        manifest.size,
        "full" if manifest.parent is None else "incremental",
        manifest.parent,
        manifest.stored,
        manifest.finished,
        pool.spec(manifest.base, manifest.snap),
        manifest.source.spec if manifest.source else None,
        manifest.source.fsid if manifest.source else "",
        manifest.reason,
    )


def not_found(pool: Pool, backup_id: str) -> exceptions.BackupNotFound:
    return exceptions.BackupNotFound(f"there is no backup {backup_id} in pool {pool.name}")
