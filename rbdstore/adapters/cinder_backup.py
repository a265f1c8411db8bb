# SPDX-License-Identifier: Apache-2.0
"""Cinder's backup driver::

    [DEFAULT]
    backup_driver = rbdstore.adapters.cinder_backup.RBDBackupDriver
    backup_ceph_pool = backups
    ...

with the options of Cinder's own driver for Ceph. It only translates: names, errors, and what
Cinder opens for it. The work is :class:`rbdstore.backups.BackupStore`'s.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from cinder import exception, interface, objects
from cinder.backup import driver
from cinder.backup.drivers import ceph as stock
from cinder.volume import volume_utils
from oslo_config import cfg
from oslo_log import log
from oslo_service import loopingcall

import rbdstore
from rbdstore import exceptions, spec
from rbdstore.adapters.cinder import errors, native
from rbdstore.undo import Undo

__all__ = ["RBDBackupDriver"]

CONF = cfg.CONF
LOG = log.getLogger(__name__)
T = TypeVar("T")

_DRIVER: Final = "rbd"
_STOCK: Final = "cinder.backup.drivers.ceph.CephBackupDriver"
_OURS: Final = f"{__name__}.RBDBackupDriver"

TABLE: Final[errors.Table] = {
    exceptions.ConfigError: exception.InvalidConfigurationValue,
    exceptions.InvalidInput: exception.InvalidInput,
    exceptions.ImageNotFound: exception.VolumeNotFound,
    exceptions.SnapshotNotFound: exception.SnapshotNotFound,
    exceptions.BackupNotFound: exception.BackupNotFound,
    exceptions.BrokenBackup: exception.InvalidBackup,
    exceptions.Duplicate: exception.InvalidBackup,
    exceptions.InUse: exception.VolumeIsBusy,
    exceptions.RbdStoreError: exception.BackupDriverException,
}
"""What is not here is what its base class is."""


@interface.backupdriver
class RBDBackupDriver(driver.BackupDriver):
    """Backups in a pool of Ceph, through rbdstore."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        # Here, for it cannot be imported but in a service, whose objects are registered.
        from cinder.backup import manager

        # To Cinder the stock driver has been renamed, so that its backups are given to this one.
        manager.MAPPING.setdefault(_STOCK, _OURS)

    @staticmethod
    def get_driver_options() -> list[cfg.Opt]:
        options: list[cfg.Opt] = stock.service_opts
        return options

    def check_for_setup_error(self) -> None:
        """See that the pool can be used.

        :raises InvalidConfigurationValue: an option is missing, or asks for what is not built
        :raises BackupDriverException: the cluster or the pool cannot be used
        """
        for name in ("backup_ceph_user", "backup_ceph_pool", "backup_ceph_conf"):
            if not getattr(CONF, name):
                raise exception.InvalidConfigurationValue(option=name, value=getattr(CONF, name))
        for name in (
            "backup_ceph_stripe_unit",
            "backup_ceph_stripe_count",
            "backup_ceph_image_journals",
        ):
            if getattr(CONF, name):
                raise exception.InvalidConfigurationValue(
                    f"{name}: rbdstore's backups are neither striped nor journaled; take the "
                    "option out, or use Cinder's own driver for Ceph"
                )
        with _pool(CONF.backup_ceph_pool) as store:
            _ask(lambda: store.volumes.stats())

    def backup(
        self, backup: Any, volume_file: Any, backup_metadata: bool = True
    ) -> dict[str, str]:
        """Back up a volume of Ceph itself, or its snapshot; of another what is in its file."""
        if not backup.container:
            backup.container = CONF.backup_ceph_pool
            backup.save()
        volume = objects.Volume.get_by_id(self.context, backup.volume_id)
        with _pool(backup.container) as store, self._progress(backup) as progress:
            if _is_rbd(volume_file):
                made = self._of_ceph(store, backup, volume, volume_file, progress)
            elif backup.parent_id:
                raise exception.InvalidBackup(
                    f"{volume.name} is no volume of Ceph, of which there are full backups only"
                )
            else:
                made = _ask(
                    lambda: store.backups.create_from_file(
                        volume_file, volume.name, backup.id, progress=progress
                    )
                )
            if backup_metadata:
                with _deleted_on_error(store, backup.id):
                    if text := self.get_metadata(backup.volume_id):
                        _ask(lambda: store.backups.set_metadata(backup.id, text))
        return {"service_metadata": json.dumps({"base": made.base.image})}

    def _of_ceph(
        self, store: rbdstore.Store, backup: Any, volume: Any, volume_file: Any, progress: Any
    ) -> rbdstore.backups.Backup:
        # The file may be of a copy that Cinder has made for this, in the same pool: it need not
        # be read, for a volume in use, or its snapshot, is no harder to read.
        snapshot = None
        if backup.snapshot_id:
            snapshot = objects.Snapshot.get_by_id(self.context, backup.snapshot_id).name
        with _pool_of(volume_file) as source:
            return _ask(
                lambda: store.backups.create(
                    source.volumes,
                    volume.name,
                    backup.id,
                    incremental=bool(backup.parent_id),
                    snapshot=snapshot,
                    progress=progress,
                )
            )

    def restore(self, backup: Any, volume_id: str, volume_file: Any, volume_is_new: bool) -> None:
        """Write a backup to a volume of Ceph, where it differs, or to another's file."""
        with _pool(backup.container or CONF.backup_ceph_pool) as store:
            backup_id = _ask(lambda: _name(store, backup))
            if _is_rbd(volume_file):
                volume = objects.Volume.get_by_id(self.context, volume_id)
                # Whoever has it open for writing would be in the way, be that Cinder itself.
                native.call(volume_file.rbd_image.close)
                with _pool_of(volume_file) as target:
                    _ask(lambda: store.backups.restore(backup_id, target.volumes, volume.name))
            else:
                _ask(
                    lambda: store.backups.restore_to_file(
                        backup_id, volume_file, is_zeros=volume_is_new
                    )
                )
                with contextlib.suppress(io.UnsupportedOperation, AttributeError):
                    native.call(os.fsync, volume_file.fileno())
            text = _ask(lambda: store.backups.metadata(backup.id))
        if text is not None:
            self.put_metadata(volume_id, text)

    def delete_backup(self, backup: Any) -> None:
        """Delete a backup. One that is not there is no error."""
        with _pool(backup.container or CONF.backup_ceph_pool) as store:
            name = _ask(lambda: _name(store, backup))
            _ask(lambda: store.backups.delete(name))
            if name != backup.id:
                # Last, for it tells what the other name was.
                _ask(lambda: store.backups.remove_metadata(backup.id))

    @contextlib.contextmanager
    def _progress(self, backup: Any) -> Iterator[Callable[[int, int], None]]:
        """Tell who listens how far a backup is, as Cinder's chunked drivers do."""
        percent = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal percent
            percent = 100 * done / total if total else 100.0

        def notify() -> None:
            volume_utils.notify_about_backup_usage(
                self.context,
                backup,
                "createprogress",
                extra_usage_info={"backup_percent": percent},
            )

        # Not from progress(), which a thread calls that is none of the service's.
        timer = loopingcall.FixedIntervalLoopingCall(notify)
        interval = CONF.backup_timer_interval
        timer.start(interval=interval, initial_delay=interval)
        try:
            yield progress
            percent = 100.0
            notify()
        finally:
            timer.stop()


