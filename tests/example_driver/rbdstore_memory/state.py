# SPDX-License-Identifier: Apache-2.0
"""What there is in a cluster. Every change of it is made under the cluster's lock."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
import uuid
from collections.abc import Iterator

from rbdstore_memory.data import Layer


@dataclasses.dataclass(eq=False)
class SnapState:
    id: int
    name: str
    layer: Layer
    protected: bool = False


@dataclasses.dataclass(eq=False)
class ImageState:
    """An image, with a name or in the trash.

    :ivar writers: the address of each handle that is open for writing
    :ivar locked_by: the address of the one that keeps the others from writing
    """

    id: str
    pool: PoolState
    name: str
    head: Layer
    features: frozenset[str]
    metadata: dict[str, str]
    snaps: dict[int, SnapState] = dataclasses.field(default_factory=dict)
    writers: list[str] = dataclasses.field(default_factory=list)
    locked_by: str | None = None

    def layers(self) -> list[Layer]:
        return [self.head, *(snap.layer for snap in self.snaps.values())]

    def needs(self, snap_id: int) -> bool:
        """Whether the image, or a snap of it, shares data with that snap."""
        return any(layer.below and layer.below.snap_id == snap_id for layer in self.layers())


@dataclasses.dataclass
class ObjectState:
    """A small object: content, map, and a lease."""

    content: bytes = b""
    entries: dict[str, bytes] = dataclasses.field(default_factory=dict)
    owner: str | None = None
    cookie: str | None = None
    until: float = 0.0

    def is_leased_to(self, cookie: str) -> bool:
        return self.cookie == cookie and time.monotonic() < self.until

    def is_leased_to_another(self, cookie: str) -> bool:
        return self.cookie not in (None, cookie) and time.monotonic() < self.until


@dataclasses.dataclass(eq=False)
class PoolState:
    """A namespace of a pool.

    :ivar images: by id, with a name or in the trash
    :ivar names: the ids of those that have a name
    :ivar trash: the others, with the time until which each is kept
    """

    name: str
    namespace: str
    images: dict[str, ImageState] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    trash: dict[str, float] = dataclasses.field(default_factory=dict)
    objects: dict[str, ObjectState] = dataclasses.field(default_factory=dict)


class ClusterState:
    def __init__(self) -> None:
        self.fsid = str(uuid.uuid4())
        self.lock = threading.RLock()
        self.pools: dict[tuple[str, str], PoolState] = {}
        self.capacity: int | None = None
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """A number that was never given before: for ids and addresses."""
        return next(self._numbers)

    def images(self) -> Iterator[ImageState]:
        for pool in self.pools.values():
            yield from pool.images.values()

    def snap(self, snap_id: int) -> tuple[ImageState, SnapState]:
        """A snap by its id, which is the only one of the cluster."""
        for image in self.images():
            if snap_id in image.snaps:
                return image, image.snaps[snap_id]
        raise LookupError(snap_id)

    def children(self, snap_id: int) -> list[ImageState]:
        return [image for image in self.images() if image.needs(snap_id)]

    def used(self) -> int:
        """How many bytes are stored; what snaps share is counted once."""
        stored = {
            id(content): len(content)
            for image in self.images()
            for layer in image.layers()
            for content in layer.objects.values()
        }
        return sum(stored.values())


_CLUSTERS: dict[str, ClusterState] = {}
_LOCK = threading.Lock()


def cluster(name: str) -> ClusterState:
    """The cluster of that name: there is one in a process."""
    with _LOCK:
        return _CLUSTERS.setdefault(name, ClusterState())
