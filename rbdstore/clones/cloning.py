# SPDX-License-Identifier: Apache-2.0
"""Volumes from volumes: snapshots to clone from, and the limit on how deep clones may go."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from rbdstore import exceptions, gathering, lineage, parallel, sizes, spec
from rbdstore.clones import flattening, thinning
from rbdstore.driver import Child, Image, Pool, Progress, Snap
from rbdstore.names import claims
from rbdstore.names.drafts import Draft
from rbdstore.settings import Settings


def check_fits(source: Image, snap: Snap, size: int | None) -> None:
    """:raises InvalidSize: a clone of ``snap`` would be cut off at ``size``"""
    if size is not None and sizes.check_size(size) < snap.size:
        raise exceptions.InvalidSize(
            f"{size} bytes is smaller than the {snap.size} bytes of "
            f"{source.pool.spec(source.name, snap.name)}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Base:
    """What clones of a volume are made from.

    :ivar depth: how many parents the clones have
    :ivar too_deep: the clones are to be flattened
    """

    snap: Snap
    depth: int
    too_deep: bool


class Cloner:
    """Fills drafts with clones, and flattens what has become too deep."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flattener = flattening.Flattener(settings)
        self._thinner = thinning.Thinner(settings, self._flatten_child)
        self._gathering: gathering.Gathering[_Base] = gathering.Gathering(
            settings.clone_gather_time, spec.new_clone_snap
        )

    def close(self) -> None:
        """End what goes on in the background."""
        self._thinner.close()

    def leaving_alone(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Have nothing done in the background to a volume that somebody wants the name of."""
        return self._thinner.leaving_alone(name)

    def clone_snapshot(self, draft: Draft, source: Image, snap: Snap, size: int | None) -> None:
        """Make ``draft`` a clone of a snapshot."""
        if source.pool.cluster.clone_format == 1 and not snap.protected:
            with source.pool.open_live(image_id=source.id) as writable:
                writable.protect_snap(snap.name)
            snap = dataclasses.replace(snap, protected=True)
        draft.clone(source, snap, size)

    def clone_volume(self, drafts: Sequence[Draft], source: str, size: int | None) -> int:
        """Make every draft a clone of the volume ``source`` as it is now, and publish it.

        :return: the depth of those that have a parent then
        """
        if not drafts:
            return 0
        pool = drafts[0].pool
        with pool.open(source) as image:
            if size is not None:
                sizes.check_size(size, least=image.size())
            for draft in drafts:
                draft.check_free()
            if pool.cluster.clone_format == 1:
                base = self._clone_alone(drafts, image, size)
            else:
                base = self._clone_together(drafts, image, size)
        for draft in drafts:
            if base.too_deep:
                self.flatten_draft(draft)
        # All are clones by now, so none of them can lose the snapshot to a deletion of another.
        parallel.each(lambda draft: draft.publish(), drafts)
        if not base.snap.size:
            # Of nothing there are no clones.
            for draft in drafts:
                draft.take_back_unused()
        return base.depth

    def _clone_together(self, drafts: Sequence[Draft], image: Image, size: int | None) -> _Base:
        """Share a snapshot with all who clone the same volume at this moment."""
        with self._gathering.join(image.id) as group:
            for draft in drafts:
                draft.note(parents=[lineage.link(image, group.name)])
            base = group.once(lambda: self._make_base(drafts[0], image, group.name))
            check_fits(image, base.snap, size)
            parallel.each(lambda draft: draft.clone(image, base.snap, size), drafts)
        return base

    def _clone_alone(self, drafts: Sequence[Draft], image: Image, size: int | None) -> _Base:
        """Make a snapshot for each, as clone format 1 has it."""
        taken = {snap.name for snap in image.snaps()}
        names = [spec.clone_snap_v1(draft.name) for draft in drafts]
        # One may be of an earlier volume of that name, which has been renamed since.
        names = [spec.new_clone_snap() if name in taken else name for name in names]
        for draft, name in zip(drafts, names, strict=True):
            draft.note(parents=[lineage.link(image, name)])
        for draft, name in zip(drafts, names, strict=True):
            base = self._make_base(draft, image, name)
            draft.clone(image, base.snap, size)
        return base

    def _make_base(self, claim: claims.Claim, image: Image, name: str) -> _Base:
        """Snapshot ``image``, having flattened it if that is due. Repeatable."""
        pool, limit = image.pool, self._settings.max_clone_depth
        with pool.open_live(image_id=image.id) as source:
            # A full copy is a flattened clone: librbd's own copy, of a snapshot of a clone, writes
            # zeros where the data is still the parent's (seen in 16.2.15).
            depth = lineage.depth(source)
            too_deep = depth >= limit or limit <= 0
            if limit > 0 and too_deep and self._settings.flatten_target == "source":
                self._flatten_image(claim, source.id)
                depth, too_deep = 0, False
            if name not in (snap.name for snap in source.snaps()):
                source.create_snap(name)
            if pool.cluster.clone_format == 1:
                source.protect_snap(name)
            snaps = source.snaps()
        self._thinner.see_to(image, len(snaps))
        return _Base(next(snap for snap in snaps if snap.name == name), depth + 1, too_deep)

    def flatten_draft(self, draft: Draft) -> None:
        """Make a draft independent of what it was cloned from."""
        self.flatten(draft, draft.draft)
        draft.parent = None

    def flatten(self, claim: claims.Claim, name: str, *, progress: Progress | None = None) -> None:
        """Flatten an image; remove what was only kept for it. ``claim`` keeps the journal."""
        with claim.pool.open(name) as image:
            image_id = image.id
        self._flatten_image(claim, image_id, progress=progress)

    def complete_flatten(self, pool: Pool, image_id: str) -> None:
        """Flatten an image, be it only what a task leaves of that; its parent is not looked at."""
        self._flattener.flatten(pool, image_id)

    def _flatten_image(
        self, claim: claims.Claim, image_id: str, *, progress: Progress | None = None
    ) -> None:
        with claim.pool.open(image_id=image_id) as image:
            claim.remember(lineage.parents(image))
        self._flattener.flatten(claim.pool, image_id, progress=progress)
        claim.take_back_unused(freed_by=image_id)

    def _flatten_child(self, child: Child, above: Pool, progress: Progress) -> None:
        """Flatten a clone, in the trash or not, unless somebody is at work on it."""
        pool = above.cluster.open_pool(child.pool, child.namespace)
        name = spec.thinning_lease(child.image_id) if child.trashed else child.image
        seconds = self._settings.lease_seconds
        with claims.Claim(pool, name, ["flatten"], seconds, effect="none", wait=0) as claim:
            self._flatten_image(claim, child.image_id, progress=progress)
