# SPDX-License-Identifier: Apache-2.0
"""Backups go: deleted ones, and what is left of one that was being made when its maker died.

What others need of a deleted backup stays. Its data does, for a snapshot that is removed leaves
what later ones share; and what its manifest lists goes into those of its increments, which from
then on are increments of its parent, or full ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

import tenacity
from oslo_log import log

from rbdstore import exceptions, leases, observing, reclaim, spec
from rbdstore.backup import manifests, source_snaps, stock
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.manifests import Manifest, Source, Sums
from rbdstore.backup.stock import Stock
from rbdstore.driver import Image, Pool
from rbdstore.names import claims, removal

LOG = log.getLogger(__name__)


class Claim(claims.Claim):
    """The right to make or to delete a backup, held inside a ``with`` block.

    The journal's outcome says where the backup is: ``base`` and ``base_id``; and of which
    ``source`` it was made. What is not in the catalog at the end is taken back.
    """

    def __init__(
        self,
        catalog: Catalog,
        backup_id: str,
        request: Iterable[Any],
        seconds: float,
        *,
        effect: claims.Effect,
        wait: float | None = None,
        source_pool: Pool | None = None,
    ) -> None:
        """Prepare to claim a backup. The other parameters are those of
        :class:`rbdstore.names.claims.Claim`.

        :param source_pool: where its volume is, if this store's user cannot get at that
        """
        super().__init__(
            catalog.pool,
            spec.backup_lease(backup_id),
            request,
            seconds,
            effect=effect,
            wait=wait,
        )
        self.catalog = catalog
        self.backup_id = backup_id
        self._source_pool = source_pool

    def note_draft(self, name: str) -> None:
        """Write into the journal that an image is about to be made."""
        self._journal.drafts.append(name)
        self.note()

    def note_base(self, base: str, base_id: str, source: Source | None) -> None:
        """Write into the journal where the backup is to be, or was, and of what it is."""
        made_of = dataclasses.asdict(source) if source else None
        self.note(outcome={"base": base, "base_id": base_id, "source": made_of})

    def clear(self) -> None:
        """Remove what there is of a backup that is not in the catalog."""
        if self.outcome and not self.catalog.has(self.backup_id):
            outcome = self.outcome
            clear(self.catalog, self.backup_id, outcome["base"], outcome["base_id"], self.seconds)
            if outcome["source"]:
                self._clear_source(Source(**outcome["source"]))
        self.catalog.tidy()

    def _clear_source(self, source: Source) -> None:
        cluster = (self._source_pool or self.pool).cluster
        if source.fsid != cluster.fsid:
            return
        # What this user may not remove is removed by the next backup of the volume.
        with contextlib.suppress(exceptions.PermissionDenied, exceptions.PoolNotFound):
            pool = cluster.open_pool(source.pool, source.namespace)
            source_snaps.remove_of(pool, source, self.seconds)

    def _finish(self) -> None:
        with contextlib.ExitStack() as stack:
            for base in {spec.made_as(draft) for draft in self._journal.drafts}:
                # Its maker held this lease, too, and its object is to go.
                stack.enter_context(leases.held(self.pool, base, self.seconds))
            super()._finish()
        with self._or_later():
            self.clear()

    def _had_effect(self) -> bool:
        effect = self._journal.effect
        if effect == "none":
            return False
        if effect == "remove":
            return not self.catalog.has(self.backup_id)
        try:
            entry = self.catalog.entry(self.backup_id)
        except exceptions.BrokenBackup:
            return False
        # One that was there before is none that this one made.
        return entry is not None and entry.base_id == self.outcome.get("base_id")


def take_over(pool: Pool, backup_id: str, seconds: float) -> None:
    """Finish what a dead one was at with a backup.

    :raises InUse: somebody is at it
    """
    catalog = Catalog(pool, seconds)
    with Claim(catalog, backup_id, ["gc"], seconds, effect="none", wait=0):
        """To claim it is to finish what a dead holder was at."""


def why_kept(catalog: Catalog, backup_id: str) -> str:
    """Why what there is of a backup that is not in the catalog must stay; empty: it may go.

    Nobody holds a lease on it, nor is there a journal of one who did.
    """
    pool = catalog.pool
    if manifests.is_begun(pool, backup_id):
        return ""
    try:
        manifest = manifests.read(pool, backup_id)
        others = catalog.of_base(manifest.base_id)
    except exceptions.BrokenBackup as error:
        return str(error)
    if needing := [other for other in others if other.parent == backup_id]:
        return f"it is not in the catalog, but {needing[0].backup_id} is an increment of it"
    if not others and _has_snap(pool, manifest):
        return (
            "it is whole but not in the catalog, which may have been lost; whoever knows that it "
            f"is not wanted removes {pool.spec(manifest.base)} and this object"
        )
    return ""


def _has_snap(pool: Pool, manifest: Manifest) -> bool:
    with (
        contextlib.suppress(exceptions.ImageNotFound),
        pool.open(image_id=manifest.base_id) as base,
    ):
        return any(
            (snap.id, snap.name) == (manifest.snap_id, manifest.snap) for snap in base.snaps()
        )
    return False


def remove_rest(pool: Pool, backup_id: str, seconds: float) -> None:
    """Remove what there is of a backup that is not in the catalog, if it may go.

    :raises InUse: somebody is at it
    """
    catalog = Catalog(pool, seconds)
    with Claim(catalog, backup_id, ["gc"], seconds, effect="none", wait=0) as claim:
        if catalog.has(backup_id) or why_kept(catalog, backup_id):
            return
        if manifests.is_begun(pool, backup_id):
            manifests.remove(pool, backup_id)
            return
        with contextlib.suppress(exceptions.BrokenBackup):
            manifest = manifests.read(pool, backup_id)
            claim.note_base(manifest.base, manifest.base_id, manifest.source)
            claim.clear()


def delete(claim: Claim) -> None:
    """Delete the claimed backup. One that is not there is no error.

    :raises BrokenBackup: it has increments, and what they need of its manifest cannot be read
    """
    catalog = claim.catalog
    entry = catalog.entry(claim.backup_id)
    if entry is None:
        return
    try:
        manifest: Manifest | None = catalog.manifest(claim.backup_id)
    except exceptions.BrokenBackup as error:
        LOG.warning("%s", error)
        manifest = None
    claim.note_base(
        _base_name(catalog.pool, entry.base_id, manifest),
        entry.base_id,
        manifest.source if manifest else None,
    )
    with leases.held(catalog.pool, spec.chain_lease(entry.base_id), claim.seconds):
        # Its parent may have been deleted meanwhile, and have left it what it needed.
        if manifest is not None:
            manifest = catalog.manifest(claim.backup_id)
        for other in _increments(catalog, claim.backup_id, entry.base_id):
            if manifest is None:
                raise manifests.broken(
                    catalog.pool,
                    claim.backup_id,
                    f"its manifest cannot be read, and {other.backup_id} is an increment of it: "
                    "delete that first",
                )
            hand_over(catalog, manifest, other)
        catalog.withdraw(claim.backup_id)
    claim.clear()


def _base_name(pool: Pool, base_id: str, manifest: Manifest | None) -> str:
    if manifest is not None:
        return manifest.base
    with contextlib.suppress(exceptions.ImageNotFound), pool.open(image_id=base_id) as image:
        return image.name
    return ""


def _increments(catalog: Catalog, backup_id: str, base_id: str) -> list[Manifest]:
    """The increments of a backup whose manifests can be read.

    One that cannot be read has lost what it lists, whatever becomes of its parent.
    """
    found = []
    for key, entry in catalog.entries().items():
        if key == backup_id or entry.base_id != base_id:
            continue
        try:
            manifest = catalog.manifest(key)
        except (exceptions.BackupNotFound, exceptions.BrokenBackup) as error:
            LOG.warning("%s", error)
            continue
        if manifest.parent == backup_id:
            found.append(manifest)
    return found


def hand_over(catalog: Catalog, manifest: Manifest, increment: Manifest) -> None:
    """Have an increment list what a backup does, and be one of that one's parent. Repeatable."""
    chunk_size = manifest.chunk_size
    limit = manifests.count(increment.floor, chunk_size)
    for part in sorted(manifest.parts):
        own = manifests.read_part(catalog.pool, increment, part)
        old = manifests.read_part(catalog.pool, manifest, part)
        added: Sums = {
            number: mark for number, mark in old.items() if number < limit and number not in own
        }
        if added:
            stored = increment.stored + len(added) * chunk_size
            increment = dataclasses.replace(increment, stored=stored)
            increment = manifests.write(catalog.pool, increment, (part, own | added))
    floor = min(increment.floor, manifest.floor)
    manifests.write(
        catalog.pool,
        dataclasses.replace(increment, parent=manifest.parent, floor=floor),
    )