def _ask(question: Callable[[], T]) -> T:
    with errors.translated(TABLE):
        return native.call(question)


@contextlib.contextmanager
def _open(**options: Any) -> Iterator[rbdstore.Store]:
    store = _ask(lambda: rbdstore.connect(_DRIVER, **options))
    try:
        yield store
    finally:
        native.call(store.close)


def _pool(name: str) -> contextlib.AbstractContextManager[rbdstore.Store]:
    """A pool with backups."""
    return _open(
        rbd_pool=name,
        rbd_user=CONF.backup_ceph_user,
        rbd_ceph_conf=CONF.backup_ceph_conf,
        backup_ceph_max_snapshots=CONF.backup_ceph_max_snapshots,
        restore_discard_excess_bytes=CONF.restore_discard_excess_bytes,
    )


def _pool_of(file: Any) -> contextlib.AbstractContextManager[rbdstore.Store]:
    """The pool with the volume that Cinder has opened."""
    return _open(
        rbd_pool=file.rbd_pool, rbd_user=file.rbd_user or None, rbd_ceph_conf=file.rbd_conf
    )


def _is_rbd(file: Any) -> bool:
    return hasattr(file, "rbd_image")


def _name(store: rbdstore.Store, backup: Any) -> str:
    """What a backup is called in the pool.

    Cinder's own driver copies a snapshot to an image that does not have the backup's id. It is
    that backup's only if the text which comes last is there: the next one fails, and has none.
    """
    backup_id: str = backup.id
    if backup.snapshot_id and _STOCK.startswith(backup.service or ""):
        try:
            store.backups.show(backup_id)
        except exceptions.BackupNotFound:
            if store.backups.metadata(backup_id) is not None:
                return spec.backup_base(f"volume-{backup.volume_id}", "base")
    return backup_id


@contextlib.contextmanager
def _deleted_on_error(store: rbdstore.Store, backup_id: str) -> Iterator[None]:
    """Delete a backup that cannot be finished."""
    with Undo() as undo:
        undo.add(_ask, lambda: store.backups.delete(backup_id))
        yield
