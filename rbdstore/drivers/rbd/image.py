# SPDX-License-Identifier: Apache-2.0
"""An open image."""

from __future__ import annotations

import contextlib
import sys
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import rbd

from rbdstore import driver, exceptions
from rbdstore.completions import Completion, Ended
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import errors, flights, headers, object_map, objects, options, settling
from rbdstore.drivers.rbd.progress import reported

if typing.TYPE_CHECKING:
    from rbdstore.drivers.rbd.pool import RbdPool

# librbd takes no more than 2 GiB in one discard.
_MOST_AT_ONCE: Final = 1 << 30
# As many objects are asked for their extents at once, so that memory is bounded.
_OBJECTS_AT_ONCE: Final = 4096
_LISTINGS: Final = 20
# Then librbd asks for each object, in spite of the feature.
_INVALID: Final = rbd.RBD_FLAG_OBJECT_MAP_INVALID | rbd.RBD_FLAG_FAST_DIFF_INVALID
# Where it is false librbd reads what it is given to write, without a copy, until that has ended.
_COPYING: Final = "rbd_disable_zero_copy_writes"
# What the keys of an image's metadata begin with in its header.
_METADATA: Final = "metadata_"


class RbdImage(driver.Image):
    """Dies with the connection it was opened with, or with the process: then it only closes."""

    pool: RbdPool

    def __init__(
        self,
        pool: RbdPool,
        client: clients.Client,
        connection: clients.Connection,
        handle: rbd.Image,
        *,
        read_only: bool,
    ) -> None:
        self.pool = pool
        self.read_only = read_only
        self._client = client
        self._connection = connection
        self._handle = handle
        self._closed = False
        self._snap_id: int | None = None
        self._had_parent = True
        self._copying: bool | None = None
        # Those that are in flight; librbd keeps them until they have ended.
        self._flights: weakref.WeakSet[flights.Flight[Any]] = weakref.WeakSet()
        connection.hold()
        connection.keep(handle)
        try:
            self.name = handle.get_name()
            self.id = handle.id()
            self._had_parent = self._parent_id(handle) is not None
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _calls(
        self,
        snap: str | None = None,
        missing: type[exceptions.NotFound] = exceptions.ImageNotFound,
        pool: str = "",
    ) -> Iterator[rbd.Image]:
        spec = self.pool.spec(self.name, snap)
        if self._closed:
            raise exceptions.ClusterError("the image was closed", spec=spec)
        if self._connection.inherited:
            raise exceptions.Unreachable("opened before this process was forked", spec=spec)
        try:
            with errors.translated(spec, missing=missing, user=self._connection.user, pool=pool):
                yield self._handle
        except exceptions.Unreachable:
            self._client.drop(self._connection)
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._settle()
        finally:
            # What a dead connection says about the handle's end helps nobody.
            with contextlib.suppress(rbd.Error):
                self._connection.close_handle(self._handle)
            self._connection.release()

    def _settle(self) -> None:
        """To be called before librbd closes the image, or a parent that it may not need next."""
        # While the interpreter is taken down nothing can be called back any more.
        if not self._connection.inherited and not sys.is_finalizing():
            for flight in list(self._flights):
                flight.wait()
            if self._had_parent:
                settling.settle(self.pool.ioctx_of(self._connection))

    def _look_at(self, handle: rbd.Image, snap_id: int | None) -> None:
        self._settle()
        # At a snap there may be a parent where there is none now.
        self._had_parent = True
        handle.set_snap_by_id(snap_id)

    # Data

    def size(self) -> int:
        with self._calls() as handle:
            return int(handle.size())

    @property
    def object_size(self) -> int:
        with self._calls() as handle:
            return int(handle.stat()["obj_size"])

    def features(self) -> frozenset[str]:
        with self._calls() as handle:
            return options.feature_names(handle.features())

    def read(self, offset: int, length: int) -> bytes:
        with self._calls() as handle:
            length = min(length, handle.size() - offset)
            return bytes(handle.read(offset, length)) if length > 0 else b""

    def aio_read(self, offset: int, length: int) -> Completion[bytes]:
        with self._calls() as handle:
            length = min(length, handle.size() - offset)
            if length <= 0:
                return Ended(b"")
            flight = flights.Reading(self._calls, self.spec, self._connection.user)
            flight.begin(handle.aio_read, offset, length)
            self._flights.add(flight)
        return flight

    def write(self, offset: int, data: bytes | bytearray) -> None:
        # The binding takes nothing else, and librbd copies the data anyway.
        data = data if isinstance(data, bytes) else bytes(data)
        with self._calls() as handle:
            self._check_end(handle, offset + len(data))
            handle.write(data, offset)

    def aio_write(
        self, offset: int, data: bytes | bytearray, done: Callable[[], object] | None = None
    ) -> Completion[None]:
        with self._calls() as handle:
            self._check_end(handle, offset + len(data))
            flight = flights.Writing(self._calls, self.spec, self._connection.user, done)
            # This takes bytearrays, unlike the other.
            if not self._copies(handle):
                data = flight.data = bytes(data)
            flight.begin(handle.aio_write, data, offset)
            self._flights.add(flight)
        return flight

    def _copies(self, handle: rbd.Image) -> bool:
        """Whether librbd copies the data of asynchronous writes; so it is, if nobody changed it.

        An operator may: in ceph.conf, in the monitors, for a pool or for an image.
        """
        if self._copying is None:
            self._copying = False
            with contextlib.suppress(rbd.Error):
                found = {option["name"]: option["value"] for option in handle.config_list()}
                self._copying = found.get(_COPYING) == "true"
        return self._copying

    def _check_end(self, handle: rbd.Image, end: int) -> None:
        # librbd writes what fits before it says that not all did.
        size = handle.size()
        if end > size:
            raise exceptions.InvalidSize(
                f"bytes up to {end} reach beyond its end at {size}", spec=self.spec
            )

    def discard(self, offset: int, length: int) -> None:
        # Not librbd's discard: that leaves alone what is smaller than 64 KiB.
        with self._calls() as handle:
            end = min(offset + length, handle.size())
            for start in range(offset, end, _MOST_AT_ONCE):
                handle.write_zeroes(start, min(_MOST_AT_ONCE, end - start))

    def flush(self) -> None:
        with self._calls() as handle:
            handle.flush()

    def resize(self, size: int, *, allow_shrink: bool = False) -> None:
        with self._calls() as handle:
            present = handle.size()
            if size < present and not allow_shrink:
                raise exceptions.InvalidSize(
                    f"{size} bytes is less than its {present}", spec=self.spec
                )
            if size > present:
                options.check_size(size, handle.stat()["obj_size"], self.spec)
            handle.resize(size, allow_shrink=allow_shrink)

    def extents(
        self,
        offset: int,
        length: int,
        *,
        from_snap: str | None = None,
        include_parent: bool = True,
        whole_object: bool = False,
    ) -> Iterator[driver.Extent]:
        window = self.object_size * _OBJECTS_AT_ONCE
        end = min(offset + length, self.size())
        while offset < end:
            # Windows end at an object's end.
            stop = min(end, (offset // window + 1) * window)
            found: list[driver.Extent] = []

            def add(start: int, size: int, exists: bool, found: Any = found) -> None:
                found.append(driver.Extent(start, size, bool(exists)))

            with self._calls(from_snap, exceptions.SnapshotNotFound) as handle:
                handle.diff_iterate(
                    offset,
                    stop - offset,
                    from_snap,
                    add,
                    include_parent=include_parent,
                    whole_object=whole_object,
                )
            # Striped images report by object, which is not by offset.
            yield from sorted(found, key=lambda extent: extent.offset)
            offset = stop

    def fast_diff(self) -> bool:
        with self._calls() as handle:
            on = handle.features() & options.FEATURES["fast-diff"]
            return bool(on) and not handle.flags() & _INVALID

    def flatten(self, *, progress: driver.Progress | None = None) -> None:
        with self._calls() as handle, reported(progress) as report:
            ioctx = self.pool.ioctx_of(self._connection)
            try:
                if self._parent_id(handle) is not None:
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

    # Lineage

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

    @staticmethod
    def _parent_id(handle: rbd.Image) -> str | None:
        try:
            return str(handle.parent_id())
        except rbd.ImageNotFound:
            return None

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
                raise exceptions.PermissionDenied(self._blind(), spec=self.spec) from exc
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

    def _blind(self) -> str:
        user = f"client.{self._connection.user}"
        return (
            f"it may have clones in pools that {user} may not look into. Add to the osd "
            f"capabilities of {user}, for each such pool, `allow class-read pool=<pool> "
            f"object_prefix rbd_`: `ceph auth get {user}` shows them, `ceph auth caps {user} mon "
            "... osd ... mgr ...` replaces them all"
        )

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
            handle.rollback_to_snap(snap)
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
            key.removeprefix(_METADATA): value.decode()
            for key, value in entries.items()
            if key.startswith(_METADATA)
        }
