# SPDX-License-Identifier: Apache-2.0
"""Who was cloned from whom: parents, children, depth."""

from __future__ import annotations

import contextlib

from rbdstore import exceptions, records
from rbdstore.driver import Child, Cluster, Image, Parent, Snap

# How often a line of parents may change while it is walked.
_LOOKS = 10

Clones = dict[Snap, list[Child]]
"""The snaps of an image that have children, with these."""

Depths = dict[Parent, int]
"""How many parents an image that was cloned from a snap has."""


def link(image: Image, snap: str) -> Parent:
    """How a clone of that snap of ``image`` names its parent."""
    return Parent(image.pool.name, image.pool.namespace, image.name, image.id, snap)


def parents(image: Image) -> list[Parent]:
    """Every snap that ``image`` needs: its own parent, and those of its snaps.

    They differ in an image without the deep-flatten feature: flattening it frees the image but
    not the snaps that it had.
    """
    found = [image.parent()]
    snaps = image.snaps()
    try:
        for snap in snaps:
            # It may have been removed since it was listed.
            with contextlib.suppress(exceptions.SnapshotNotFound):
                image.set_snap(snap.id)
                found.append(image.parent())
    finally:
        if snaps:
            image.set_snap(None)
    return list(dict.fromkeys(parent for parent in found if parent is not None))


def depth(image: Image, known: Depths | None = None) -> int:
    """How many parents ``image`` has above it, in whatever pool, live or in the trash.

    :param known: what earlier calls found out, for one who asks of many images at one time
    """
    return _depth(image, None, {} if known is None else known)


def depth_of_clones(image: Image, snap: Snap) -> int:
    """How many parents a clone of that snap has.

    :param image: opened read-only; it is left set to the snap
    """
    return 1 + _depth(image, snap, {})


def _depth(image: Image, snap: Snap | None, known: Depths) -> int:
    cluster = image.pool.cluster
    parent = _parent_at(image, snap)
    for _ in range(_LOOKS - 1):
        try:
            return _above(cluster, parent, known)
        except exceptions.NotFound:
            # Somewhere above, an image was flattened meanwhile, and what it had let go of, the
            # snap or all of the image, is gone.
            with image.pool.open(image_id=image.id) as fresh:
                parent = _parent_at(fresh, snap)
    return _above(cluster, parent, known)


def _parent_at(image: Image, snap: Snap | None) -> Parent | None:
    if snap is not None:
        image.set_snap(snap.id)
    return image.parent()


def _above(cluster: Cluster, link: Parent | None, known: Depths) -> int:
    """How many parents there are from ``link`` on.

    Each step goes to the parent as it was at the snap, which may have a parent of its own when
    the image, flattened since, has none.
    """
    if link is None:
        return 0
    if link not in known:
        pool = cluster.open_pool(link.pool, link.namespace)
        with pool.open(image_id=link.image_id) as ancestor:
            for snap in ancestor.snaps():
                if snap.name == link.snap:
                    ancestor.set_snap(snap.id)
            above = ancestor.parent()
        known[link] = 1 + _above(cluster, above, known)
    return known[link]


def children(image: Image) -> Clones:
    """The snaps of ``image`` that have children, with these.

    :raises PermissionDenied: there are pools that this user may not look into
    """
    found: Clones = {}
    for snap in image.snaps():
        with contextlib.suppress(exceptions.SnapshotNotFound):
            if clones := image.children(snap.id):
                found[snap] = clones
    return found


def clones(image: Image) -> Clones:
    """As :func:`children`, with those that a flatten was killed in, which are not listed any more.

    :raises PermissionDenied: there are pools that this user may not look into
    """
    found = children(image)
    for snap in image.snaps():
        listed = {(child.pool, child.namespace, child.image_id) for child in found.get(snap, ())}
        torn = [
            child
            for child in records.children(image, snap.id)
            if (child.pool, child.namespace, child.image_id) not in listed
            and still_needs(image.pool.cluster, child, image.id, snap.name)
        ]
        if torn:
            found[snap] = [*found.get(snap, ()), *torn]
    return found


def pinning_snaps(child: Child, parent: Image) -> list[str]:
    """The snaps of ``child`` that still need ``parent`` after ``child`` itself was flattened."""
    pool = parent.pool.cluster.open_pool(child.pool, child.namespace)
    pinning = []
    with pool.open(image_id=child.image_id) as image:
        for snap in image.snaps():
            image.set_snap(snap.id)
            above = image.parent()
            if above is not None and above.image_id == parent.id:
                pinning.append(snap.name)
    return pinning


def still_needs(cluster: Cluster, child: Child, parent_id: str, snap: str) -> bool:
    """Whether ``child``, or a snap of it, still has that snap of an image as its parent.

    The child's own header tells. The parent's list of children does not: a flatten that is killed
    takes the child off the list before the child lets go of its parent.
    """
    try:
        pool = cluster.open_pool(child.pool, child.namespace)
        with pool.open(image_id=child.image_id) as image:
            return any(
                (above.image_id, above.snap) == (parent_id, snap) for above in parents(image)
            )
    except exceptions.NotFound:
        return False