def delete_stock(claim: Claim, stock: Stock) -> None:
    """Delete the claimed backup, of Cinder's own driver; what it left on its volume stays."""
    claim.note_base(stock.backup.base.image, stock.image_id, None)
    claim.pool.remove_object(spec.stock_metadata(claim.backup_id))
    claim.clear()


def clear(catalog: Catalog, backup_id: str, base: str, base_id: str, seconds: float) -> None:
    """Remove the snapshot and the manifest of a backup that is not in the catalog.

    The image goes with the last backup in it, be that Cinder's own. Repeatable.

    :raises InUse: somebody has the image open
    """
    pool = catalog.pool
    with leases.held(pool, spec.chain_lease(base_id), seconds):
        if _is_needed(catalog, base_id, but=backup_id):
            with contextlib.suppress(exceptions.ImageNotFound):
                with pool.open(image_id=base_id) as seen:
                    # Such as `rbd import-diff`, whose data have no snapshot yet.
                    removal.check_unwatched(seen, seconds)
                with pool.open(image_id=base_id, read_only=False) as image:
                    _remove_snaps(image, backup_id)
                    _settle(catalog, image, seconds)
        elif base and pool.id_of(base) in (None, base_id):
            with leases.held(pool, base, seconds):
                reclaim.draft(pool, base, seconds, reclaim.forget)
        pool.remove_object(spec.stock_metadata(backup_id))
        manifests.remove(pool, backup_id)


