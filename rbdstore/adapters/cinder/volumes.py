# SPDX-License-Identifier: Apache-2.0
"""Volumes: made, cloned, extended, attached, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate

from cinder import exception, objects

from rbdstore.adapters.cinder.base import in_bytes
from rbdstore.adapters.cinder.volume_types import VolumeTypes
from rbdstore.volumes import Volume, VolumeStore


class Volumes(VolumeTypes):
    """What is done to single volumes."""

    def create_volume(self, volume: Any) -> dict[str, Any]:
        refuse_encryption(volume, "made")
        self._check_type(volume)
        self._call_for(volume, VolumeStore.create, volume.name, in_bytes(volume.size))
        with self._deleted_on_error(volume):
            return self._apply_type(volume)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> dict[str, Any]:
        source = src_vref.name
        return self._derive(
            volume, src_vref.size, VolumeStore.create_cloned_volume, volume.name, source
        )

    def delete_volume(self, volume: Any) -> None:
        self._call_for(volume, VolumeStore.delete, volume.name, wait=self._patience)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        self._call(VolumeStore.extend, volume.name, in_bytes(new_size))

    def _derive(
        self,
        volume: Any,
        source_size: int,
        verb: Callable[Concatenate[VolumeStore, ...], Volume],
        *names: str,
    ) -> dict[str, Any]:
        """Make a volume from another, or from its snapshot, of ``source_size`` GiB."""
        self._check_type(volume)
        grows = in_bytes(volume.size - source_size)
        # An encrypted one is larger than Cinder says, by its header.
        size = in_bytes(volume.size) if grows and not volume.encryption_key_id else None
        made = self._call_for(volume, verb, *names, size)
        with self._deleted_on_error(volume):
            if grows and size is None:
                self._call(VolumeStore.extend, volume.name, made.size + grows)
            return self._apply_type(volume)

    # Attaching, which is the client's own work

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        info = self._call(VolumeStore.connection_info, volume.name)
        return info.cinder(volume.id)

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> None:
        """There is nothing to be done here, nor in the three below."""

    def ensure_export(self, context: Any, volume: Any) -> None: ...

    def create_export(self, context: Any, volume: Any, connector: Any) -> None: ...

    def remove_export(self, context: Any, volume: Any) -> None: ...

    # Backups

    def get_backup_device(self, context: Any, backup: Any) -> tuple[Any, bool]:
        """What the backup service is to read, and whether that is a snapshot.

        A driver that can read RBD makes a snapshot of its own, for the next backup to begin from.
        """
        if backup.snapshot_id or not reads_rbd(backup.service):
            found: tuple[Any, bool] = super().get_backup_device(context, backup)
            return found
        return objects.Volume.get_by_id(context, backup.volume_id), False


def reads_rbd(service: str) -> bool:
    """Whether a backup driver, named by its class, is one for Ceph."""
    return "backup.drivers.ceph" in service or "adapters.cinder_backup" in service


def refuse_encryption(volume: Any, what: str) -> None:
    if volume.encryption_key_id:
        raise exception.NotSupportedOperation(
            f"rbdstore cannot have encrypted volumes {what}; choose a type without encryption"
        )
