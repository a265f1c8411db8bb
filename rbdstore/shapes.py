# SPDX-License-Identifier: Apache-2.0
"""What the seam's methods return: plain values, as they were when they were looked at."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rbdstore.spec import ImageSpec


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool holds, in bytes and counts.

    ``total`` is what could be stored if the pool were empty, within its quota; ``free`` what can
    be stored now; ``provisioned`` what its images may grow to, those in the trash left out.
    """

    total: int
    free: int
    used: int
    provisioned: int
    images: int
    snapshots: int


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """As whom other clients may connect; the key they have from elsewhere.

    ``cluster_name`` is the cluster's on this host, ``secret_uuid`` is libvirt's name for the key.
    """

    user: str
    cluster_name: str
    secret_uuid: str


@dataclasses.dataclass(frozen=True, slots=True)
class TrashEntry:
    """An image in the trash, with the name it had.

    It may not be removed before ``kept_until``, in seconds since 1970. Two entries are equal that
    are of one image.
    """

    image_id: str
    name: str
    kept_until: float = dataclasses.field(default=0.0, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as it was when it was looked at.

    ``owner`` has it, or had it last; ``since`` is when that one took or renewed it last, in
    seconds since 1970, give or take the time that the lease is for; 0: not known.
    """

    owner: str
    held: bool
    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class Stray:
    """What there is of an image that neither a name nor the trash leads to.

    ``objects`` are the names of its objects, those of its data not among them, which are only
    counted. An ``empty`` one has no data, nor a header that describes any: no image can be made
    of it again.
    """

    image_id: str
    objects: tuple[str, ...]
    data_objects: int
    empty: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Inventory:
    """What is in a pool beside its images and its trash.

    ``objects`` are small objects; ``names`` those that are taken, though no image is listed under
    them.
    """

    objects: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    strays: tuple[Stray, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Snap:
    """A snap of an image. A ``trashed`` one was removed while it had children."""

    id: int
    name: str
    size: int
    protected: bool = False
    trashed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ReservedSnap:
    """What a snap will need: an id, for images whose data are in one pool."""

    pool_id: int
    snap_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Parent:
    """The snap that an image, or one of its snaps, was cloned from."""

    pool: str
    namespace: str
    image: str
    image_id: str
    snap: str

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(self.pool, self.image, self.snap, self.namespace)


@dataclasses.dataclass(frozen=True, slots=True)
class Child:
    """An image that was cloned from a snap."""

    pool: str
    namespace: str
    image: str
    image_id: str
    trashed: bool = False

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(self.pool, self.image, namespace=self.namespace)


@dataclasses.dataclass(frozen=True, slots=True)
class Torn:
    """A child whose link to its parent is torn, as a killed flatten or clone leaves it.

    :ivar image: its name, or the one it had, where it is in the trash
    :ivar parent: pool and id of the parent, and the id of the snap, for humans
    :ivar state: ``unlisted``: it has a parent that does not know of it, and would let itself be
        removed; ``orphan``: the parent or its snap is gone, so it cannot be opened; ``unknown``:
        this user may not look at the parent, or the child's header cannot be read
    :ivar needs: of an orphan, why it may need what is gone; empty: it is proven not to. Of an
        ``unknown`` one, why: the lacking capability, as a rule
    """

    pool: str
    namespace: str
    image: str
    image_id: str
    trashed: bool
    parent: str
    state: Literal["unlisted", "orphan", "unknown"]
    needs: str = ""

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(self.pool, self.image, namespace=self.namespace)


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of an image: written, or (``exists`` false) a hole that reads as zeros."""

    offset: int
    length: int
    exists: bool
