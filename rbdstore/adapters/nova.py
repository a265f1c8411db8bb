# SPDX-License-Identifier: Apache-2.0
"""Nova's disks: what its libvirt driver keeps on RBD, in place of ``nova.storage.rbd_utils``.

Nova has no plugin seam for this: its image backend makes an ``RBDDriver`` wherever it needs one.
:class:`RBDDriver` has the same methods, and :func:`install` puts it in that place. The options
are Nova's own, of ``[libvirt]``.

What goes otherwise than by Nova's own class:

- A disk is made under a name of its own, and gets its real one when it is whole; so does a
  snapshot's image.
- What others were cloned from can be deleted: it goes for good with the last of them. So a
  snapshot that is protected is removed without ``force``.
- No command is run: all of it goes through this library's connection, of which there is one a
  process and pool.
- A disk never becomes smaller by :meth:`RBDDriver.resize`.
- ``used`` of a pool is what is stored, not the space that its replicas take, and ``total`` is
  that and what can still be stored.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final, ParamSpec, TypeVar

import nova.conf
from nova import exception, utils
from nova.storage import rbd_utils as stock
from oslo_log import log

import rbdstore
from rbdstore import exceptions, spec

P = ParamSpec("P")
T = TypeVar("T")

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

# Of the first volume descriptor of ISO 9660.
_ISO_AT: Final = 16 * 2048 + 1
_ISO: Final = b"CD001"

_ERRORS: Final[Mapping[type[exceptions.RbdStoreError], type[exception.NovaException]]] = {
    exceptions.PermissionDenied: exception.Forbidden,
    exceptions.SnapshotNotFound: exception.SnapshotNotFound,
    exceptions.NotFound: exception.DiskNotFound,
    exceptions.InvalidSize: exception.ResizeError,
    exceptions.InvalidInput: exception.InvalidInput,
    exceptions.NotCloneable: exception.ImageUnacceptable,
    exceptions.RbdStoreError: exception.StorageError,
}
"""What each error is to Nova; one that is not here is what its nearest base class is."""


def _native(method: Callable[P, T]) -> Callable[P, T]:
    """Have a method leave other green threads their turn, and raise Nova's errors."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            result: T = utils.tpool_wrap(method)(*args, **kwargs)
        except exceptions.RbdStoreError as error:
            kind = next(_ERRORS[base] for base in type(error).__mro__ if base in _ERRORS)
            raise kind(str(error)) from error
        return result

    return call


@functools.cache
def _connected(**values: str | int) -> rbdstore.Store:
    """The store of one pool, kept: Nova makes an ``RBDDriver`` for every look at a disk."""
    return rbdstore.connect("rbd", **values)


def install() -> None:
    """Have this process of Nova's use :class:`RBDDriver`."""
    stock.RBDDriver = RBDDriver


