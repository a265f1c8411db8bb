# SPDX-License-Identifier: Apache-2.0
"""A pool: names, the trash, and small objects."""

from __future__ import annotations

import contextlib
import time
import typing
from collections.abc import Iterator, Mapping, Sequence

from rbdstore import driver, exceptions
from rbdstore_memory import state
from rbdstore_memory.data import Below, Layer
from rbdstore_memory.image import MemoryImage

if typing.TYPE_CHECKING:
    from rbdstore_memory.driver import MemoryCluster

DEFAULT_ORDER = 22
ORDERS = range(12, 26)
ENDLESS = 1 << 60


class MemoryPool(driver.Pool):
    cluster: MemoryCluster

    def __init__(self, cluster: MemoryCluster, found: state.PoolState) -> None:
        self.cluster = cluster
        self.name = found.name
        self.namespace = found.namespace
        self._found = found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[state.PoolState]:
        with self.cluster.locked():
            yield self._found

    def close(self) -> None:
        """Nothing to let go of."""

    # Images

    def stats(self) -> driver.PoolStats:
        with self.cluster.locked() as cluster:
            live = [self._found.images[image_id] for image_id in self._found.names.values()]
            total = ENDLESS if cluster.capacity is None else cluster.capacity
            used = cluster.used()
            return driver.PoolStats(
                total=total,
                free=max(0, total - used),
                used=used,
                provisioned=sum(image.head.size for image in live),
                images=len(live),
                snapshots=sum(len(image.snaps) for image in live),
            )

    def list_images(self) -> list[str]:
        with self._locked() as pool:
            return list(pool.names)

    def create(self, name: str, size: int, *, order: int | None = None) -> None:
        order = DEFAULT_ORDER if order is None else order
        with self._locked():
            self._check_free(name)
            if order not in ORDERS:
                raise exceptions.InvalidInput(f"order is {ORDERS[0]} to {ORDERS[-1]}, not {order}")
            layer = Layer(size, 1 << order)
            self.add(name, layer, self.cluster.features, {})

    def add(
        self, name: str, layer: Layer, features: frozenset[str], metadata: Mapping[str, str]
    ) -> None:
        """Give ``name`` to a new image with these data."""
        with self.cluster.locked() as cluster:
            self._check_free(name)
            image_id = f"{cluster.next_number():012x}"
            self._found.images[image_id] = state.ImageState(
                image_id, self._found, name, layer, features, dict(metadata)
            )
            self._found.names[name] = image_id

    def clone(self, parent: driver.Pool, image: str, snap: str, name: str) -> None:
        source_spec = parent.spec(image, snap)
        if not isinstance(parent, MemoryPool) or not self.cluster.shares_data_with(parent.cluster):
            raise exceptions.NotCloneable("it is in another cluster", spec=source_spec)
        with self._locked():
            source = parent.find(image)
            found = [each for each in source.snaps.values() if each.name == snap] if source else []
            if source is None or not found:
                raise exceptions.SnapshotNotFound("no such image or snapshot", spec=source_spec)
            data = found[0].layer
            if not data.size:
                raise exceptions.NotCloneable("its size is 0", spec=source_spec)
            layer = Layer(data.size, data.object_size, below=Below(data, data.size, found[0].id))
            self.add(name, layer, self.cluster.features, source.metadata)

    def open(
        self, name: str | None = None, *, image_id: str | None = None, read_only: bool = True
    ) -> MemoryImage:
        if (name is None) == (image_id is None):
            raise exceptions.InvalidInput("an image is opened by its name or by its id")
        with self._locked() as pool:
            if name is not None:
                return MemoryImage(self, self.live(name), read_only=read_only)
            if image_id not in pool.images:
                raise exceptions.ImageNotFound("no such image", spec=self.spec(f"<{image_id}>"))
            return MemoryImage(self, pool.images[image_id], read_only=read_only)

    def id_of(self, name: str) -> str | None:
        with self._locked() as pool:
            return pool.names.get(name)

    def clear_debris(self, name: str) -> bool:
        return False

    def rename(self, name: str, new_name: str) -> None:
        with self._locked() as pool:
            image = self.live(name)
            self._check_free(new_name)
            pool.names[new_name] = pool.names.pop(name)
            image.name = new_name

    def remove(self, name: str, *, progress: driver.Progress | None = None) -> None:
        with self._locked() as pool:
            image = self.live(name)
            self._check_unused(image)
            del pool.names[name], pool.images[image.id]
            image.head.clear()
        if progress is not None:
            progress(1, 1)

    def find(self, name: str) -> state.ImageState | None:
        """The image that has the name, if one has. To be called under the lock."""
        return self._found.images.get(self._found.names.get(name, ""))

    def live(self, name: str) -> state.ImageState:
        """The image that has the name. To be called under the lock."""
        found = self.find(name)
        if found is None:
            raise exceptions.ImageNotFound("no such image", spec=self.spec(name))
        return found

    def _check_free(self, name: str) -> None:
        if name in self._found.names:
            raise exceptions.Duplicate("the name is taken", spec=self.spec(name))

    def _check_unused(self, image: state.ImageState) -> None:
        if image.snaps or image.writers:
            raise exceptions.InUse(
                spec=self.spec(image.name),
                snapshots=[snap.name for snap in image.snaps.values()],
                watchers=image.writers,
            )

    # Trash

    def trash_move(self, name: str, *, delay: int = 0) -> None:
        with self._locked() as pool:
            image = self.live(name)
            if image.locked_by is not None:
                raise exceptions.InUse(spec=self.spec(name), watchers=[image.locked_by])
            pool.trash[pool.names.pop(name)] = time.time() + delay

    def trash_list(self) -> list[driver.TrashEntry]:
        with self._locked() as pool:
            return [self._trash_entry(image_id) for image_id in pool.trash]

    def trash_get(self, image_id: str) -> driver.TrashEntry | None:
        with self._locked() as pool:
            if image_id not in pool.trash:
                return None
            return self._trash_entry(image_id)

    def trash_restore(self, image_id: str, name: str) -> None:
        with self._locked() as pool:
            image = self._trashed(image_id)
            self._check_free(name)
            del pool.trash[image_id]
            pool.names[name] = image_id
            image.name = name

    def trash_remove(self, image_id: str, *, progress: driver.Progress | None = None) -> None:
        with self._locked() as pool:
            image = self._trashed(image_id)
            self._check_unused(image)
            if time.time() < pool.trash[image_id]:
                raise exceptions.InUse(
                    "its time in the trash is not over", spec=self.spec(image.name)
                )
            del pool.trash[image_id], pool.images[image_id]
            image.head.clear()
        if progress is not None:
            progress(1, 1)

    def _trash_entry(self, image_id: str) -> driver.TrashEntry:
        name = self._found.images[image_id].name
        return driver.TrashEntry(image_id, name, self._found.trash[image_id])

    def _trashed(self, image_id: str) -> state.ImageState:
        if image_id not in self._found.trash:
            raise exceptions.ImageNotFound(
                "no such image in the trash", spec=self.spec(f"<{image_id}>")
            )
        return self._found.images[image_id]

    # Small objects

    def lease(
        self, key: str, cookie: str, seconds: float, owner: str, *, renew: bool = False
    ) -> bool:
        with self._locked() as pool:
            if renew and (key not in pool.objects or not pool.objects[key].is_leased_to(cookie)):
                return False
            found = pool.objects.setdefault(key, state.ObjectState())
            if found.is_leased_to_another(cookie):
                return False
            found.cookie, found.owner = cookie, owner
            found.until = time.monotonic() + seconds
            return True

    def lease_owner(self, key: str) -> str | None:
        with self._locked() as pool:
            found = pool.objects.get(key)
            return found.owner if found else None

    def write_leased(self, key: str, cookie: str, data: bytes) -> None:
        with self._locked():
            self._leased(key, cookie).content = bytes(data)

    def remove_leased(self, key: str, cookie: str) -> None:
        with self._locked() as pool:
            self._leased(key, cookie)
            del pool.objects[key]

    def _leased(self, key: str, cookie: str) -> state.ObjectState:
        found = self._found.objects.get(key)
        if found is None or not found.is_leased_to(cookie):
            raise exceptions.LeaseLost(f"the lease on {key} in pool {self.name} ran out")
        return found

    def read_object(self, key: str) -> bytes:
        with self._locked() as pool:
            found = pool.objects.get(key)
            return found.content if found else b""

    def remove_object(self, key: str) -> None:
        with self._locked() as pool:
            pool.objects.pop(key, None)

    def set_keys(self, key: str, entries: Mapping[str, bytes]) -> None:
        with self._locked() as pool:
            pool.objects.setdefault(key, state.ObjectState()).entries.update(entries)

    def get_keys(self, key: str) -> dict[str, bytes]:
        with self._locked() as pool:
            found = pool.objects.get(key)
            return dict(found.entries) if found else {}

    def remove_keys(self, key: str, names: Sequence[str]) -> None:
        with self._locked() as pool:
            if key in pool.objects:
                for name in names:
                    pool.objects[key].entries.pop(name, None)
