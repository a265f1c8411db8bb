# SPDX-License-Identifier: Apache-2.0
"""Volumes, as they were when they were looked at: one, or all of a pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from rbdstore import exceptions, lineage, parallel, spec
from rbdstore.driver import Pool, Snap
from rbdstore.exchange import cloneable


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """A volume, as it was when it was looked at.

    :ivar size: in bytes
    :ivar parent: the snapshot it shares data with, if it is a clone
    :ivar depth: how many parents it has above it
    :ivar snapshots: the names of the user's snapshots, oldest first
    """

    name: str
    size: int
    parent: spec.ImageSpec | None
    depth: int
    snapshots: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class VolumeFromImage(Volume):
    """A volume that was made from an image, and how.

    :ivar method: ``clone``, or ``copy``: of the image's body
    :ivar location: what was cloned; empty where it was copied
    :ivar passed_over: the locations that were not cloned, each with the ``reason``
    """

    method: Literal["clone", "copy"]
    location: str
    passed_over: tuple[cloneable.Verdict, ...]


def look(pool: Pool, name: str, depths: lineage.Depths | None = None) -> Volume:
    """Look at one.

    :param depths: of the parents that are known already; others are added
    :raises ImageNotFound:
    """
    with pool.open(name) as image:
        parent = image.parent()
        return Volume(
            name,
            image.size(),
            parent.spec if parent else None,
            lineage.depth(image, depths),
            tuple(snap.name for snap in image.snaps() if _is_users(snap)),
        )


def look_at_all(pool: Pool) -> Sequence[Volume]:
    """All of a pool, sorted by name; what is being made or deleted is none."""
    depths: lineage.Depths = {}

    def look_or_not(name: str) -> Volume | None:
        try:
            return look(pool, name, depths)
        except exceptions.NotFound:
            return None

    names = sorted(pool.list_images())
    found = parallel.each(
        look_or_not, (name for name in names if not spec.is_unfinished_or_deleted(name))
    )
    return [volume for volume in found if volume is not None]


def is_ours(snap: str) -> bool:
    """Whether a snapshot is this library's, or a backup's, and keeps no volume from deletion."""
    return spec.is_reserved_snap(snap) or spec.is_backup_snap(snap)


def _is_users(snap: Snap) -> bool:
    return not snap.trashed and not is_ours(snap.name)
