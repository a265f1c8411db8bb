# SPDX-License-Identifier: Apache-2.0
"""Volumes that move to another pool of the cluster, and what Cinder has moved by itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self

from cinder import exception
from oslo_config import cfg
from oslo_log import log

import rbdstore
from rbdstore.adapters.cinder import native, options
from rbdstore.adapters.cinder.volumes import Volumes
from rbdstore.undo import Undo
from rbdstore.volumes import VolumeStore

LOG = log.getLogger(__name__)

_NOT_HERE: Final = (False, None)
_DONE: Final = (True, None)


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where a backend's volumes are: its ``location_info``, as Cinder's own driver has it.

    ``pool`` is ``pool/namespace`` where there is a namespace, which that driver does not know.
    """

    cluster: str
    conf: str
    fsid: str
    user: str
    pool: str

    @classmethod
    def parse(cls, info: str) -> Self:
        """:raises ValueError: it is of another shape"""
        cluster, conf, fsid, user, pool = info.split(":")
        return cls(cluster, conf, fsid, user, pool)

    def __str__(self) -> str:
        return ":".join((self.cluster, self.conf, self.fsid, self.user, self.pool))

    def values(self) -> dict[str, Any]:
        """The options that make a store of it."""
        pool, _slash, namespace = self.pool.partition("/")
        return {
            "rbd_cluster_name": self.cluster,
            "rbd_ceph_conf": self.conf,
            # What the text has for no user at all.
            "rbd_user": None if self.user == str(None) else self.user,
            "rbd_pool": pool,
            "rbd_namespace": namespace,
            # The other backend's are not known here.
            "rbd_data_pool": None,
            "rbd_features": None,
        }


class Migrating(Volumes):
    """What is done when a volume is given another host."""

    def migrate_volume(self, context: Any, volume: Any, host: dict[str, Any]) -> tuple[bool, None]:
        """Copy a volume to another pool, and delete it here; ``(False, None)``: Cinder is to."""
        capabilities = host["capabilities"]
        here = self._location()
        try:
            there = Location.parse(capabilities.get("location_info") or "")
        except ValueError:
            return _NOT_HERE
        if capabilities.get("storage_protocol") != self.STORAGE_PROTOCOL:
            return _NOT_HERE
        if there.fsid != here.fsid:
            return _NOT_HERE
        if there.pool == here.pool:
            return _DONE
        if volume.status not in ("available", "retyping", "maintenance"):
            return _NOT_HERE
        if self._call(VolumeStore.get, volume.name).snapshots:
            return _NOT_HERE
        values = options.read(self.configuration) | there.values()
        with self._opened(values) as target:
            self._ask(
                lambda: target.volumes.copy_from(self._store.volumes, volume.name, volume.name)
            )
            with Undo() as undo:
                undo.add(self._ask, lambda: target.volumes.delete(volume.name))
                self._apply_type(volume, target)
                problem = self._delete_original(volume)
        if problem is not None:
            # Both are whole, and which one Cinder has is for an operator to say.
            raise exception.VolumeMigrationFailed(
                reason=f"it was copied to {there.pool}, but cannot be deleted here: {problem}"
            ) from problem
        LOG.info("migrated %s to pool %s", volume.name, there.pool)
        return _DONE

    def _delete_original(self, volume: Any) -> exception.CinderException | None:
        """What came between, if nobody knows whether it was deleted.

        :raises VolumeMigrationFailed: it was not, for somebody has it open
        """
        try:
            self.delete_volume(volume)
        except exception.VolumeIsBusy as error:
            raise exception.VolumeMigrationFailed(
                reason=f"it cannot be deleted here: {error}"
            ) from error
        except exception.CinderException as error:
            return error
        return None

    @contextlib.contextmanager
    def _opened(self, values: Mapping[str, Any]) -> Iterator[rbdstore.Store]:
        """Another backend's store."""
        store = self._ask(lambda: rbdstore.connect(options.DRIVER, **values))
        try:
            yield store
        finally:
            native.call(store.close)

    def update_migrated_volume(
        self, ctxt: Any, volume: Any, new_volume: Any, original_volume_status: str
    ) -> dict[str, Any]:
        """Give what Cinder has copied the name that the volume had, if that can be."""
        name_id = new_volume._name_id or new_volume.id
        if original_volume_status != "in-use":
            wanted = cfg.CONF.volume_name_template % volume.id
            try:
                self._call(VolumeStore.rename, new_volume.name, wanted)
                name_id = None
            except (exception.Duplicate, exception.VolumeNotFound) as error:
                LOG.warning("%s keeps its name: %s", new_volume.name, error)
        return {"_name_id": name_id, "provider_location": new_volume.provider_location}

    def _location(self) -> Location:
        section = self.configuration
        pool, namespace = section.rbd_pool, section.rbd_namespace
        return Location(
            section.rbd_cluster_name,
            section.rbd_ceph_conf,
            self._ask(lambda: self._store.fsid),
            str(section.rbd_user),
            f"{pool}/{namespace}" if namespace else pool,
        )
