# SPDX-License-Identifier: Apache-2.0
"""An open image."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable
from typing import Any, Final

import rados
import rbd

from rbdstore import caps, driver, exceptions
from rbdstore.drivers.rbd import (
    clones,
    errors,
    fencing,
    full,
    headers,
    object_map,
    objects,
    options,
    reserving,
)
from rbdstore.drivers.rbd.data import Data
from rbdstore.drivers.rbd.progress import reported

_LISTINGS: Final = 20
# What the keys of an image's metadata begin with in its header.
_METADATA: Final = "metadata_"
# What its settings begin with among that metadata.
_CONFIG: Final = "conf_"


class RbdImage(Data):
    """Dies with the connection it was opened with, or with the process: then it only closes."""

    # Lineage

    def flatten(self, *, progress: driver.Progress | None = None) -> None:
        with self._calls() as handle, reported(progress) as report:
            ioctx = self.pool.ioctx_of(self._connection)
            try:
                if self._parent_id(handle) is not None:
                    full.check(self._connection, self.spec, handle)
                    object_map.switch_off(handle)
                    handle.flatten(on_progress=report)
            except rbd.InvalidArgument:
                # It has no parent, because somebody else has just flattened it.
                if self._parent_id(handle) is not None:
                    raise
            except BaseException:
                with contextlib.suppress(rbd.Error):
                    object_map.switch_on(ioctx, handle)
                raise
            object_map.switch_on(ioctx, handle)

    def prepare_background_flatten(self) -> None:
        """Do what the manager's flatten would leave out; :meth:`flatten` is to follow it."""
        with self._calls() as handle:
            object_map.switch_off(handle)

    def parent(self) -> driver.Parent | None:
        with self._calls() as handle:
            image_id = self._parent_id(handle)
            if image_id is None:
                return None
            spec = handle.get_parent_image_spec()
            return driver.Parent(
                pool=spec["pool_name"],
                namespace=spec["pool_namespace"],
                image=spec["image_name"],
                image_id=image_id,
                snap=spec["snap_name"],
            )

    def set_snap(self, snap_id: int | None) -> None:
        with self._calls(missing=exceptions.SnapshotNotFound) as handle:
            self._look_at(handle, snap_id)
            self._snap_id = snap_id

    def children(self, snap_id: int) -> list[driver.Child]:
        if not self.read_only:
            # See the contract of set_snap.
            with self.pool.open(image_id=self.id) as image:
                return image.children(snap_id)
        with self._calls(missing=exceptions.SnapshotNotFound) as handle:
            self._look_at(handle, snap_id)
            try:
                found = list(handle.list_children2())
            except rbd.PermissionError as exc:
                raise self._blind(snap_id) from exc
            finally:
                self._look_at(handle, self._snap_id)
        return [
            driver.Child(
                pool=child["pool"],
                namespace=child["pool_namespace"],
                image=child["image"],
                image_id=child["id"],
                trashed=child["trash"],
            )
            for child in found
        ]

    def has_children(self, snap_id: int) -> bool:
        # librbd, listing them, reads the names of all images of their pools.
        with self._calls(missing=exceptions.SnapshotNotFound):
            ioctx = self.pool.ioctx_of(self._connection)
            if headers.children_of_snap(ioctx, self.id, snap_id):
                return True
        return super().has_children(snap_id)

    def _blind(self, snap_id: int) -> exceptions.PermissionDenied:
        ioctx = self.pool.ioctx_of(self._connection)
        pools = clones.hidden_pools(self._connection, ioctx, self.id, snap_id)
        cap = caps.seeing_clones(pools or [self.pool.name])
        where = ", ".join(pools) or self.pool.name
        return errors.denied(self._connection.user, self.spec, where, cap)

    # Snaps

    def snaps(self) -> list[driver.Snap]:
        with self._calls() as handle:
            for _ in range(_LISTINGS):
                # The binding asks for each one's kind after it listed them: those removed
                # meanwhile are not found. A handle whose image is gone says so here.
                handle.size()
                with contextlib.suppress(rbd.ImageNotFound):
                    found = [self._snap(handle, snap) for snap in handle.list_snaps()]
                    return sorted(found, key=lambda snap: snap.id)
        raise exceptions.InUse("its snapshots come and go too fast to be listed", spec=self.spec)

    def still_has(self, snap_id: int) -> bool:
        # A handle for reading is not told of changes. Its header is asked, in one round trip.
        with self._calls():
            return snap_id in headers.snap_ids(self.pool.ioctx_of(self._connection), self.id)

    @staticmethod
    def _snap(handle: rbd.Image, snap: dict[str, Any]) -> driver.Snap:
        ours = snap["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
        return driver.Snap(
            id=snap["id"],
            name=snap["name"],
            size=snap["size"],
            protected=ours and bool(handle.is_protected_snap(snap["name"])),
            trashed=snap["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH,
        )

    def create_snap(self, name: str) -> None:
        with self._calls(name) as handle:
            handle.create_snap(name)
            self._check_snap(handle, name)

    def create_reserved_snap(self, name: str, reserved: driver.ReservedSnap | None) -> None:
        # What the handle holds, it would have to let go of; and what cannot be, librbd says.
        if reserved is None or self.read_only or self._locked:
            self.create_snap(name)
            return
        self._settle()
        self.flush()
        try:
            with self._calls(name) as handle:
                ioctx = self.pool.ioctx_of(self._connection)
                made = reserving.create(ioctx, handle, name, reserved)
                if made:
                    self._open_anew(ioctx)
        except BaseException:
            # Written with an object map that is out of date, changes would be lost to fast diffs.
            with contextlib.suppress(exceptions.RbdStoreError, rados.Error):
                self.close()
            raise
        if not made:
            self.create_snap(name)

    def _check_snap(self, handle: rbd.Image, name: str) -> None:
        # librbd says that it made one in a full pool too, but that has no object map, for which
        # it can never be opened.
        if not handle.features() & options.FEATURES["object-map"]:
            return
        snap_id = handle.snap_get_id(name)
        ioctx = self.pool.ioctx_of(self._connection)
        if objects.exists(ioctx, object_map.of_snap(self.id, snap_id)):
            return
        # It may have been removed meanwhile, with its map.
        with contextlib.suppress(rbd.ImageNotFound):
            handle.remove_snap_by_id(snap_id)
        raise exceptions.StorageFull("the pool is full", spec=self.pool.spec(self.name, name))

    def rename_snap(self, name: str, new_name: str) -> None:
        with self._calls(name, exceptions.SnapshotNotFound) as handle:
            handle.rename_snap(name, new_name)

    def remove_snap(self, snap_id: int) -> None:
        found = [snap for snap in self.snaps() if snap.id == snap_id]
        if not found:
            raise exceptions.SnapshotNotFound(f"no snapshot has id {snap_id}", spec=self.spec)
        spec = self.pool.spec(self.name, found[0].name)
        # librbd would let it go and hide it in the trash, where a kill can cost the child.
        children = self.children(snap_id)
        if children:
            raise exceptions.InUse(spec=spec, children=[child.spec for child in children])
        if found[0].protected:
            raise exceptions.InUse("the snapshot is protected; unprotect it first", spec=spec)
        with self._calls(found[0].name, exceptions.SnapshotNotFound) as handle:
            handle.remove_snap_by_id(snap_id)

    def protect_snap(self, name: str) -> None:
        with self._calls(name, exceptions.SnapshotNotFound) as handle:
            # librbd calls it busy.
            if not handle.is_protected_snap(name):
                handle.protect_snap(name)

    def unprotect_snap(self, name: str) -> None:
        with self._calls(name, exceptions.SnapshotNotFound) as handle:
            if not handle.is_protected_snap(name):
                return
            # It waits for news of the pools, for as long as the monitors are silent.
            self._connection.ask_monitors()
            try:
                handle.unprotect_snap(name)
            except rbd.ImageBusy as exc:
                snap_id = handle.snap_get_id(name)
                raise exceptions.InUse(
                    spec=self.pool.spec(self.name, name),
                    children=[child.spec for child in self.children(snap_id)],
                ) from exc

    def rollback(self, snap: str, *, progress: driver.Progress | None = None) -> None:
        total = self.size()
        # The binding has no progress for a rollback.
        if progress is not None:
            progress(0, total)
        with self._calls(snap, exceptions.SnapshotNotFound) as handle:
            if self.read_only:
                # Which librbd says, before anything is changed.
                handle.rollback_to_snap(snap)
            object_map.rollback(self.pool.ioctx_of(self._connection), handle, snap)
        if progress is not None:
            progress(total, total)

    # Who uses it, and what is written on it

    def watchers(self) -> list[str]:
        with self._calls() as handle:
            return [str(watcher["addr"]) for watcher in handle.watchers_list()]

    def lock(self) -> None:
        with self._calls() as handle:
            if not handle.features() & options.FEATURES["exclusive-lock"]:
                return
            if self.read_only:
                raise exceptions.ReadOnly("opened read-only", spec=self.spec)
            try:
                handle.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
            except (rbd.ImageBusy, rbd.ReadOnlyImage) as exc:
                raise exceptions.InUse(
                    "locked by another client", spec=self.spec, watchers=self.watchers()
                ) from exc
            self._locked = True

    def fence(self) -> list[str]:
        self.pool.cluster.check_no_task(self.spec, self.id)
        with self._calls() as handle:
            return fencing.fence(self._connection, handle, self.spec)

    def created(self, snap_id: int | None = None) -> float | None:
        with self._calls() as handle:
            made = (
                handle.create_timestamp()
                if snap_id is None
                else handle.get_snap_timestamp(snap_id)
            )
        return float(made.replace(tzinfo=datetime.UTC).timestamp())

    def set_features(self, names: Iterable[str], *, enabled: bool) -> None:
        wanted = sum(options.FEATURES[name] for name in names)
        with self._calls() as handle:
            # librbd refuses to switch on what is on.
            off = ~handle.features()
            bits = wanted & (off if enabled else ~off)
            if bits:
                handle.update_features(bits, enabled)
            if enabled and bits & options.FEATURES["object-map"]:
                object_map.rebuild(self.pool.ioctx_of(self._connection), handle)

    def config(self) -> dict[str, str]:
        return {
            key.removeprefix(_CONFIG): value
            for key, value in self.metadata().items()
            if key.startswith(_CONFIG)
        }

    def set_config(self, key: str, value: str | None) -> None:
        with self._calls() as handle:
            if value is not None:
                handle.config_set(key, value)
            elif key in self.config():
                handle.config_remove(key)

    def set_metadata(self, key: str, value: str) -> None:
        with self._calls() as handle:
            handle.metadata_set(key, value)

    def metadata(self) -> dict[str, str]:
        # Not the binding's list, which takes the next entry's value for an empty one.
        with self._calls() as handle:
            handle.size()  # A handle whose image is gone says so here.
            entries = objects.get_keys(
                self.pool.ioctx_of(self._connection), f"rbd_header.{self.id}"
            )
        return {
            key.removeprefix(_METADATA): value.decode(errors="backslashreplace")
            for key, value in entries.items()
            if key.startswith(_METADATA)
        }
