# SPDX-License-Identifier: Apache-2.0
"""What a service does with volumes beside making, changing and deleting them.

Taking over and handing over snapshots, limits and features of single volumes, reading one, and
copying one that is in another pool, or another cluster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Final

from oslo_utils import units

from rbdstore import deriving, exceptions, limits, snapshots, spec
from rbdstore.driver import Pool, find_snap
from rbdstore.exchange import exporting
from rbdstore.listing import Volume
from rbdstore.settings import Settings
from rbdstore.transfer import reader

CHUNK_SIZE: Final = 4 * units.Mi

SWITCHABLE: Final = ("exclusive-lock", "fast-diff", "journaling", "object-map")
"""Features that an image may gain and lose while it is in use."""
"""The features of a volume that can be switched on and off while it is there."""


class Upkeep:
    """A part of :class:`rbdstore.volumes.VolumeStore`."""

    _pool: Pool
    _settings: Settings
    _deriver: deriving.Deriver
    _exporter: exporting.Exporter

    # Snapshots

    def snapshot_size(self, volume: str, snapshot: str) -> int:
        """How many bytes a snapshot has, whoever made it.

        :raises ImageNotFound, SnapshotNotFound, InvalidName:
        """
        with self._pool.open(spec.check_name(volume)) as image:
            return find_snap(image, spec.check_snapshot_name(snapshot)).size

    def rename_snapshot(self, volume: str, snapshot: str, new_name: str) -> None:
        """Give a snapshot, whoever made it, another name. One that has it already is no error.

        :raises Duplicate: the volume has another one of the new name
        :raises ImageNotFound, SnapshotNotFound, InvalidName:
        """
        volume = spec.check_new_name(volume)
        snapshot = spec.check_snapshot_name(snapshot)
        new_name = spec.check_snapshot_name(new_name)
        snapshots.rename(self._pool, volume, snapshot, new_name, self._settings.lease_seconds)

    def unprotect_snapshot(self, volume: str, snapshot: str) -> None:
        """Let others than this library remove a snapshot, unless clones of format 1 need it.

        :raises ImageNotFound, SnapshotNotFound, InvalidName:
        """
        volume = spec.check_new_name(volume)
        snapshot = spec.check_snapshot_name(snapshot)
        snapshots.unprotect(self._pool, volume, snapshot, self._settings.lease_seconds)

    # Limits and features

    def limits(self, name: str) -> dict[str, int]:
        """How much may be read and written a second, by the names in ``rbdstore.limits.KNOWN``.

        :raises NotSupported: the driver knows no limits
        :raises ImageNotFound, InvalidName:
        """
        return limits.look(self._pool, spec.check_name(name))

    def set_limits(self, name: str, wanted: Mapping[str, int]) -> None:
        """Have these limits hold, and no others, for whoever opens the volume from now on.

        :param wanted: such as ``{"iops_limit": 500, "read_bps_burst": 100 << 20}``; 0: no limit
        :raises NotSupported: the driver knows no limits
        :raises InvalidInput: there is no such limit, or it is no whole number
        :raises ImageNotFound, InvalidName:
        """
        limits.put(self._pool, spec.check_new_name(name), limits.check(wanted))

    def switch_features(
        self, name: str, features: Iterable[str], *, enabled: bool
    ) -> frozenset[str]:
        """Switch features of a volume on or off; those that are so already stay.

        :param features: some of :data:`rbdstore.upkeep.SWITCHABLE`
        :return: the features that it had before
        :raises InvalidInput: one cannot be switched, or needs another one that is off
        :raises NotSupported: the driver knows no features
        :raises ImageNotFound, InvalidName:
        """
        name = spec.check_new_name(name)
        features = _check_features(features)
        if not isinstance(enabled, bool):
            raise exceptions.InvalidInput(
                f"enabled is True or False, not {exceptions.shown(enabled)}"
            )
        with self._pool.open_live(name) as image:
            before = image.features()
            image.set_features(features, enabled=enabled)
        return before

    # Data

    def reading(self, name: str) -> contextlib.AbstractContextManager[reader.Reader]:
        """Read a volume as it is now, in use or not::

            with volumes.reading("volume-1") as data:
                for piece in data:
                    ...

        :return: an iterator of bytes, of ``.size`` bytes in all, while the block lasts
        :raises ImageNotFound, InvalidName:
        """
        return self._exporter.reading(spec.check_new_name(name))

    def copy_from(self, other: Upkeep, source: str, name: str) -> Volume:
        """Make a volume of another store's, as it is now, in use or not. It has no parent.

        The data passes through this process, read by the other store's user.

        :param other: the volumes of another store, of this cluster or of another one
        :raises Duplicate: the name is taken
        :raises ImageNotFound, InvalidName, StorageFull:
        """
        name = spec.check_new_name(name)
        if not isinstance(other, Upkeep):
            raise exceptions.InvalidInput(
                f"other is the volumes of a store, store.volumes, not {exceptions.shown(other)}"
            )
        origin = other._pool.spec(spec.check_new_name(source))
        return self._deriver.from_data(name, str(origin), other.reading(source), CHUNK_SIZE)


def _check_features(features: Iterable[str]) -> frozenset[str]:
    """:raises InvalidInput: they are in no list, or one cannot be switched"""
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise exceptions.InvalidInput(
            f"features are a list of names, not {exceptions.shown(features)}"
        )
    names = list(features)
    for name in names:
        if name not in SWITCHABLE:
            raise exceptions.InvalidInput(
                f"the feature {exceptions.shown(name)} cannot be switched; only "
                f"{', '.join(sorted(SWITCHABLE))} can"
            )
    return frozenset(names)