def _is_needed(catalog: Catalog, base_id: str, *, but: str) -> bool:
    """Whether an image has other backups, be it by the catalog or by its own snapshots.

    An entry that is damaged, and does not look so, is not to cost the data.
    """
    entries = catalog.entries()
    if any(entry.base_id == base_id for entry in entries.values()):
        return True
    try:
        with catalog.pool.open(image_id=base_id) as image:
            snaps = [snap.name for snap in image.snaps() if not snap.trashed]
            others = {found for name in snaps if (found := spec.backup_of(name))} - {but}
            return not others.isdisjoint(entries) or stock.are_among(catalog, image, others)
    except exceptions.ImageNotFound:
        return False


def _remove_snaps(image: Image, backup_id: str) -> None:
    for snap in image.snaps():
        if spec.backup_of(snap.name) == backup_id:
            with contextlib.suppress(exceptions.SnapshotNotFound):
                image.remove_snap(snap.id)


def _settle(catalog: Catalog, image: Image, seconds: float) -> None:
    """Free what only the image itself holds, and none of its snapshots."""
    snaps = [snap for snap in image.snaps() if not snap.trashed]
    if snaps:
        go_back(image, snaps[-1].name, seconds)


def go_back(image: Image, snap: str, seconds: float) -> None:
    """Have an image be what it was at a snap, if it is not.

    A client that was killed while it wrote there is waited for: its lock lasts as long as its
    watch, some 30 s, which is about as long as its lease did. ``seconds`` more are given to it.

    :raises ReadOnly: somebody has it open, and writes
    """
    size = next(found.size for found in image.snaps() if found.name == snap)
    changed = image.size() != size or any(
        image.extents(0, size, from_snap=snap, whole_object=True)
    )
    if changed:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(exceptions.ReadOnly),
            stop=tenacity.stop_after_delay(seconds),
            wait=tenacity.wait_fixed(0.5),
            before_sleep=lambda _state: observing.happened("in_use_retry"),
            reraise=True,
        )
        retrying(image.rollback, snap)
