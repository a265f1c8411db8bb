# SPDX-License-Identifier: Apache-2.0
"""Volumes from volumes: snapshots to clone from, and the limit on how deep clones may go."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rbdstore import claims, exceptions, flattening, lineage, sizes, spec
from rbdstore.drafts import Draft
from rbdstore.driver import Image, Progress, Snap, find_snap
from rbdstore.settings import Settings


def check_fits(source: Image, snap: Snap, size: int | None) -> None:
    """:raises InvalidSize: a clone of ``snap`` would be cut off at ``size``"""
    if size is not None and sizes.check_size(size) < snap.size:
        raise exceptions.InvalidSize(
            f"{size} bytes is smaller than the {snap.size} bytes of "
            f"{source.pool.spec(source.name, snap.name)}"
        )


class Cloner:
    """Fills drafts with clones, and flattens what has become too deep."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flattener = flattening.Flattener(settings)

    def clone_snapshot(self, draft: Draft, source: Image, snap: Snap, size: int | None) -> None:
        """Make ``draft`` a clone of a snapshot."""
        if source.pool.cluster.clone_format == 1 and not snap.protected:
            source.protect_snap(snap.name)
            snap = dataclasses.replace(snap, protected=True)
        draft.clone(source, snap, size)

    def clone_volume(self, drafts: Sequence[Draft], source: str, size: int | None) -> None:
        """Make every draft a clone of the volume ``source`` as it is now, and publish it."""
        if not drafts:
            return
        pool = drafts[0].pool
        limit = self._settings.max_clone_depth
        with pool.open(source, read_only=False) as image:
            if size is not None:
                sizes.check_size(size, least=image.size())
            for draft in drafts:
                draft.check_free()
            # A full copy is a flattened clone: librbd's own copy, of a snapshot of a clone, writes
            # zeros where the data is still the parent's (seen in 16.2.15).
            too_deep = limit <= 0 or lineage.depth(image) >= limit
            if limit > 0 and too_deep and self._settings.flatten_target == "source":
                self.flatten(drafts[0], source)
                too_deep = False
            by_snap = self._snapshot(drafts, image)
            for draft in drafts:
                self.clone_snapshot(draft, image, by_snap[draft.name], size)
        for draft in drafts:
            if too_deep:
                self.flatten(draft, draft.draft)
        # All are clones by now, so none of them can lose the snapshot to a deletion of another.
        for draft in drafts:
            draft.publish()
        if not by_snap[drafts[0].name].size:
            # Of nothing there are no clones.
            for draft in drafts:
                draft.take_back_unused()

    def _snapshot(self, drafts: Sequence[Draft], image: Image) -> dict[str, Snap]:
        """Snapshot ``image`` once for all drafts, or, in clone format 1, once for each."""
        if image.pool.cluster.clone_format == 1:
            names = {draft.name: spec.clone_snap_v1(draft.name) for draft in drafts}
        else:
            names = dict.fromkeys((draft.name for draft in drafts), spec.new_clone_snap())
        taken = {snap.name for snap in image.snaps()}
        for draft in drafts:
            if names[draft.name] in taken:
                # Of an earlier volume of that name, which has been renamed since.
                names[draft.name] = spec.new_clone_snap()
            draft.note(parents=[lineage.link(image, names[draft.name])])
        for name in dict.fromkeys(names.values()):
            image.create_snap(name)
        return {name: find_snap(image, snap) for name, snap in names.items()}

    def flatten(self, claim: claims.Claim, name: str, *, progress: Progress | None = None) -> None:
        """Flatten an image; remove what was only kept for it. ``claim`` keeps the journal."""
        pool = claim.pool
        with pool.open(name) as image:
            image_id = image.id
            claim.remember(lineage.parents(image))
        self._flattener.flatten(pool, image_id, progress=progress)
        claim.take_back_unused(freed_by=image_id)
