# SPDX-License-Identifier: Apache-2.0
"""Which of an image's locations can be cloned, and if not, why not."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Final

from rbdstore import exceptions, spec
from rbdstore.driver import Image, Pool, Snap, find_snap

# What says of one location that it is not the one; anything else is wrong with the cluster.
NOT_THIS_ONE: Final = (
    exceptions.InvalidLocation,
    exceptions.NotCloneable,
    exceptions.NotFound,
    exceptions.PermissionDenied,
    exceptions.Vanished,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a location can be cloned: it is true if so.

    :ivar reason: why not; empty where it can be
    """

    location: str
    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


def verdict(pool: Pool, uri: str, disk_format: str) -> Verdict:
    """Look whether a clone of that location can be made in ``pool``. No data is read.

    :raises ClusterError: nobody knows
    """
    try:
        with opened(pool, check(pool, uri, disk_format)):
            return Verdict(uri)
    except NOT_THIS_ONE as error:
        return Verdict(uri, str(error))


def check(pool: Pool, uri: str, disk_format: str) -> spec.Location:
    """Read a location, which speaks for itself as far as it names what can be cloned.

    :raises NotCloneable: another cluster, another format, a location without a snapshot
    :raises InvalidLocation:
    """
    location = spec.Location.parse(uri)
    if disk_format != "raw":
        raise exceptions.NotCloneable(
            f"{location.uri} is {exceptions.shown(disk_format)}; only raw can be cloned"
        )
    if location.fsid is None or location.pool is None or location.snap is None:
        raise exceptions.NotCloneable(f"{location.uri} names no snapshot to clone from")
    if location.fsid != pool.cluster.fsid:
        raise exceptions.NotCloneable(
            f"{location.uri} is in cluster {location.fsid}, not in {pool.cluster.fsid}"
        )
    return location


@contextlib.contextmanager
def opened(pool: Pool, location: spec.Location) -> Iterator[tuple[Image, Snap]]:
    """Open the image and the snap that a checked location names, for a clone of it in ``pool``.

    :raises PoolNotFound: there is none of that name in this cluster
    :raises PermissionDenied: the user may not read it
    :raises ImageNotFound, SnapshotNotFound:
    """
    with _open(pool, str(location.pool), location.image) as image:
        yield image, find_snap(image, str(location.snap))


def _open(pool: Pool, name: str, image: str) -> Image:
    """Open an image of the pool called ``name``: locations name no namespace.

    Images are in the default one, unless they are where the clone is to be.
    """
    if name == pool.name:
        try:
            return pool.open(image)
        except exceptions.ImageNotFound:
            if not pool.namespace:
                raise
    return pool.cluster.open_pool(name).open(image)
