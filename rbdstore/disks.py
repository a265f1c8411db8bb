# SPDX-License-Identifier: Apache-2.0
"""Instance disks: Nova's work. Volumes that are named after the instance they belong to."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing
from collections.abc import Iterable, Mapping, Sequence

from oslo_utils import units

from rbdstore import connections, exceptions, lineage, sizes, snapshots, spec, transfer
from rbdstore.driver import Pool, Progress, find_snap
from rbdstore.exchange import cloneable, exports, imports
from rbdstore.names import drafts, removal
from rbdstore.settings import Settings

if typing.TYPE_CHECKING:
    from rbdstore.volumes import VolumeStore

CHUNK_SIZE = 4 * units.Mi


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A disk, as it was when it was looked at.

    :ivar size: in bytes
    :ivar parent: the snapshot it shares data with, if it is a clone
    """

    name: str
    size: int
    parent: spec.ImageSpec | None


class DiskStore:
    """The disks of the instances of one pool."""

    def __init__(self, pool: Pool, settings: Settings, volumes: VolumeStore) -> None:
        """Give the volumes of the same pool Nova's names and rules."""
        self._pool = pool
        self._settings = settings
        self._volumes = volumes

    # Looking

    def name(self, instance_uuid: str, kind: str = "") -> str:
        """What a disk of an instance is called.

        :param kind: empty: the one it boots from; ``local``, ``swap``, ``config``, ...
        :raises InvalidName:
        """
        instance = spec.check_new_name(instance_uuid)
        name = spec.disk_name(instance, kind) if isinstance(kind, str) else ""
        if not spec.is_disk(name, instance):
            raise exceptions.InvalidName(
                f"a kind of disk is lower-case letters and digits, not {exceptions.shown(kind)}"
            )
        return spec.check_new_name(name)

    def names(self, instance_uuid: str | None = None) -> Sequence[str]:
        """What the disks of an instance, or of all of them, are called; none is opened.

        Those that are being made are among them.

        :raises InvalidName:
        """
        if instance_uuid is not None:
            instance_uuid = spec.check_new_name(instance_uuid)
        made = {spec.made_as(name) for name in self._pool.list_images()}
        return sorted(
            name
            for name in made
            if spec.is_disk(name, instance_uuid) and not spec.is_unfinished_or_deleted(name)
        )

    def exists(self, disk: str, snapshot: str | None = None) -> bool:
        """Whether there is such a disk and, where one is named, such a snapshot of it.

        :raises InvalidName:
        """
        disk = spec.check_name(disk)
        if snapshot is not None:
            snapshot = spec.check_snapshot_name(snapshot)
        with contextlib.suppress(exceptions.NotFound), self._pool.open(disk) as image:
            if snapshot is not None:
                find_snap(image, snapshot)
            return True
        return False

    def get_size(self, disk: str) -> int:
        """How many bytes a disk has.

        :raises ImageNotFound, InvalidName:
        """
        return self._look(spec.check_name(disk)).size

    def parent(self, disk: str) -> spec.ImageSpec | None:
        """The snapshot that a disk shares data with; None: it is no clone.

        :raises ImageNotFound, InvalidName:
        """
        return self._look(spec.check_name(disk)).parent

    def list(self, instance_uuid: str | None = None) -> Sequence[Disk]:
        """The disks of an instance, or of all of them, sorted by name.

        :raises InvalidName:
        """
        if instance_uuid is not None:
            instance_uuid = spec.check_new_name(instance_uuid)
        found = []
        for name in sorted(self._pool.list_images()):
            if not spec.is_unfinished_or_deleted(name) and spec.is_disk(name, instance_uuid):
                with contextlib.suppress(exceptions.ImageNotFound):
                    found.append(self._look(name))
        return found

    def monitors(self) -> Sequence[tuple[str, int]]:
        """Host and port of every address of each monitor, for whoever opens disks by himself.

        :raises NotSupported: no other client can open what this driver keeps
        """
        return self._pool.cluster.monitors()

    def connection_info(self, disk: str) -> connections.ConnectionInfo:
        """How libvirt and QEMU open a disk by themselves; there is no key in it.

        :raises NotSupported: no other client can open what this driver keeps
        :raises ImageNotFound, InvalidName:
        """
        return connections.look(self._pool, spec.check_name(disk))

    # Disks from images, and images from disks

    def is_cloneable(
        self, location: str, image_meta: Mapping[str, typing.Any]
    ) -> cloneable.Verdict:
        """Whether a disk can share the data of an image at a location; if not, why not.

        :param image_meta: of which ``disk_format`` is looked at
        :raises InvalidInput: ``image_meta`` is no mapping
        """
        if not isinstance(image_meta, Mapping):
            raise exceptions.InvalidInput(
                f"image_meta is a mapping with a disk_format, not {exceptions.shown(image_meta)}"
            )
        return cloneable.verdict(self._pool, location, image_meta.get("disk_format", ""))

    def clone(
        self,
        disk: str,
        locations: Iterable[str],
        size: int,
        *,
        disk_format: str = "raw",
        open_image: imports.OpenImage | None = None,
        progress: Progress | None = None,
    ) -> imports.Outcome:
        """Make a disk from an image: copy-on-write, or of its body where that cannot be.

        Arguments and errors are those of ``volumes.create_from_image``.

        :return: which way it went, and why each location was passed over
        """
        disk = spec.check_new_name(disk)
        source = imports.Source.of(locations, size, disk_format, open_image)
        transfer.check_progress(progress)
        with drafts.Draft(
            self._pool,
            disk,
            source.request("disk"),
            self._settings.lease_seconds,
            effect="make",
        ) as draft:
            return imports.make(
                draft, source, self._settings, chunk_size=CHUNK_SIZE, progress=progress
            )

    def import_image(
        self,
        disk: str,
        data: transfer.Body,
        size: int,
        *,
        disk_format: str = "raw",
        progress: Progress | None = None,
    ) -> imports.Outcome:
        """Make a disk from the body of an image, which shares nothing with it.

        :param data: a binary file, bytes, or an iterable of bytes; closed where it has a ``close``
        :param size: of the disk, in bytes; no smaller than the image's
        :raises: as :meth:`clone`
        """
        transfer.check_body(data)
        return self.clone(
            disk, [], size, disk_format=disk_format, open_image=lambda: data, progress=progress
        )

    def snapshot_to_image(
        self,
        disk: str,
        images: exports.Images,
        image_id: str,
        *,
        method: exports.Method = "auto",
        flatten: exports.FlattenMode = "inline",
        hashing_algo: str | None = None,
        progress: Progress | None = None,
    ) -> exports.ExportedImage:
        """Make an image of a disk as it is now, in use or not: Nova's direct snapshot.

        Arguments, result and errors are those of ``volumes.copy_to_image``.
        """
        return self._volumes.copy_to_image(
            disk,
            images,
            image_id,
            method=method,
            flatten=flatten,
            hashing_algo=hashing_algo,
            progress=progress,
        )

    # One disk

    def resize(self, disk: str, size: int, *, allow_shrink: bool = False) -> None:
        """Make a disk larger or, where that is allowed, smaller, which cuts its data off.

        :raises InvalidSize: smaller than it is, and shrinking was not allowed; or larger than the
            cluster can hold
        :raises ImageNotFound, InvalidName, InvalidInput:
        """
        disk = spec.check_new_name(disk)
        size = sizes.check_size(size)
        if not isinstance(allow_shrink, bool):
            raise exceptions.InvalidInput(
                f"allow_shrink is True or False, not {exceptions.shown(allow_shrink)}"
            )
        with self._pool.open_live(disk) as image:
            image.resize(size, allow_shrink=allow_shrink)

    def flatten(self, disk: str, *, progress: Progress | None = None) -> None:
        """Make a disk independent of its image, while it stays in use.

        :raises ImageNotFound, InvalidName, InvalidInput:
        """
        self._volumes.flatten(disk, progress=progress)

    def create_snapshot(self, disk: str, snapshot: str = spec.RESIZE_SNAP) -> None:
        """Snapshot a disk. Not protected, as Nova's own driver expects it.

        :raises Duplicate, ImageNotFound, InvalidName:
        """
        disk = spec.check_new_name(disk)
        snapshot = spec.check_snapshot_name(snapshot)
        snapshots.create(self._pool, disk, snapshot, self._settings.lease_seconds, protect=False)

    def remove_snapshot(self, disk: str, snapshot: str = spec.RESIZE_SNAP) -> None:
        """Remove a snapshot. One that is not there, or whose disk is not, is no error.

        :raises InvalidName:
        :raises PermissionDenied: there may be clones in pools that this user cannot look into
        """
        self._volumes.delete_snapshot(disk, snapshot)

    def rollback_to_snapshot(
        self,
        disk: str,
        snapshot: str = spec.RESIZE_SNAP,
        *,
        wait: float = 0,
        fence: bool = False,
    ) -> None:
        """Make a disk what it was when it was snapshotted, its size included.

        Arguments and errors are those of ``volumes.revert_to_snapshot``.
        """
        self._volumes.revert_to_snapshot(disk, snapshot, wait=wait, fence=fence)

    def cleanup(self, instance_uuid: str, *, fence: bool = False) -> Sequence[str]:
        """Delete every disk of an instance, with its snapshots, and what was being made of them.

        Clients that have one open are given ``rbd_destroy_volume_retries`` times
        ``rbd_destroy_volume_retry_interval`` seconds in all: one that crashed looks alive for
        some 30 s. A disk that images or disks were cloned from goes to the trash until they go.

        :param fence: cut off those that have one open then, as ``volumes.delete`` does: for the
            disks of a host that is dead, or cut off from here
        :return: the names of those that were there
        :raises InUse: one is open for writing, and the error names by whom; the others are gone
        :raises PermissionDenied: there may be clones in pools that this user cannot look into; or
            the user may not cut clients off
        :raises NotSupported: the driver cannot cut clients off
        :raises InvalidName:

        All are tried. The first error is raised, and the others are its notes.
        """
        instance = spec.check_new_name(instance_uuid)
        removal.check_fence(fence)
        there = self.names(instance)
        # Of one that is not there, a killed maker's journal may be.
        kinds = {spec.disk_name(instance, kind) for kind in spec.DISK_KINDS}
        self._destroy_all(sorted(kinds.union(there)), fence)
        return there

    def delete(self, disk: str, *, fence: bool = False) -> None:
        """Delete one disk, with its snapshots. One that is not there is no error.

        Arguments and errors are those of :meth:`delete_all`.
        """
        self.delete_all([disk], fence=fence)

    def delete_all(self, disks: Iterable[str], *, fence: bool = False) -> None:
        """Delete disks, with their snapshots. One that is not there is no error.

        Clients that have any open are given as long as by :meth:`cleanup`, in all.

        :param disks: their names; none at all: nothing is done
        :param fence: as for :meth:`cleanup`
        :raises InUse: one is open for writing, and the error names by whom; the others are gone
        :raises PermissionDenied, NotSupported: as for :meth:`cleanup`
        :raises InvalidName, InvalidInput:

        All are tried. The first error is raised, and the others are its notes.
        """
        removal.check_fence(fence)
        self._destroy_all(spec.check_new_names(disks), fence)

    def _destroy_all(self, names: Iterable[str], fence: bool) -> None:
        settings = self._settings
        patience = settings.destroy_volume_retries * settings.destroy_volume_retry_interval
        deadline = time.monotonic() + patience
        errors = []
        for name in names:
            try:
                self._destroy(name, max(0.0, deadline - time.monotonic()), fence)
            except exceptions.RbdStoreError as error:
                errors.append(error)
        if errors:
            for other in errors[1:]:
                errors[0].add_note(str(other))
            raise errors[0]

    def _destroy(self, name: str, wait: float, fence: bool) -> None:
        snaps: Iterable[str] = ()
        with contextlib.suppress(exceptions.ImageNotFound), self._pool.open(name) as image:
            if fence:
                # Nobody is cut off where it is refused all the same.
                lineage.children(image)
            # Before anything is removed: it may not be a dead client's.
            removal.check_unwatched(image, wait, fence=fence)
            snaps = [
                snap.name
                for snap in image.snaps()
                if not snap.trashed and not spec.is_reserved_snap(snap.name)
            ]
        for snap in snaps:
            snapshots.delete(self._pool, name, snap, self._settings.lease_seconds)
        self._volumes.delete(name)

    def _look(self, name: str) -> Disk:
        with self._pool.open(name) as image:
            parent = image.parent()
            return Disk(name, image.size(), parent.spec if parent else None)
