# SPDX-License-Identifier: Apache-2.0
"""Looking at one image: what it is, what it was cloned from, what was cloned from it.

An image that is looked at alone has its clones as far as its own list of them tells. The forest
(:mod:`rbdstore.views.forest`) puts there what was found when the clones were looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Container
from typing import Literal

from rbdstore import exceptions, lineage, records, spec
from rbdstore.driver import Child, Cluster, Image, Parent, Pool, Snap
from rbdstore.spec import ImageSpec

Kind = Literal["image", "volume", "draft", "deleted", "trash", "unknown"]
"""
image
    has the snapshot that makes it a Glance image
volume
    any other disk
draft
    is being made, or was left by one who was killed while making it
deleted
    was deleted, and is kept for its clones
trash
    was put into the trash by somebody else
unknown
    was not looked at, or could not be: then ``problem`` tells why
"""

SnapKind = Literal["user", "image", "clones", "deleted", "backup"]
"""
user
    a user's snapshot
image
    a Glance image's own, ``snap``
clones
    was made to clone from, and goes with the last clone
deleted
    a user's or another client's, deleted, and kept for its clones
backup
    left by a backup
"""

Steps = dict[Parent, tuple[bool, Parent | None]]
"""Of a snap: whether its image tells at little cost what it stores; and the snap's own parent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """An image and what was cloned from it. What is not known is None.

    :ivar outside: it is in a pool that was not asked for
    :ivar size: in bytes
    :ivar depth: how many parents it has above it
    :ivar limit: how deep it may be by its backend's ``rbd_max_clone_depth``; None: no limit
    :ivar used: bytes in objects of its own; what only its snapshots still have is not in it
    :ivar shared: bytes that it has by its parent; None, as for ``used``, where every object would
        have to be asked
    :ivar watchers: the address of every client that has it open for writing
    :ivar parent: what it was cloned from; one that was flattened may have ``snaps`` with a parent
    :ivar problem: why it could not be looked at
    """

    pool: str
    namespace: str
    name: str
    id: str
    kind: Kind = "unknown"
    trashed: bool = False
    outside: bool = False
    size: int | None = None
    depth: int | None = None
    limit: int | None = None
    used: int | None = None
    shared: int | None = None
    watchers: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    parent: Parent | None = None
    snaps: tuple[Branch, ...] = ()
    problem: str | None = None

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(self.pool, self.name, namespace=self.namespace)

    @property
    def is_too_deep(self) -> bool:
        return self.depth is not None and self.limit is not None and self.depth > self.limit

    @property
    def clones(self) -> tuple[Tree, ...]:
        """Those of all its snapshots."""
        return tuple(clone for snap in self.snaps for clone in snap.clones)


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """A snapshot of an image, and what was cloned from it.

    :ivar parent: what the image was cloned from, as it was then
    :ivar may_have_more: there may be clones in pools that this user cannot look into
    """

    name: str
    id: int | None = None
    size: int | None = None
    kind: SnapKind = "user"
    protected: bool = False
    parent: Parent | None = None
    clones: tuple[Tree, ...] = ()
    may_have_more: bool = False


def tree(pool: Pool, name: str, *, max_clone_depth: int = 0, every_object: bool = False) -> Tree:
    """An image of that name; its clones by their names only.

    :param max_clone_depth: the backend's ``rbd_max_clone_depth``
    :param every_object: find out what is used also where every object has to be asked for it
    :raises ImageNotFound:
    """
    with pool.open(name) as image:
        depth = lineage.depth(image)
        found = look(image, trashed=False, steps={}, every_object=every_object)
    return dataclasses.replace(found, depth=depth, limit=limit(max_clone_depth))


def limit(max_clone_depth: int) -> int | None:
    """How deep a clone may be; 0 or less makes full copies, and says nothing of what is there."""
    return max_clone_depth if max_clone_depth > 0 else None


def look(
    image: Image,
    *,
    trashed: bool,
    steps: Steps,
    every_object: bool = False,
    snaps: Container[str] | None = None,
) -> Tree:
    """An open image without its depth, which depends on others. It is left set to some snap.

    :param image: opened read-only
    :param steps: what earlier calls found out, for one who looks at many images at one time
    :param snaps: the only ones to look at; None: all
    """
    parent = image.parent()
    used, shared = _measure(image, parent, steps, every_object)
    listed = image.snaps()
    found = Tree(
        image.pool.name,
        image.pool.namespace,
        image.name,
        image.id,
        kind=_kind(image, trashed, listed),
        trashed=trashed,
        size=image.size(),
        used=used,
        shared=shared,
        watchers=tuple(image.watchers()),
        features=image.features(),
        parent=parent,
    )
    cheap = image.fast_diff()
    wanted = [snap for snap in listed if snaps is None or snap.name in snaps]
    branches = tuple(_branches(image, wanted))
    for branch in branches:
        steps[lineage.link(image, branch.name)] = cheap, branch.parent
    return dataclasses.replace(found, snaps=branches)


def _branches(image: Image, snaps: list[Snap]) -> list[Branch]:
    found = []
    for snap in snaps:
        # It may have been removed since it was listed.
        with contextlib.suppress(exceptions.SnapshotNotFound):
            image.set_snap(snap.id)
            parent = image.parent()
            try:
                clones, may_have_more = image.children(snap.id), False
            except exceptions.PermissionDenied:
                clones, may_have_more = [], True
            found.append(
                Branch(
                    snap.name,
                    snap.id,
                    snap.size,
                    _snap_kind(snap),
                    snap.protected,
                    parent,
                    tuple(leaf(clone) for clone in clones),
                    may_have_more,
                )
            )
    return found


def leaf(found: Child | Parent, problem: str | None = None) -> Tree:
    """An image of which others told."""
    trashed = isinstance(found, Child) and found.trashed
    return Tree(
        found.pool,
        found.namespace,
        found.image,
        found.image_id,
        trashed=trashed,
        problem=problem,
    )


def _kind(image: Image, trashed: bool, snaps: list[Snap]) -> Kind:
    if trashed:
        entry = image.pool.trash_get(image.id)
        return "deleted" if records.is_deleted(image.pool, image.id, entry) else "trash"
    if image.name.endswith(spec.DELETED_SUFFIX):
        return "deleted"
    if spec.is_draft(image.name):
        return "draft"
    return "image" if any(_snap_kind(snap) == "image" for snap in snaps) else "volume"


def _snap_kind(snap: Snap) -> SnapKind:
    if snap.trashed or snap.name.startswith(spec.DELETED_SNAP_PREFIX):
        return "deleted"
    if spec.is_reserved_snap(snap.name):
        return "clones"
    if spec.is_backup_snap(snap.name):
        return "backup"
    return "image" if snap.name == spec.IMAGE_SNAP else "user"


# Bytes


def _measure(
    image: Image, parent: Parent | None, steps: Steps, every_object: bool
) -> tuple[int | None, int | None]:
    """What the image has of its own, and what by its parent."""
    if not every_object and not image.fast_diff():
        return None, None
    used = _stored(image, include_parent=False)
    if parent is None:
        return used, 0
    if not every_object and not _is_cheap(image.pool.cluster, parent, steps):
        return used, None
    return used, max(0, _stored(image, include_parent=True) - used)


def _stored(image: Image, *, include_parent: bool) -> int:
    found = image.extents(0, image.size(), include_parent=include_parent, whole_object=True)
    return sum(extent.length for extent in found if extent.exists)


def _is_cheap(cluster: Cluster, link: Parent | None, steps: Steps) -> bool:
    passed: set[Parent] = set()
    while link is not None:
        if link not in steps:
            steps[link] = _step(cluster, link)
        cheap, above = steps[link]
        if not cheap or link in passed:
            return False
        passed.add(link)
        link = above
    return True


def _step(cluster: Cluster, link: Parent) -> tuple[bool, Parent | None]:
    try:
        pool = cluster.open_pool(link.pool, link.namespace)
        with pool.open(image_id=link.image_id) as image:
            cheap = image.fast_diff()
            for snap in image.snaps():
                if snap.name == link.snap:
                    image.set_snap(snap.id)
            return cheap, image.parent()
    except (exceptions.NotFound, exceptions.PermissionDenied):
        return False, None
