# SPDX-License-Identifier: Apache-2.0
"""Backups that Cinder's own driver made: found by their names, for there is nothing else of them.

A full backup of a Ceph volume is an image ``volume-<id>.backup.<backup id>``, of early releases
``volume-<id>.backup.base``, with a snapshot ``backup.<backup id>.snap.<time>``; each increment is
one more snapshot. What was not on Ceph, or was a snapshot, has been copied into an image of such a
name, and no snapshot tells whether all of it has: the driver's object ``backup.<backup id>.meta``,
which it writes last, does. Of such a ``.backup.base`` only Cinder's database knows the backup's
id; the image's name stands for it.

None has checksums: what they read as is what they are.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Final

from rbdstore import exceptions, parallel, spec
from rbdstore.backup.catalog import Backup, Catalog, not_found
from rbdstore.driver import Image, Snap

_IMAGE: Final = re.compile(r"(volume-.+)\.backup\.([^.]+)", re.DOTALL)
_OLD_BASE: Final = "base"


@dataclasses.dataclass(frozen=True, slots=True)
class Stock:
    """Where a backup is: in an image, at a snap of it or as it is."""

    backup: Backup
    image_id: str
    snap_id: int | None


class StockBackups:
    """Those of a pool."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._pool = catalog.pool

    def list(self, volume: str | None = None) -> list[Stock]:
        """All of them, or those of one volume."""
        ours = _Ours(self._catalog)

        def look(match: re.Match[str]) -> list[Stock]:
            try:
                with self._pool.open(match[0]) as image:
                    return list(_in(image, match[1], match[2], ours))
            except exceptions.ImageNotFound:
                # Deleted meanwhile, or what a killed deletion left.
                return []

        matches = [
            match
            for name in self._pool.list_images()
            if name not in ours.bases
            and (match := _IMAGE.fullmatch(name))
            and volume in (None, match[1])
        ]
        return [*itertools.chain(*(parallel.each(look, matches) if matches else []))]

    def get(self, backup_id: str) -> Stock:
        """:raises BackupNotFound:"""
        for stock in self.list():
            if stock.backup.id == backup_id:
                return stock
        raise not_found(self._pool, backup_id)


def are_among(catalog: Catalog, image: Image, backup_ids: Iterable[str]) -> bool:
    """Whether any of the backups that an image has snapshots of are Cinder's."""
    ours = _Ours(catalog)
    return any(not ours.has(image, each) for each in backup_ids)


class _Ours:
    """What is none of Cinder's: what is in the catalog, being made or being deleted.

    :ivar bases: the names of images that need no look
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        entries = catalog.readable()
        self._base_ids = {entry.base_id for entry in entries.values()}
        self.bases = {spec.backup_base(entry.volume, key) for key, entry in entries.items()}

    def has(self, image: Image, backup_id: str) -> bool:
        if image.id in self._base_ids:
            return True
        lease = spec.lease_object(spec.backup_lease(backup_id))
        # In this order: what has been published needs its lease no more.
        return bool(image.pool.read_object(lease)) or self._catalog.has(backup_id)


def _in(image: Image, volume: str, full_id: str, ours: _Ours) -> Iterator[Stock]:
    snaps = [(snap, found) for snap in image.snaps() if (found := spec.backup_of(snap.name))]
    parent: str | None = None
    for snap, backup_id in snaps:
        if not snap.trashed and not ours.has(image, backup_id):
            yield _stock(image, volume, backup_id, snap, parent)
            parent = backup_id
    if snaps:
        return
    if full_id == _OLD_BASE:
        yield _stock(image, volume, image.name)
    elif image.pool.read_object(spec.stock_metadata(full_id)) and not ours.has(image, full_id):
        yield _stock(image, volume, full_id)


def _stock(
    image: Image, volume: str, backup_id: str, snap: Snap | None = None, parent: str | None = None
) -> Stock:
    backup = Backup(
        id=backup_id,
        volume=volume,
        size=snap.size if snap else image.size(),
        kind="incremental" if parent else "full",
        parent=parent,
        stored=None,
        created=spec.backed_up_at(snap.name) if snap else 0.0,
        base=image.pool.spec(image.name, snap.name if snap else None),
        source=None,
        fsid="",
        origin="cinder",
    )
    return Stock(backup, image.id, snap.id if snap else None)
