# SPDX-License-Identifier: Apache-2.0
"""Snapshots that backups leave on a volume, for later increments to begin at.

``rbdstore.backup.<store>.<backup id>``: each store of backups has its own, of which it alone knows
when they may go. They keep no volume from being deleted.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from rbdstore import exceptions, leases, lineage, reclaim, spec
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.manifests import Source
from rbdstore.driver import Image, Parent, Pool, Snap, find_snap
from rbdstore.names import claims


def prefix(store: Pool) -> str:
    """How the names of the snapshots begin that belong to the backups in a pool."""
    return spec.source_snaps(f"{store.cluster.fsid}/{store.name}/{store.namespace}")


def place(image: Image) -> str:
    """Which image it is, of any cluster."""
    pool = image.pool
    return "/".join((pool.cluster.fsid, pool.name, pool.namespace, image.id))


def source(image: Image, snap: Snap, *, users: bool) -> Source:
    """What a manifest says of a snapshot that a backup is made of."""
    pool = image.pool
    return Source(
        fsid=pool.cluster.fsid,
        pool=pool.name,
        namespace=pool.namespace,
        image=image.name,
        image_id=image.id,
        snap=snap.name,
        snap_id=snap.id,
        users=users,
    )


def store_of(snap: str) -> str:
    """How the names of all begin that belong to the same backups as this one."""
    return snap[: len(spec.source_snaps(""))]


@contextlib.contextmanager
def made(
    pool: Pool, image: Image, name: str, seconds: float, *, about_to: Callable[[], object]
) -> Iterator[Snap]:
    """Snapshot a volume. If the block raises, the snapshot is removed again.

    :param about_to: called right before it is made
    :raises ImageNotFound: also if it is deleted in that very moment
    """
    with _claim(pool, name, seconds) as claim:
        claim.note(parents=[lineage.link(image, name)])
        with pool.open_live(image_id=image.id) as live:
            about_to()
            live.create_snap(name)
            snap = find_snap(live, name)
        if reclaim.is_deleted(pool, image.id):
            raise exceptions.ImageNotFound("it was deleted meanwhile", spec=image.spec)
        yield snap


def remove(
    pool: Pool, link: Parent, seconds: float, *, is_needed: Callable[[], bool] = lambda: False
) -> None:
    """Remove such a snapshot of a volume, unless a backup is just being made of it.

    A volume that was only kept for it goes with it.
    """
    with (
        contextlib.suppress(exceptions.InUse),
        _claim(pool, link.snap, seconds, wait=0) as claim,
    ):
        if is_needed():
            return
        claim.note(parents=[link])
        claim.take_back_unused()


def remove_of(pool: Pool, found: Source, seconds: float) -> None:
    """Remove the snapshot that a backup was made of which is no more, if it is no user's."""
    if not found.users:
        link = Parent(found.pool, found.namespace, found.image, found.image_id, found.snap)
        remove(pool, link, seconds)


def tidy(image: Image, catalog: Catalog, seconds: float) -> None:
    """Remove the snapshots of a volume whose backups are no more.

    :param image: the volume, as it is now
    """
    if ours := _ours(image, catalog):
        backups = catalog.ids()
        for backup_id, snap in ours.items():
            if backup_id not in backups:
                # One that was being made may be by now.
                is_needed = functools.partial(catalog.has, backup_id)
                link = lineage.link(image, snap.name)
                remove(image.pool, link, seconds, is_needed=is_needed)


def limit(image: Image, catalog: Catalog, keep: int, seconds: float) -> None:
    """Have a volume keep the latest snapshots only, of those whose backups there are.

    Where another backup is being made all of them stay: it may begin at any, and does this itself
    when it has ended. One that an increment is being made since stays, for the next time.

    :param image: the volume, as it is now
    :param keep: how many to keep, 1 or more
    """
    backups = catalog.readable()
    ours = _ours(image, catalog)
    if not ours.keys() <= backups.keys():
        return
    for backup_id in list(ours)[:-keep]:
        lease = spec.chain_lease(backups[backup_id].base_id)
        with (
            contextlib.suppress(exceptions.InUse),
            leases.held(catalog.pool, lease, seconds, wait=0),
        ):
            remove(image.pool, lineage.link(image, ours[backup_id].name), seconds)


def _ours(image: Image, catalog: Catalog) -> dict[str, Snap]:
    """The snapshots of these backups, by the backups' ids; oldest first."""
    beginning = prefix(catalog.pool)
    return {
        snap.name.removeprefix(beginning): snap
        for snap in image.snaps()
        if snap.name.startswith(beginning)
    }


def _claim(pool: Pool, name: str, seconds: float, *, wait: float | None = None) -> claims.Claim:
    return claims.Claim(
        pool, spec.source_lease(name), ["backup"], seconds, effect="none", wait=wait
    )
