# SPDX-License-Identifier: Apache-2.0
"""Backups: cinder-backup's work. Full ones and increments, verified, in a pool of their own."""

from __future__ import annotations

import builtins
import contextlib
import typing
import uuid

from oslo_log import log
from oslo_utils import units

from rbdstore import exceptions, parallel, spec, transfer
from rbdstore.backup import (
    diffstreams,
    files,
    making,
    recorded,
    restoring,
    stock,
    stock_restoring,
    streaming_in,
    streaming_out,
    verifying,
    withdrawing,
)
from rbdstore.backup.catalog import Backup, Catalog, describe, not_found
from rbdstore.backup.making import Incremental
from rbdstore.backup.verifying import Damage, Verification
from rbdstore.driver import Pool, Progress
from rbdstore.listing import Volume
from rbdstore.settings import Settings

if typing.TYPE_CHECKING:
    from rbdstore.volumes import VolumeStore

__all__ = ["Backup", "BackupStore", "Damage", "Verification"]

LOG = log.getLogger(__name__)

# Of the objects of new volumes, where the options have no other size.
CHUNK_SIZE = 4 * units.Mi


class BackupStore:
    """The backups in one pool, of volumes in any pool of any cluster."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._catalog = Catalog(pool, settings.lease_seconds)
        self._stock = stock.StockBackups(self._catalog)

    # Looking

    def list(self, volume: str | None = None) -> builtins.list[Backup]:
        """All backups, or those of one volume, oldest first; those of Cinder's own driver, too.

        Those whose manifests are damaged are left out, with a warning: :meth:`verify` says more.

        :raises InvalidName:
        """
        if volume is not None:
            volume = spec.check_name(volume)
        entries = self._catalog.readable()
        wanted = [key for key, entry in entries.items() if volume in (None, entry.volume)]
        found = parallel.each(self._show_or_not, wanted) if wanted else []
        stock = [one.backup for one in self._stock.list(volume)]
        return sorted(
            [*stock, *(backup for backup in found if backup is not None)],
            key=lambda backup: (backup.created, backup.id),
        )

    def _show_or_not(self, backup_id: str) -> Backup | None:
        try:
            return self._catalog.show(backup_id)
        except exceptions.BackupNotFound:
            return None
        except exceptions.BrokenBackup as error:
            LOG.warning("%s", error)
            return None

    def show(self, backup_id: str) -> Backup:
        """:raises BackupNotFound, BrokenBackup, InvalidName:"""
        backup_id = spec.check_new_name(backup_id)
        if (stock := self._stock_or_none(backup_id)) is not None:
            return stock.backup
        return self._catalog.show(backup_id)

    def _stock_or_none(self, backup_id: str) -> stock.Stock | None:
        """A backup of Cinder's own driver; None: it is one of this library's.

        :raises BackupNotFound: it is neither
        """
        return None if self._catalog.has(backup_id) else self._stock.get(backup_id)

    # Making and restoring

    def create(
        self,
        volumes: VolumeStore,
        name: str,
        backup_id: str,
        *,
        incremental: Incremental = "auto",
        snapshot: str | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Back up a volume, in use or not, as it is now or was at a snapshot.

        Without ``snapshot`` one is made, and kept for the next increment to begin at. It keeps the
        volume from nothing, not even from being deleted.

        :param volumes: where the volume is: another store's, perhaps of another cluster
        :param incremental: ``auto`` or True: an increment of the latest backup of the volume of
            which it still has the snapshot; a full one where it has none, or where its object map
            is flagged invalid, which ``reason`` tells. False: a full one
        :param snapshot: a user's, of the volume
        :param progress: called with the bytes read and in all
        :raises Duplicate: there is such a backup, or somebody is making it right now
        :raises ImageNotFound, SnapshotNotFound: of the volume
        :raises Vanished: the volume, the snapshot, or the one that an increment begins at was
            deleted meanwhile
        :raises InvalidInput, InvalidName, StorageFull:

        Nothing is left of a backup that could not be made whole.
        """
        name = spec.check_new_name(name)
        backup_id = spec.check_new_name(backup_id)
        spec.check_new_name(spec.backup_base(name, backup_id))
        if snapshot is not None:
            snapshot = spec.check_snapshot_name(snapshot)
        if incremental not in ("auto", True, False):
            raise exceptions.InvalidInput(
                "incremental is 'auto', True or False, not " + exceptions.shown(incremental)
            )
        transfer.check_progress(progress)
        wanted = making.Wanted(name, snapshot, incremental is not False, progress)
        made = making.create(self._catalog, self._settings, volumes.pool, backup_id, wanted)
        if made.reason:
            level = log.WARNING if incremental is True else log.INFO
            LOG.log(level, "backup %s is a full one: %s", backup_id, made.reason)
        return made

    def create_from_file(
        self,
        file: files.File,
        name: str,
        backup_id: str,
        *,
        progress: Progress | None = None,
    ) -> Backup:
        """Back up what is no volume of Ceph: a full backup, of all that is in a file.

        :param file: a block device, or whatever else has ``read()`` and ``seek()``; nobody may
            write to it meanwhile
        :param name: whose backup it is, such as ``volume-<id>``
        :param progress: called with the bytes read and in all
        :raises BrokenStream: the file is shorter than it says
        :raises Duplicate: there is such a backup, or somebody is making it right now
        :raises InvalidInput, InvalidName, StorageFull:

        What the file raises is passed on. Nothing is left of a backup that could not be made
        whole.
        """
        name = spec.check_new_name(name)
        backup_id = spec.check_new_name(backup_id)
        spec.check_new_name(spec.backup_base(name, backup_id))
        files.check(file)
        transfer.check_progress(progress)
        made = files.create(self._catalog, self._settings, file, name, backup_id, progress)
        return describe(self._pool, made)

    def restore(
        self,
        backup_id: str,
        volumes: VolumeStore,
        name: str,
        *,
        verify: bool = True,
        progress: Progress | None = None,
    ) -> Volume:
        """Make a volume what it was at a backup; where there is none of that name, make one.

        A volume that exists is written in place, only where it differs if it still has the
        snapshot of a backup of the same chain. It is grown to the backup's size; a larger one
        keeps its size, and is discarded beyond that (``restore_discard_excess_bytes``). Where that
        fails, or is killed, the volume is neither: restore it again.

        :param volumes: where it is to be: another store's, perhaps of another cluster
        :param verify: compare what is read with the backup's digests before it is written
        :raises BackupNotFound:
        :raises BrokenBackup: the backup is damaged; nothing is left of a new volume
        :raises InUse: the volume is open for writing
        :raises Vanished: the backup was deleted meanwhile, or the snapshot that the volume still
            had of one; restore it again
        :raises InvalidInput, InvalidName, StorageFull:
        """
        backup_id = spec.check_new_name(backup_id)
        name = spec.check_new_name(name)
        transfer.check_progress(progress)
        restorer = self._restorer(backup_id, verify=verify, progress=progress)
        seconds = self._settings.lease_seconds
        if volumes.pool.id_of(name) is not None:
            restorer.to_existing(volumes.pool, name, seconds)
        else:
            order = self._settings.object_order(CHUNK_SIZE)
            restorer.to_new(volumes.pool, name, order, seconds)
        return volumes.get(name)

    def restore_to_file(
        self,
        backup_id: str,
        file: files.File,
        *,
        is_zeros: bool = False,
        verify: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """Write a backup to what is no volume of Ceph, and is large enough.

        What the file has beyond the backup is overwritten with zeros
        (``restore_discard_excess_bytes``). Where it fails, the file is neither: do it again.

        :param file: a block device, or whatever else has ``write()`` and ``seek()``
        :param is_zeros: the file reads as zeros, which need not be written to it
        :param verify: compare what is read with the backup's digests before it is written
        :param progress: called with how far it is, and the size of the backup, in bytes
        :raises BackupNotFound:
        :raises BrokenBackup: the backup is damaged
        :raises Vanished: the backup was deleted meanwhile
        :raises InvalidInput, InvalidName:

        What the file raises is passed on.
        """
        backup_id = spec.check_new_name(backup_id)
        files.check(file)
        transfer.check_progress(progress)
        files.restore(
            self._source(backup_id),
            self._settings,
            file,
            is_zeros=is_zeros,
            verify=verify,
            progress=progress,
        )

    def _restorer(
        self, backup_id: str, *, verify: bool, progress: Progress | None
    ) -> restoring.Restorer:
        backup = self._source(backup_id)
        return restoring.Restorer(backup, self._settings, verify=verify, progress=progress)

    def _source(self, backup_id: str) -> restoring.Backup:
        stock = self._stock_or_none(backup_id)
        trust = self._settings.backup_trust_fast_diff
        if stock is not None:
            return stock_restoring.StockSource(self._pool, stock, trust=trust)
        return recorded.Recorded(self._catalog, backup_id, trust=trust)

    # What Cinder knows of the volume

    def set_metadata(self, backup_id: str, text: str) -> None:
        """Keep a text with a backup, where Cinder's own driver keeps one.

        :raises BackupNotFound, InvalidInput, InvalidName:
        """
        backup_id = spec.check_new_name(backup_id)
        if not isinstance(text, str) or not text:
            raise exceptions.InvalidInput(
                f"a backup's metadata are text, not {exceptions.shown(text)}"
            )
        if not self._catalog.has(backup_id):
            raise not_found(self._pool, backup_id)
        key, cookie = spec.stock_metadata(backup_id), uuid.uuid4().hex
        seconds = self._settings.lease_seconds
        if not self._pool.lease(key, cookie, seconds, "rbdstore"):
            raise exceptions.InUse(f"somebody is writing {key} in pool {self._pool.name}")
        self._pool.write_leased(key, cookie, text.encode())

    def metadata(self, backup_id: str) -> str | None:
        """The text that is kept with a backup, of this library or Cinder's own driver, if any.

        :raises InvalidName:
        """
        key = spec.stock_metadata(spec.check_new_name(backup_id))
        return self._pool.read_object(key).decode() or None

    def remove_metadata(self, backup_id: str) -> None:
        """Remove the text that was kept with a backup which is gone; none is no error.

        :raises InUse: the backup is there, and it goes with that
        :raises InvalidName:
        """
        backup_id = spec.check_new_name(backup_id)
        with contextlib.suppress(exceptions.BackupNotFound):
            self._stock_or_none(backup_id)
            raise exceptions.InUse(f"there is a backup {backup_id} in pool {self._pool.name}")
        self._pool.remove_object(spec.stock_metadata(backup_id))

    def verify(self, backup_id: str, *, progress: Progress | None = None) -> Verification:
        """Read a backup back, and compare it with what was written.

        :raises BackupNotFound, InvalidInput, InvalidName:
        :raises NotSupported: Cinder's own driver made it, which keeps nothing to compare with
        :raises Vanished: it was deleted meanwhile
        """
        backup_id = spec.check_new_name(backup_id)
        transfer.check_progress(progress)
        if self._stock_or_none(backup_id) is not None:
            raise exceptions.NotSupported(
                f"backup {backup_id} was made by Cinder's own driver, without checksums"
            )
        found = verifying.verify(
            self._catalog, backup_id, self._settings.transfer_window, progress
        )
        for damage in found.damage:
            LOG.warning("backup %s: %s", backup_id, damage.text)
        return found

    # Out of the cluster, and back

    def export(
        self,
        backup_id: str,
        stream: diffstreams.Writable,
        since: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Write a backup to a stream, as ``rbd export-diff`` does; ``rbd import-diff`` reads it.

        :param stream: a file, a pipe, or whatever else has ``write()``
        :param since: a backup of the same volume: only what differs from it is written, for one
            who has that
        :param progress: called with the bytes read and in all
        :raises BackupNotFound:
        :raises BrokenBackup: the backup is damaged; the stream has no end then
        :raises InvalidInput: the other one is of another volume
        :raises InvalidName:
        :raises Vanished: the backup was deleted meanwhile

        What the stream raises is passed on.
        """
        backup_id = spec.check_new_name(backup_id)
        since = _checked(since)
        diffstreams.check_writable(stream)
        transfer.check_progress(progress)
        stock = self._stock_or_none(backup_id)
        if stock is None:
            streaming_out.export(self._catalog, self._settings, backup_id, stream, since, progress)
        else:
            other = None if since is None else self._stock.get(since)
            stock_restoring.export(self._pool, stock, stream, other, self._settings, progress)

    def import_(
        self,
        stream: diffstreams.Readable,
        backup_id: str | None = None,
        *,
        volume: str | None = None,
        since: str | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Make a backup of a stream that :meth:`export`, or ``rbd export-diff``, wrote.

        It is read to the end of its last record, and no further. A stream of changes becomes an
        increment of the backup that they are changes of.

        :param stream: a file, a pipe, or whatever else has ``read()``
        :param backup_id: None: the id that the stream has
        :param volume: whose backup it is; a stream of changes need not be told
        :param since: the backup that the changes are changes of; None: the one that the stream
            names
        :param progress: called with how far it is in the volume, and its size, in bytes
        :raises BackupNotFound: there is nothing that it could be an increment of
        :raises BrokenStream: it is cut off or damaged; nothing of it is left
        :raises Duplicate: there is a backup of that id, or somebody is making it right now
        :raises FormatMismatch: it is something else
        :raises InvalidInput: it does not go with ``volume`` or ``since``, or does not say what
            is not said here
        :raises InvalidName, StorageFull:
        """
        diffstreams.check_readable(stream)
        transfer.check_progress(progress)
        wanted = streaming_in.Wanted(
            _checked(backup_id), _checked(volume), _checked(since), progress
        )
        made = streaming_in.import_(self._catalog, self._settings, stream, wanted)
        return describe(self._pool, made)

    # Deleting

    def delete(self, backup_id: str, *, volumes: VolumeStore | None = None) -> None:
        """Delete a backup. One that is not there is no error.

        Whatever others need of it stays. The snapshot that it left on its volume goes with it,
        where this store's user may remove that; else when the volume is next backed up.

        :param volumes: where the volume is, if that is in another cluster, or this store's user
            has no rights there
        :raises BrokenBackup: its manifest is damaged, and it has increments, which need it
        :raises InvalidName:
        """
        backup_id = spec.check_new_name(backup_id)
        seconds = self._settings.lease_seconds
        # Before it is claimed, for what is claimed is none of Cinder's.
        stock = None
        with contextlib.suppress(exceptions.BackupNotFound):
            stock = self._stock_or_none(backup_id)
        with withdrawing.Claim(
            self._catalog,
            backup_id,
            ["delete"],
            seconds,
            effect="remove",
            source_pool=volumes.pool if volumes else None,
        ) as claim:
            if stock is None:
                withdrawing.delete(claim)
            else:
                withdrawing.delete_stock(claim, stock)

    def prune(
        self, volume: str, keep: int, *, volumes: VolumeStore | None = None
    ) -> builtins.list[str]:
        """Delete all backups of a volume but the latest.

        :param keep: how many to keep
        :param volumes: as for :meth:`delete`
        :return: the ids of those that were deleted
        :raises InvalidInput: ``keep`` is negative, or no whole number
        :raises BrokenBackup, InvalidName:
        """
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            raise exceptions.InvalidInput(
                f"keep is a whole number, 0 or more, not {exceptions.shown(keep)}"
            )
        found = [each for each in self.list(spec.check_new_name(volume)) if _is_ours(each)]
        gone = [backup.id for backup in found[: len(found) - keep]] if keep < len(found) else []
        for backup_id in gone:
            self.delete(backup_id, volumes=volumes)
        return gone


def _is_ours(backup: Backup) -> bool:
    return backup.origin == "rbdstore"


def _checked(name: str | None) -> str | None:
    return None if name is None else spec.check_new_name(name)
