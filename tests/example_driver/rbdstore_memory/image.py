# SPDX-License-Identifier: Apache-2.0
"""An open image."""

from __future__ import annotations

import contextlib
import os
import typing
from collections.abc import Iterator

from rbdstore import driver, exceptions
from rbdstore_memory import state
from rbdstore_memory.data import Layer

if typing.TYPE_CHECKING:
    from rbdstore_memory.pool import MemoryPool


class MemoryImage(driver.Image):
    pool: MemoryPool

    def __init__(self, pool: MemoryPool, image: state.ImageState, *, read_only: bool) -> None:
        self.pool = pool
        self.name = image.name
        self.id = image.id
        self.read_only = read_only
        self._image = image
        self._layer = image.head
        self._closed = False
        with pool.cluster.locked() as cluster:
            self._address = f"memory:{os.getpid()}/{cluster.next_number()}"
            if not read_only:
                image.writers.append(self._address)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[state.ClusterState]:
        with self.pool.cluster.locked() as cluster:
            if self._closed:
                raise exceptions.ClusterError("the image was closed", spec=self.spec)
            yield cluster

    @contextlib.contextmanager
    def _changing(self) -> Iterator[state.ClusterState]:
        """Give the cluster for a change that does not need the exclusive lock."""
        with self._locked() as cluster:
            if self.read_only:
                raise exceptions.ReadOnly("opened read-only", spec=self.spec)
            yield cluster

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Layer]:
        with self._changing():
            if self._layer is not self._image.head:
                raise exceptions.ReadOnly("set to a snapshot", spec=self.spec)
            if self._is_locked_out():
                raise exceptions.ReadOnly("locked by another", spec=self.spec)
            yield self._layer

    def _is_locked_out(self) -> bool:
        return self._image.locked_by not in (None, self._address)

    def close(self) -> None:
        # Also when the cluster was closed before: nobody else would end the watch.
        with self.pool.cluster.lock:
            if self._closed:
                return
            self._closed = True
            if not self.read_only:
                self._image.writers.remove(self._address)
            if self._image.locked_by == self._address:
                self._image.locked_by = None

    # Data

    def size(self) -> int:
        with self._locked():
            return self._layer.size

    @property
    def object_size(self) -> int:
        with self._locked():
            return self._layer.object_size

    def features(self) -> frozenset[str]:
        with self._locked():
            return self._image.features

    def read(self, offset: int, length: int) -> bytes:
        with self._locked():
            return self._layer.read(offset, max(0, min(length, self._layer.size - offset)))

    def write(self, offset: int, data: bytes) -> None:
        with self._locked() as cluster:
            size = self._layer.size
            if offset + len(data) > size:
                raise exceptions.InvalidSize(
                    f"{len(data)} bytes at {offset} reach beyond its end at {size}",
                    spec=self.spec,
                )
            with self._writing() as layer:
                if cluster.capacity is not None and cluster.used() + len(data) > cluster.capacity:
                    raise exceptions.StorageFull("memory_bytes is reached", spec=self.spec)
                layer.write(offset, data)

    def discard(self, offset: int, length: int) -> None:
        with self._locked():
            end = min(offset + length, self._layer.size)
            if offset < end:
                with self._writing() as layer:
                    layer.zero(offset, end - offset)

    def flush(self) -> None:
        """Nothing to wait for."""
        with self._locked():
            pass

    def resize(self, size: int, *, allow_shrink: bool = False) -> None:
        with self._locked():
            present = self._layer.size
            if size < present and not allow_shrink:
                raise exceptions.InvalidSize(
                    f"{size} bytes is less than its {present}", spec=self.spec
                )
            if size != present:
                with self._writing() as layer:
                    layer.resize(size)

    def extents(
        self,
        offset: int,
        length: int,
        *,
        from_snap: str | None = None,
        include_parent: bool = True,
        whole_object: bool = False,
    ) -> Iterator[driver.Extent]:
        with self._locked():
            before = None if from_snap is None else self._before(from_snap)
            own = before is None and not include_parent
            end = min(offset + length, self._layer.size)
            step = self._layer.object_size
            numbers = range(offset // step, -(-end // step))
        for number in numbers:
            with self._locked():
                changed, exists, reach = self._change(before, number, own, whole_object)
            start = max(offset, number * step)
            stop = min(end, number * step + reach)
            if changed and start < stop:
                yield driver.Extent(start, stop - start, exists)

    def _before(self, from_snap: str) -> Layer:
        found = self._snap(from_snap)
        if any(snap.layer is self._layer and snap.id < found.id for snap in self._snaps()):
            raise exceptions.InvalidInput(
                f"it was set to a snapshot older than {from_snap}", spec=self.spec
            )
        return found.layer

    def _change(
        self, before: Layer | None, number: int, own: bool, whole: bool
    ) -> tuple[bool, bool, int]:
        """Whether an object changed, whether it has data, and how far into it that reaches."""
        exists = self._layer.has(number) and (not own or number in self._layer.objects)
        content = self._layer.object(number) if exists else b""
        if before is None:
            return exists, exists, self._layer.object_size if whole else len(content)
        old = before.object(number) if before.has(number) else b""
        reach = max(len(old), len(content))
        return old != content, exists, self._layer.object_size if whole else reach

    def flatten(self, *, progress: driver.Progress | None = None) -> None:
        with self._locked():
            if self._image.head.below is None:
                return
        with self._changing():
            head = self._image.head
            total = head.size
            numbers = head.shared_objects()
        # Object by object: the image stays in use meanwhile.
        for number in numbers:
            with self._changing():
                head.copy_up(number)
            if progress is not None:
                progress(min(total, (number + 1) * head.object_size), total)
        with self._changing():
            head.below = None
            if "deep-flatten" in self._image.features:
                for snap in self._snaps():
                    snap.layer.flatten()

    # Lineage

    def parent(self) -> driver.Parent | None:
        with self._locked() as cluster:
            if self._layer.below is None:
                return None
            image, snap = cluster.snap(self._layer.below.snap_id)
            return driver.Parent(
                image.pool.name, image.pool.namespace, image.name, image.id, snap.name
            )

    def set_snap(self, snap_id: int | None) -> None:
        with self._locked():
            self._layer = (
                self._image.head if snap_id is None else self._snap_with_id(snap_id).layer
            )

    def children(self, snap_id: int) -> list[driver.Child]:
        with self._locked() as cluster:
            self._snap_with_id(snap_id)
            return [
                driver.Child(
                    child.pool.name,
                    child.pool.namespace,
                    child.name,
                    child.id,
                    trashed=child.id in child.pool.trash,
                )
                for child in cluster.children(snap_id)
            ]

    # Snaps

    def snaps(self) -> list[driver.Snap]:
        with self._locked():
            return [
                driver.Snap(snap.id, snap.name, snap.layer.size, protected=snap.protected)
                for snap in self._snaps()
            ]

    def _snaps(self) -> list[state.SnapState]:
        # Numbers only grow, and so a dictionary of them has the oldest first.
        return list(self._image.snaps.values())

    def _snap(self, name: str) -> state.SnapState:
        for snap in self._snaps():
            if snap.name == name:
                return snap
        raise exceptions.SnapshotNotFound("no such snapshot", spec=self.pool.spec(self.name, name))

    def _snap_with_id(self, snap_id: int) -> state.SnapState:
        try:
            return self._image.snaps[snap_id]
        except KeyError:
            raise exceptions.SnapshotNotFound(
                f"no snapshot has id {snap_id}", spec=self.spec
            ) from None

    def _check_free(self, name: str) -> None:
        if any(snap.name == name for snap in self._snaps()):
            raise exceptions.Duplicate("the name is taken", spec=self.pool.spec(self.name, name))

    def create_snap(self, name: str) -> None:
        with self._changing() as cluster:
            self._check_free(name)
            number = cluster.next_number()
            self._image.snaps[number] = state.SnapState(number, name, self._image.head.copy())

    def rename_snap(self, name: str, new_name: str) -> None:
        with self._changing():
            snap = self._snap(name)
            self._check_free(new_name)
            snap.name = new_name

    def remove_snap(self, snap_id: int) -> None:
        with self._locked():
            snap = self._snap_with_id(snap_id)
            spec = self.pool.spec(self.name, snap.name)
            if children := self.children(snap_id):
                raise exceptions.InUse(spec=spec, children=[child.spec for child in children])
            if snap.protected:
                raise exceptions.InUse("the snapshot is protected; unprotect it first", spec=spec)
            with self._changing():
                del self._image.snaps[snap_id]
                snap.layer.clear()

    def protect_snap(self, name: str) -> None:
        self._set_protected(name, protected=True)

    def unprotect_snap(self, name: str) -> None:
        self._set_protected(name, protected=False)

    def _set_protected(self, name: str, *, protected: bool) -> None:
        with self._locked():
            snap = self._snap(name)
            if snap.protected != protected:
                with self._changing():
                    snap.protected = protected

    def rollback(self, snap: str, *, progress: driver.Progress | None = None) -> None:
        with self._writing() as head:
            before = self._snap(snap).layer.copy()
            if head.below is None:
                # What was flattened stays so, whatever its snaps are.
                before.flatten()
            head.size = before.size
            head.objects = before.objects
            head.below = before.below
        if progress is not None:
            progress(before.size, before.size)

    # Who uses it, and what is written on it

    def watchers(self) -> list[str]:
        with self._locked():
            return list(self._image.writers)

    def lock(self) -> None:
        with self._locked():
            if "exclusive-lock" not in self._image.features:
                return
            with self._changing():
                if self._is_locked_out():
                    raise exceptions.InUse(
                        "locked by another",
                        spec=self.spec,
                        watchers=[str(self._image.locked_by)],
                    )
                self._image.locked_by = self._address

    def set_metadata(self, key: str, value: str) -> None:
        with self._changing():
            self._image.metadata[key] = value

    def metadata(self) -> dict[str, str]:
        with self._locked():
            return dict(self._image.metadata)
