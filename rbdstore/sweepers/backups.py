# SPDX-License-Identifier: Apache-2.0
"""What is left of backups that are not in the catalog, where no journal leads to it any more.

A maker that was held up for longer than its lease lasts can write after others have taken back
what was its own; a user may lack the right to remove the snapshot of a volume. An image without a
manifest is left alone: Cinder's own backups look like that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from rbdstore import exceptions, parallel, spec
from rbdstore.backup import source_snaps, withdrawing
from rbdstore.backup.catalog import Catalog
from rbdstore.driver import Parent, Pool
from rbdstore.sweepers.images import is_snap_gone, is_unwatched, opened
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Branch, Node, Scan


class Backups(Sweeper):
    def look(self, scan: Scan) -> Iterable[Leftover]:
        if scan.can_list:
            yield from _manifests(scan)
            yield from _catalog(scan)
            yield from _source_snaps(scan)


# In a pool of backups


def _manifests(scan: Scan) -> Iterator[Leftover]:
    pool, prefix = scan.pool, spec.BACKUP_PREFIX
    ids = [key.removeprefix(prefix) for key in scan.inventory.objects if key.startswith(prefix)]
    if not ids:
        return
    # In this order: one that is being made has a lease until it is in the catalog.
    claimed = {work.name for work in scan.work}
    entries = pool.get_keys(spec.BACKUP_INDEX)
    for backup_id in ids:
        lease = spec.backup_lease(backup_id)
        if backup_id in entries or lease in claimed or scan.is_held(lease):
            continue
        # It may be gone by now.
        if pool.get_keys(spec.backup_object(backup_id)):
            yield _of_manifest(scan, backup_id)


def _of_manifest(scan: Scan, backup_id: str) -> Leftover:
    pool, seconds = scan.pool, scan.settings.lease_seconds
    key = spec.backup_object(backup_id)
    found = functools.partial(Leftover, str(pool.spec(key)), "backup", bytes=None)
    if why_kept := withdrawing.why_kept(Catalog(pool, seconds), backup_id):
        return found(why_kept)
    if young := scan.too_young(None):
        return found(young)
    return found(
        "there is no such backup in the catalog, and nobody is making it",
        take_back=functools.partial(withdrawing.remove_rest, pool, backup_id, seconds),
        is_gone=lambda: not pool.get_keys(key),
    )


def _catalog(scan: Scan) -> Iterator[Leftover]:
    pool, key = scan.pool, spec.BACKUP_INDEX
    if key not in scan.inventory.objects or pool.get_keys(key):
        return
    found = functools.partial(Leftover, str(pool.spec(key)), "backup", bytes=0)
    if _is_held(pool, key):
        yield found(
            "somebody is removing it, or was killed doing so",
            may_go=lambda: not _is_held(pool, key),
        )
        return
    gone: list[bool] = []
    catalog = Catalog(pool, scan.settings.lease_seconds)
    yield found(
        "there is no backup in it",
        take_back=lambda: gone.append(catalog.tidy()),
        is_gone=lambda: any(gone),
    )


def _is_held(pool: Pool, key: str) -> bool:
    state = pool.lease_state(key)
    return state is not None and state.held


# Where volumes are


def _source_snaps(scan: Scan) -> Iterator[Leftover]:
    found = [
        (node, branch)
        for node in scan.nodes
        if node.role == "live"
        for branch in node.branches
        if spec.is_source_snap(branch.snap.name)
    ]
    if not found:
        return
    # Those of another cluster's backups are known to that alone.
    stores = {source_snaps.prefix(pool): pool for pool, _problem in scan.pools() if pool}
    idle = [
        (store, node, branch)
        for node, branch in found
        if (store := stores.get(source_snaps.store_of(branch.snap.name)))
        and (node.image_id, branch.snap.name) not in scan.links_at_work
    ]
    kept = parallel.each(lambda one: _has_backup(one[0], one[2]), idle)
    for (store, node, branch), has_backup in zip(idle, kept, strict=True):
        if not has_backup:
            yield _of_source_snap(scan, store, node, branch)


def _has_backup(store: Pool, branch: Branch) -> bool:
    """Whether a snapshot's backup is there, as far as this user may know."""
    snap = branch.snap.name
    try:
        backup_id = snap.removeprefix(source_snaps.store_of(snap))
        return store.get_key(spec.BACKUP_INDEX, backup_id) is not None
    except (exceptions.PermissionDenied, exceptions.NotFound):
        return True


def _of_source_snap(scan: Scan, store: Pool, node: Node, branch: Branch) -> Leftover:
    pool, snap = scan.pool, branch.snap
    found = functools.partial(
        Leftover,
        str(pool.spec(node.name, snap.name)),
        "backup",
        since=branch.since,
        image_id=node.image_id,
    )
    if why_not := opened(node) if node.watchers else scan.too_young(branch.since):
        return found(
            why_not, may_go=functools.partial(is_unwatched, node) if node.watchers else None
        )
    link = Parent(pool.name, pool.namespace, node.name, node.image_id, snap.name)
    return found(
        f"the backup that was made of it is not in pool {store.name}",
        take_back=functools.partial(
            source_snaps.remove,
            pool,
            link,
            scan.settings.lease_seconds,
            is_needed=functools.partial(_has_backup, store, branch),
        ),
        is_gone=functools.partial(is_snap_gone, node, snap.id),
    )
