# SPDX-License-Identifier: Apache-2.0
"""Snapshots of volumes, and volumes made from them."""

from __future__ import annotations

from typing import Any

from cinder import exception

from rbdstore.adapters.cinder.volumes import Volumes
from rbdstore.volumes import VolumeStore


class Snapshots(Volumes):
    """What is done to snapshots."""

    def create_snapshot(self, snapshot: Any) -> None:
        self._call(VolumeStore.create_snapshot, snapshot.volume_name, snapshot.name)

    def delete_snapshot(self, snapshot: Any) -> None:
        try:
            self._call(VolumeStore.delete_snapshot, snapshot.volume_name, snapshot.name)
        except exception.VolumeIsBusy as error:
            # With this one the service makes the snapshot available again.
            raise exception.SnapshotIsBusy(str(error)) from error

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> dict[str, Any]:
        source, size = snapshot.volume_name, snapshot.volume_size
        return self._derive(
            volume, size, VolumeStore.create_from_snapshot, volume.name, source, snapshot.name
        )

    def snapshot_revert_use_temp_snapshot(self) -> bool:
        """A rollback that was cut off can be repeated, so nothing need be kept meanwhile."""
        return False

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any) -> None:
        self._call(VolumeStore.revert_to_snapshot, volume.name, snapshot.name, wait=self._patience)
