# SPDX-License-Identifier: Apache-2.0
"""Volumes: Cinder's work. Disks that are written all the time, with snapshots and clones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rbdstore import (
    connections,
    deriving,
    exceptions,
    lineage,
    listing,
    sizes,
    snapshots,
    spec,
    transfer,
)
from rbdstore.clones import cloning
from rbdstore.driver import Pool, PoolStats, Progress
from rbdstore.exchange import cloneable, exporting, exports, imports
from rbdstore.listing import Volume, VolumeFromImage
from rbdstore.names import claims, removal
from rbdstore.settings import Settings
from rbdstore.trash import deferral, purging
from rbdstore.upkeep import CHUNK_SIZE, Upkeep

__all__ = ["CHUNK_SIZE", "Volume", "VolumeFromImage", "VolumeStore"]


class VolumeStore(Upkeep):
    """The volumes of one pool."""

    def __init__(
        self, pool: Pool, settings: Settings, purger: deferral.Purger | None = None
    ) -> None:
        """``purger`` removes what is deleted, where deletion is deferred."""
        self._pool = pool
        self._settings = settings
        self._purger = purger
        self._cloner = cloning.Cloner(settings)
        self._deriver = deriving.Deriver(pool, settings, self._cloner)
        self._exporter = exporting.Exporter(pool, settings, self._cloner)

    def close(self) -> None:
        """End what goes on in the background. Called by the store when it is closed."""
        self._exporter.close()
        self._cloner.close()

    @property
    def pool(self) -> Pool:
        """The pool of the volumes, for the services beside this one."""
        return self._pool

    # Looking

    def get(self, name: str) -> Volume:
        """:raises ImageNotFound, InvalidName:"""
        return listing.look(self._pool, spec.check_name(name))

    def list(self) -> Sequence[Volume]:
        """All volumes, sorted by name; what is being made or deleted is none."""
        return listing.look_at_all(self._pool)

    def stats(self) -> PoolStats:
        """What the pool holds. No volume is opened for it."""
        return self._pool.stats()

    # One volume

    def create(self, name: str, size: int) -> Volume:
        """Make an empty volume of ``size`` bytes.

        :raises Duplicate: the name is taken
        :raises InvalidName:
        :raises InvalidSize: also one that the cluster cannot hold
        """
        name = spec.check_new_name(name)
        size = sizes.check_size(size)
        order = self._settings.object_order(CHUNK_SIZE)
        with self._claim(name, ["create", size], "make") as claim:
            if claim.adopted:
                # Looked at while the claim is held, here and below: were this to fail after, what
                # would let the call be repeated would be gone.
                volume = self.get(name)
                if volume.size != size:
                    raise exceptions.Duplicate("the name is taken", spec=self._pool.spec(name))
            else:
                claim.check_free()
                claim.note(image_id=claims.ANY)
                try:
                    self._pool.create(name, size, order=order)
                except exceptions.Duplicate:
                    claim.note(image_id="")
                    raise
                volume = Volume(name, size, None, 0, ())
        return volume

    def extend(self, name: str, size: int) -> Volume:
        """Make a volume larger.

        :raises InvalidSize: it is larger than that already, or the cluster cannot hold that
        :raises ImageNotFound, InvalidName:
        """
        name = spec.check_new_name(name)
        size = sizes.check_size(size)
        with self._pool.open_live(name) as image:
            image.resize(size)
        return self.get(name)

    def rename(self, name: str, new_name: str) -> Volume:
        """Give a volume another name.

        :raises Duplicate: ``new_name`` is taken
        :raises ImageNotFound, InvalidName:
        """
        name = spec.check_new_name(name)
        new_name = spec.check_new_name(new_name)
        request = ["rename", name, new_name]
        effects: dict[str, claims.Effect] = {name: "give_up", new_name: "make"}
        with contextlib.ExitStack() as stack:
            # In one order everywhere, so that two who swap names do not wait for each other.
            held = {
                each: stack.enter_context(self._claim(each, request, effects[each]))
                for each in sorted(effects)
            }
            adopted = held[new_name].adopted or held[name].adopted
            # One that was carried out, though its caller was not told, may be long ago: since
            # then the old name may have been given to another volume.
            if not adopted or self._pool.id_of(name) is not None:
                with self._pool.open(name) as image:
                    image_id = image.id
                # Where a renaming was cut off half-way the image has both names.
                if new_name == name or self._pool.id_of(new_name) != image_id:
                    held[new_name].check_free()
                for claim in held.values():
                    claim.note(image_id=image_id)
                held[new_name].give_name(name)
            return self.get(new_name)

    def delete(self, name: str, *, wait: float = 0, fence: bool = False) -> None:
        """Delete a volume. One that is not there is no error.

        A volume that others were cloned from goes to the trash, and is removed with the last of
        these. One that was cloned lets go of its parent. With ``enable_deferred_deletion`` every
        volume goes to the trash, and is removed in the background (:meth:`purge_deleted`).

        :param wait: how many seconds to wait for clients that have it open for writing; one that
            crashed looks alive for some 30 s
        :param fence: cut off those that have it open then, from all images and for a year, dead
            or alive; a warning in the log names each
        :raises InvalidName:
        :raises InvalidInput: ``wait`` is negative, infinite or no number
        :raises InUse: it has snapshots, or is open for writing; the error names them
        :raises PermissionDenied: there may be clones in pools that this user cannot look into; or
            it may not cut clients off
        :raises NotSupported: the driver cannot cut clients off
        """
        name = spec.check_new_name(name)
        wait = removal.check_wait(wait)
        removal.check_fence(fence)
        if self._purger is not None:
            # In a child process it does not run yet.
            self._purger.start()
        with self._claim(name, ["delete"], "remove") as claim:
            try:
                if wait or fence:
                    with self._pool.open(name) as image:
                        # Nobody is cut off, or waited for, where it is refused all the same.
                        removal.check_no_snaps(image, listing.is_ours)
                        lineage.children(image)
                        removal.check_unwatched(image, wait, fence=fence)
                # Anew, because whoever had it open may have made snapshots and clones.
                image = self._pool.open(name)
            except exceptions.ImageNotFound:
                removal.clear_debris(claim)
                return
            with image:
                removal.check_no_snaps(image, listing.is_ours)
                clones = lineage.children(image)
                removal.check_unused(image, self._settings.lease_seconds)
                removal.take_name_away(claim, image, clones, delay=self._delay())

    def purge_deleted(self) -> purging.Purged:
        """The same as :meth:`rbdstore.Store.purge_deleted`."""
        return purging.Purging(self._pool, self._settings).run()

    def flatten(self, name: str, *, progress: Progress | None = None) -> Volume:
        """Make a volume independent of its parent, while it stays in use.

        A parent that was only kept for it is removed.

        :raises ImageNotFound, InvalidName:
        :raises InvalidInput: ``progress`` cannot be called
        """
        name = spec.check_new_name(name)
        transfer.check_progress(progress)
        with self._claim(name, ["flatten"], "none") as claim:
            self._cloner.flatten(claim, name, progress=progress)
            return self.get(name)

    # Snapshots

    def create_snapshot(self, volume: str, snapshot: str) -> None:
        """Snapshot a volume, in use or not.

        :raises Duplicate: the volume has one of that name
        :raises ImageNotFound: also if it is deleted in that very moment
        :raises InvalidName:
        """
        volume = spec.check_new_name(volume)
        snapshot = spec.check_snapshot_name(snapshot)
        snapshots.create(self._pool, volume, snapshot, self._settings.lease_seconds)

    def delete_snapshot(self, volume: str, snapshot: str) -> None:
        """Delete a snapshot. One that is not there, or whose volume is not, is no error.

        One that volumes were cloned from is hidden, and is removed with the last of these.

        :raises InvalidName:
        :raises PermissionDenied: there may be clones in pools that this user cannot look into
        """
        volume = spec.check_new_name(volume)
        snapshot = spec.check_snapshot_name(snapshot)
        snapshots.delete(self._pool, volume, snapshot, self._settings.lease_seconds)

    def revert_to_snapshot(
        self, volume: str, snapshot: str, *, wait: float = 0, fence: bool = False
    ) -> Volume:
        """Make a volume what it was when it was snapshotted, its size included.

        :param wait: as :meth:`delete`
        :param fence: as :meth:`delete`
        :raises ImageNotFound, SnapshotNotFound, InvalidName, InvalidInput:
        :raises InUse: it is open for writing; whoever writes there would not notice
        :raises PermissionDenied, NotSupported: clients cannot be cut off
        """
        volume = spec.check_new_name(volume)
        snapshot = spec.check_snapshot_name(snapshot)
        wait = removal.check_wait(wait)
        removal.check_fence(fence)
        snapshots.rollback(
            self._pool, volume, snapshot, self._settings.lease_seconds, wait=wait, fence=fence
        )
        return self.get(volume)

    # Volumes from other things

    def clone(
        self, name: str, uri: str, size: int | None = None, *, disk_format: str = "raw"
    ) -> Volume:
        """Make a volume from an image, copy-on-write.

        :param uri: the image's location, in any pool of this cluster
        :param size: in bytes; None: the image's
        :param disk_format: the image's; only ``raw`` can be cloned
        :raises NotCloneable: another cluster, another format, a location without a snapshot
        :raises InvalidSize: smaller than the image
        :raises PoolNotFound: the location's; there is none of that name in this cluster
        :raises Duplicate, ImageNotFound, SnapshotNotFound, InvalidLocation, InvalidName:
        """
        name = spec.check_new_name(name)
        location = cloneable.check(self._pool, uri, disk_format)
        return self._deriver.clone(name, location, sizes.check_size_or_none(size))

    def create_from_image(
        self,
        name: str,
        locations: Iterable[str],
        size: int,
        *,
        disk_format: str,
        open_image: imports.OpenImage | None = None,
        progress: Progress | None = None,
    ) -> VolumeFromImage:
        """Make a volume from an image: copy-on-write where that can be, else a full copy.

        :param locations: every one that the image has, of any kind, none at all too; the first
            that can be cloned is
        :param size: in bytes, no smaller than the image's disk
        :param disk_format: the image's: ``raw``, ``iso``, ``qcow2``, ``vdi``, ``vhd``, ``vhdx`` or
            ``vmdk``; only ``raw`` can be cloned, and what is in a container is converted
        :param open_image: gives the image's body, as ``images.add`` takes it. Called when
            none of the locations can be cloned. What it gives is closed where it has a ``close``
        :param progress: of a copy: called with the bytes done and in all, which become more with
            each stage of a conversion
        :raises NotCloneable: no location can be cloned, and there is no ``open_image``
        :raises InvalidSize: smaller than the image's disk
        :raises FormatMismatch: the body is not of that format
        :raises UnsafeImage: it has a backing file, a data file or the like
        :raises BrokenImage: its headers are cut off or damaged
        :raises ConversionFailed: qemu-img could not convert it, or not within its limits
        :raises Duplicate, InvalidBody, InvalidInput, InvalidLocation, InvalidName, StorageFull:

        Nothing is left of a volume that could not be made whole. An error that ``open_image``, or
        what it gives, raises comes out as it is.
        """
        name = spec.check_new_name(name)
        source = imports.Source.of(locations, size, disk_format, open_image)
        transfer.check_progress(progress)
        return self._deriver.from_image(name, source, CHUNK_SIZE, progress)

    def create_from_snapshot(
        self, name: str, volume: str, snapshot: str, size: int | None = None
    ) -> Volume:
        """Make a volume from a snapshot, copy-on-write, or independent of it where the backend's
        ``rbd_flatten_volume_from_snapshot`` says so.

        :param size: in bytes; None: the snapshot's
        :raises InvalidSize: smaller than the snapshot
        :raises Duplicate, ImageNotFound, SnapshotNotFound, InvalidName:
        """
        name = spec.check_new_name(name)
        volume = spec.check_new_name(volume)
        snapshot = spec.check_snapshot_name(snapshot)
        size = sizes.check_size_or_none(size)
        return self._deriver.from_snapshot(name, volume, snapshot, size)

    def create_cloned_volume(self, name: str, source: str, size: int | None = None) -> Volume:
        """Make a volume from another, in use or not, as it is now.

        Calls for one source that come at the same time share a snapshot, which is made after the
        last of them has come (``rbd_clone_gather_time``); nothing else of them is shared.

        At ``rbd_max_clone_depth`` the source is flattened first, or the new volume after
        (``rbd_flatten_target``); with a limit of 0 or less the new volume is a full copy.

        :param size: in bytes; None: the source's
        :raises InvalidSize: smaller than the source
        :raises Duplicate, ImageNotFound, InvalidName:
        """
        return self.create_cloned_volumes([name], source, size)[0]

    def create_cloned_volumes(
        self, names: Iterable[str], source: str, size: int | None = None
    ) -> Sequence[Volume]:
        """Make many volumes from one, all from the same moment of it.

        They share one snapshot, which costs a lot more than a clone. When it fails, those that
        were finished stay; the same call again makes the others.

        :param names: of the new volumes; none at all: nothing is done
        :raises: as :meth:`create_cloned_volume`, and ``InvalidName`` for a name given twice, or
            one name that is not in a list
        """
        names = spec.check_new_names(names)
        source = spec.check_new_name(source)
        size = sizes.check_size_or_none(size)
        return self._deriver.from_volume(names, source, size)

    # Other things from volumes

    def copy_to_image(
        self,
        volume: str,
        images: exports.Images,
        image_id: str,
        *,
        method: exports.Method = "auto",
        flatten: exports.FlattenMode = "inline",
        hashing_algo: str | None = None,
        progress: Progress | None = None,
    ) -> exports.ExportedImage:
        """Make an image of a volume as it is now, in use or not.

        It is cloned into the images' pool, by this backend's user, and flattened: its data is
        not read here. Where that fails, what was made of it is taken back, and the data is
        copied, by the images' own user; a warning says what would mend it.

        :param images: of another store, or of this one
        :param method: ``auto``; ``cow``: fail rather than copy; ``copy``: do not even try
        :param flatten: ``inline``; ``task``: the image is there at once, for who may read the
            volume as well, and is flattened by the cluster in the background
        :param hashing_algo: read the image, and compute its MD5 and this hash; None: a clone has
            no checksums
        :param progress: called while data is copied, or an image flattened inline
        :raises Duplicate: there is such an image, or somebody is making it right now
        :raises NotCloneable, PermissionDenied: with ``cow``; another cluster, or a lacking right
        :raises NotSupported: ``task``, and the cluster has no tasks
        :raises ImageNotFound, InvalidName, InvalidInput:
        """
        volume = spec.check_new_name(volume)
        image_id = spec.check_new_name(image_id)
        exports.check_images(images)
        how = exports.How(method, flatten, hashing_algo, progress)
        how.check()
        return self._exporter.export(volume, images, image_id, how)

    def connection_info(self, name: str) -> connections.ConnectionInfo:
        """How libvirt, QEMU and os-brick open a volume by themselves; there is no key in it.

        :raises NotSupported: no other client can open what this driver keeps
        :raises ImageNotFound, InvalidName:
        """
        return connections.look(self._pool, spec.check_name(name))

    # Inside

    @contextlib.contextmanager
    def _claim(
        self, name: str, request: Iterable[Any], effect: claims.Effect
    ) -> Iterator[claims.Claim]:
        seconds = self._settings.lease_seconds
        with (
            self._cloner.leaving_alone(name),
            claims.Claim(self._pool, name, request, seconds, effect=effect) as claim,
        ):
            yield claim

    def _delay(self) -> int | None:
        """How many seconds a deleted volume waits for its removal; None: it is removed at once."""
        settings = self._settings
        return settings.deferred_deletion_delay if settings.enable_deferred_deletion else None
