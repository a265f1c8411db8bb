# SPDX-License-Identifier: Apache-2.0
"""Stores that the model is compared with, and the places where they are."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Iterator

import filestore
import memory
import samples
from model import Options, Seen

from rbdstore import driver, settings, spec
from rbdstore.store import Store
from rbdstore.testing import faults

OBJECT_SIZE = 64 * 1024

# Longer than any machine is held up. With one fault at a time, nobody waits for the end of one.
LEASE_SECONDS = 120.0


class World(typing.Protocol):
    """A cluster with the pools ``images``, ``volumes`` and ``backups``, for the examples.

    :ivar deep_flatten: whether flattening a volume frees its snapshots, too
    """

    deep_flatten: bool

    def connect(self) -> driver.Cluster:
        """A connection of its own, to be closed by the caller."""

    def leftovers(self) -> list[str]:
        """Everything that is not there in empty pools."""

    def clear(self) -> None:
        """Make the pools empty, whatever is there."""


class OldMemoryCluster(memory.driver.MemoryCluster):
    clone_format = 1


class MemoryWorld:
    """The example driver: a new cluster for each example."""

    def __init__(self, *, clone_format: int = 2, deep_flatten: bool = True) -> None:
        self.deep_flatten = deep_flatten
        kinds = {1: OldMemoryCluster, 2: memory.driver.MemoryCluster}
        self._kind = kinds[clone_format]
        self._features = memory.driver.FEATURES if deep_flatten else ("layering",)
        self.clear()

    def connect(self) -> driver.Cluster:
        return self._kind(self._cluster._state, self._cluster.features)

    def leftovers(self) -> list[str]:
        return [
            f"{pool.name}: {each}"
            for pool in self._cluster._state.pools.values()
            for each in (*pool.images, *pool.objects)
        ]

    def clear(self) -> None:
        self._cluster = memory.memory_cluster(
            pools=("images", "volumes", "backups"), features=self._features
        )


class FileWorld:
    """The embedded driver, in one folder for all examples."""

    def __init__(self, folder: str, *, deep_flatten: bool = True) -> None:
        self.deep_flatten = deep_flatten
        self._folder = folder
        self._features = None if deep_flatten else samples.OLD_FEATURES
        self._cluster = self.connect()

    def connect(self) -> driver.Cluster:
        return filestore.connect(self._folder, file_store_features=self._features)

    def leftovers(self) -> list[str]:
        return self._cluster.leftovers()

    def clear(self) -> None:
        filestore.clear(self._folder)


class Stores:
    """A store of images and one of volumes, with the verbs of :class:`model.Model`.

    :ivar plan: counts the calls of both stores' drivers, and cuts them off
    """

    def __init__(self, connect: Callable[[], driver.Cluster]) -> None:
        self.plan = faults.Plan()
        self._connect = connect
        self._open = contextlib.ExitStack()
        self._attached: dict[str, driver.Image] = {}
        self.reopen(Options())

    def reopen(self, options: Options) -> None:
        """Close everything and connect anew."""
        self.close()
        self._images = self._store("images", options).images
        self._volumes = self._store("volumes", options).volumes
        cluster = self._connect()
        self._open.callback(cluster.close)
        self._pool = cluster.open_pool("volumes")
        self._open.callback(self._pool.close)
        self._fsid = cluster.fsid

    def _store(self, pool: str, options: Options) -> Store:
        values = settings.Settings(
            pool=pool,
            chunk_size=OBJECT_SIZE,
            lease_seconds=LEASE_SECONDS,
            **dataclasses.asdict(options),
        )
        store = Store(faults.FaultyCluster(self._connect(), self.plan), values)
        return self._open.enter_context(store)

    def close(self) -> None:
        while self._attached:
            self._attached.popitem()[1].close()
        self._open.close()

    # Looking

    def names(self) -> tuple[list[str], list[str]]:
        """Of all images, and of all volumes."""
        images = [spec.Location.parse(image.uri).image for image in self._images.list()]
        return images, [volume.name for volume in self._volumes.list()]

    def see_image(self, name: str) -> bytes:
        uri = self._uri(name)
        data = b"".join(self._images.get(uri))
        assert self._images.get_size(uri) == len(data)
        return data

    def see(self, name: str) -> Seen:
        volume = self._volumes.get(name)
        with self._pool.open(name) as image:
            data = image.read(0, volume.size)
            assert image.size() == volume.size
            snapshots = {}
            for snapshot in volume.snapshots:
                image.set_snap(driver.find_snap(image, snapshot).id)
                snapshots[snapshot] = image.read(0, image.size())
            image.set_snap(None)
            parent = image.parent()
        assert volume.parent == (parent and parent.spec)
        return Seen(data, parent and self._live_name(parent), volume.depth, snapshots)

    def _live_name(self, parent: driver.Parent) -> str:
        pool = self._pool.cluster.open_pool(parent.pool)
        deleted = spec.is_unfinished_or_deleted(parent.image) or pool.trash_get(parent.image_id)
        return "" if deleted else parent.image

    # Images

    def add_image(self, name: str, data: bytes, size: int | None) -> None:
        self._images.add(name, data, size)

    def delete_image(self, name: str, in_use: typing.Any) -> None:
        self._images.delete(self._uri(name), in_use=in_use)

    def _uri(self, name: str) -> str:
        return spec.Location(name, self._fsid, "images", spec.IMAGE_SNAP).uri

    # Volumes

    def create(self, name: str, size: int) -> None:
        self._volumes.create(name, size)

    def extend(self, name: str, size: int) -> None:
        self._volumes.extend(name, size)

    def rename(self, name: str, new_name: str) -> None:
        self._volumes.rename(name, new_name)

    def delete(self, name: str) -> None:
        self._volumes.delete(name)

    def flatten(self, name: str) -> None:
        self._volumes.flatten(name)

    def write(self, name: str, offset: int, data: bytes) -> None:
        with self._writable(name) as image:
            image.write(offset, data)
            image.flush()

    def discard(self, name: str, offset: int, length: int) -> None:
        with self._writable(name) as image:
            image.discard(offset, length)
            image.flush()

    def attach(self, name: str) -> None:
        """Have the volume open for writing, as a virtual machine has."""
        image = self._pool.open(name, read_only=False)
        self._attached[image.id] = image

    def detach(self, name: str) -> None:
        self._attached.pop(self._id(name)).close()

    def _id(self, name: str) -> str:
        with self._pool.open(name) as image:
            return image.id

    @contextlib.contextmanager
    def _writable(self, name: str) -> Iterator[driver.Image]:
        attached = self._attached.get(self._id(name))
        if attached is not None:
            yield attached
            return
        with self._pool.open(name, read_only=False) as image:
            yield image

    # Snapshots

    def create_snapshot(self, volume: str, snapshot: str) -> None:
        self._volumes.create_snapshot(volume, snapshot)

    def delete_snapshot(self, volume: str, snapshot: str) -> None:
        self._volumes.delete_snapshot(volume, snapshot)

    def revert(self, volume: str, snapshot: str) -> None:
        self._volumes.revert_to_snapshot(volume, snapshot)

    # Volumes from other things

    def clone(self, name: str, image: str, size: int | None) -> None:
        self._volumes.clone(name, self._uri(image), size)

    def create_from_snapshot(
        self, name: str, volume: str, snapshot: str, size: int | None
    ) -> None:
        self._volumes.create_from_snapshot(name, volume, snapshot, size)

    def create_cloned_volumes(self, names: list[str], source: str, size: int | None) -> None:
        if len(names) == 1:
            self._volumes.create_cloned_volume(names[0], source, size)
        else:
            self._volumes.create_cloned_volumes(names, source, size)