class RBDDriver:
    """The disks of one pool, as Nova's libvirt driver asks for them."""

    def __init__(
        self,
        pool: str | None = None,
        user: str | None = None,
        ceph_conf: str | None = None,
        connect_timeout: int | None = None,
    ) -> None:
        """Nothing is connected yet; what is not given is as ``[libvirt]`` has it."""
        libvirt = CONF.libvirt
        self.pool = pool or libvirt.images_rbd_pool
        self.rbd_user = user or libvirt.rbd_user
        self.rbd_connect_timeout = connect_timeout or libvirt.rbd_connect_timeout
        self.ceph_conf = ceph_conf or libvirt.images_rbd_ceph_conf

    def _store(self, pool: str | None = None) -> rbdstore.Store:
        values = {
            "rbd_pool": pool or self.pool,
            "rbd_user": self.rbd_user,
            "rbd_ceph_conf": self.ceph_conf,
            "rados_connect_timeout": self.rbd_connect_timeout,
            "rbd_destroy_volume_retries": CONF.libvirt.rbd_destroy_volume_retries,
            "rbd_destroy_volume_retry_interval": CONF.libvirt.rbd_destroy_volume_retry_interval,
        }
        given = {name: value for name, value in values.items() if value not in (None, "")}
        return _connected(**given)

    # The cluster

    def ceph_args(self) -> list[str]:
        """What a command of Ceph's is given to connect as this does."""
        given = (("--id", self.rbd_user), ("--conf", self.ceph_conf))
        return [word for name, value in given if value for word in (name, value)]

    @_native
    def get_mon_addrs(self, strip_brackets: bool = True) -> tuple[list[str], list[str]]:
        """The hosts and the ports of the monitors, for libvirt."""
        found = self._store().disks.monitors()
        hosts = [host if strip_brackets or ":" not in host else f"[{host}]" for host, _ in found]
        return hosts, [str(port) for _, port in found]

    @_native
    def get_fsid(self) -> str:
        return self._store().fsid

    @_native
    def get_pool_info(self) -> dict[str, int]:
        """``total``, ``free`` and ``used``, in bytes."""
        stats = self._store().volumes.stats()
        return {"total": stats.total, "free": stats.free, "used": stats.used}

    # Locations

    def parse_url(self, url: str) -> list[str]:
        """Cluster, pool, image and snapshot.

        :raises ImageUnacceptable: it has not all of these
        """
        try:
            location = spec.Location.parse(url)
        except exceptions.InvalidLocation as error:
            raise exception.ImageUnacceptable(image_id=url, reason=str(error)) from error
        if location.fsid is None or location.pool is None or location.snap is None:
            raise exception.ImageUnacceptable(image_id=url, reason="it names no snapshot")
        return [location.fsid, location.pool, location.image, location.snap]

    @_native
    def is_cloneable(
        self, image_location: Mapping[str, Any], image_meta: Mapping[str, Any]
    ) -> bool:
        verdict = self._store().disks.is_cloneable(image_location["url"], image_meta)
        if not verdict:
            LOG.debug("not cloneable: %s", verdict.reason)
        return bool(verdict)

    @_native
    def clone(
        self, image_location: Mapping[str, Any], dest_name: str, dest_pool: str | None = None
    ) -> None:
        self._store(dest_pool).volumes.clone(str(dest_name), image_location["url"])

    # One disk

    @_native
    def size(self, name: str) -> int:
        """In bytes."""
        return self._store().disks.get_size(name)

    @_native
    def resize(self, name: str, size: int) -> None:
        """Make a disk ``size`` bytes large."""
        self._store().disks.resize(name, size)

    @_native
    def exists(self, name: str, pool: str | None = None, snapshot: str | None = None) -> bool:
        return self._store(pool).disks.exists(name, snapshot)

    @_native
    def parent_info(self, volume: str, pool: str | None = None) -> tuple[str, str, str]:
        """Pool, image and snapshot that a disk shares data with.

        :raises ImageUnacceptable: with none
        """
        parent = None
        with contextlib.suppress(exceptions.ImageNotFound):
            parent = self._store(pool).disks.parent(str(volume))
        if parent is None:
            raise exception.ImageUnacceptable(f"no usable parent snapshot for volume {volume}")
        return parent.pool, parent.image, str(parent.snap)

    @_native
    def flatten(self, volume: str, pool: str | None = None) -> None:
        self._store(pool).disks.flatten(str(volume))

    @_native
    def import_image(self, base: str, name: str) -> None:
        """Make a disk of a file with the disk's own bytes, such as a config drive."""
        with open(base, "rb") as data:
            disk_format, size = _format_of(data), os.fstat(data.fileno()).st_size
            self._store().disks.import_image(name, data, size, disk_format=disk_format)

    @_native
    def export_image(self, base: str, name: str, snap: str, pool: str | None = None) -> None:
        """Write a snapshot to a file, in which what is zero takes no room."""
        store = self._store(pool)
        uri = spec.Location(name, store.fsid, store.pool_name, snap).uri
        with store.images.get(uri) as body, open(base, "wb") as file:
            for chunk in body:
                if chunk.count(0) == len(chunk):
                    file.seek(len(chunk), os.SEEK_CUR)
                else:
                    file.write(chunk)
            file.truncate(body.size)

    @_native
    def remove_image(self, name: str) -> None:
        """Remove a disk; one that is not there, or has snapshots, is only warned of."""
        store = self._store()
        if not store.disks.exists(name):
            LOG.warning("image %s in pool %s is not there", name, self.pool)
        try:
            store.volumes.delete(name)
        except exceptions.InUse as error:
            if not error.snapshots:
                raise
            LOG.error("image %s in pool %s was not removed: %s", name, self.pool, error)

    # Snapshots

    @_native
    def create_snap(
        self, volume: str, name: str, pool: str | None = None, protect: bool = False
    ) -> None:
        store = self._store(pool)
        create = store.volumes.create_snapshot if protect else store.disks.create_snapshot
        create(str(volume), name)

    @_native
    def remove_snap(
        self,
        volume: str,
        name: str,
        ignore_errors: bool = False,
        pool: str | None = None,
        force: bool = False,
    ) -> None:
        """Remove a snapshot, protected or not. One that is not there is only warned of."""
        disks = self._store(pool).disks
        if not ignore_errors and not disks.exists(str(volume), name):
            LOG.warning("no snapshot %s of image %s", name, volume)
        disks.remove_snapshot(str(volume), name)

    @_native
    def rollback_to_snap(self, volume: str, name: str) -> None:
        """As long as for a deletion is waited for a QEMU that crashed, and looks alive."""
        libvirt = CONF.libvirt
        wait = libvirt.rbd_destroy_volume_retries * libvirt.rbd_destroy_volume_retry_interval
        self._store().disks.rollback_to_snapshot(volume, name, wait=wait)

    # Many disks

    @_native
    def cleanup_volumes(self, filter_fn: Callable[[str], bool]) -> None:
        """Delete the disks whose names ``filter_fn`` takes, and their snapshots."""
        disks = self._store().disks
        disks.delete_all(filter(filter_fn, disks.names()))

    @_native
    def destroy_volume(self, volume: str, pool: str | None = None) -> None:
        """Delete one disk, and its snapshots."""
        self._store(pool).disks.delete(volume)


def _format_of(file: BinaryIO) -> str:
    """``iso`` or ``raw``: what Nova imports is of one of these, and nobody declares which."""
    file.seek(_ISO_AT)
    found = file.read(len(_ISO))
    file.seek(0)
    return "iso" if found == _ISO else "raw"
