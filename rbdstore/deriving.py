# SPDX-License-Identifier: Apache-2.0
"""Volumes from other things: an image, a snapshot, another volume.

Each is a draft until it is whole. One that a call which was cut off has published is adopted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rbdstore import exceptions, lineage, listing, spec, transfer
from rbdstore.clones import cloning
from rbdstore.driver import Pool, Progress, find_snap
from rbdstore.exchange import cloneable, imports, receiving
from rbdstore.listing import Volume, VolumeFromImage
from rbdstore.names import drafts
from rbdstore.settings import Settings
from rbdstore.transfer import reader


class Deriver:
    """Makes the volumes of one pool. All arguments are checked."""

    def __init__(self, pool: Pool, settings: Settings, cloner: cloning.Cloner) -> None:
        self._pool = pool
        self._settings = settings
        self._cloner = cloner

    def clone(self, name: str, location: spec.Location, size: int | None) -> Volume:
        """Clone an image."""
        with self._draft(name, ["clone", location.uri, size]) as draft:
            if draft.adopted:
                return listing.look(self._pool, name)
            with cloneable.opened(self._pool, location) as (image, snap):
                cloning.check_fits(image, snap, size)
                draft.check_free()
                draft.clone(image, snap, size)
                depth = lineage.depth_of_clones(image, snap)
            draft.publish()
            return _made(draft, depth)

    def from_image(
        self, name: str, source: imports.Source, chunk_size: int, progress: Progress | None
    ) -> VolumeFromImage:
        """Clone or copy an image."""
        with self._draft(name, source.request("create_from_image")) as draft:
            outcome = imports.make(
                draft, source, self._settings, chunk_size=chunk_size, progress=progress
            )
            made = listing.look(self._pool, name)
        return VolumeFromImage(
            made.name,
            made.size,
            made.parent,
            made.depth,
            made.snapshots,
            outcome.method,
            outcome.location,
            outcome.passed_over,
        )

    def from_snapshot(self, name: str, volume: str, snapshot: str, size: int | None) -> Volume:
        """Clone a snapshot."""
        with self._draft(name, ["create_from_snapshot", volume, snapshot, size]) as draft:
            if draft.adopted:
                return listing.look(self._pool, name)
            with self._pool.open(volume) as source:
                snap = find_snap(source, snapshot)
                cloning.check_fits(source, snap, size)
                draft.check_free()
                self._cloner.clone_snapshot(draft, source, snap, size)
                depth = lineage.depth_of_clones(source, snap)
            if self._settings.flatten_volume_from_snapshot:
                self._cloner.flatten_draft(draft)
            draft.publish()
            return _made(draft, depth)

    def from_volume(self, names: Sequence[str], source: str, size: int | None) -> Sequence[Volume]:
        """Clone a volume as it is now, as often as there are names."""
        with contextlib.ExitStack() as stack:
            request = ["create_cloned_volume", source, size]
            # In one order everywhere, so that two callers do not wait for each other.
            made = [stack.enter_context(self._draft(name, request)) for name in sorted(names)]
            new = [draft for draft in made if not draft.adopted]
            depth = self._cloner.clone_volume(new, source, size)
            volumes = {
                draft.name: listing.look(self._pool, draft.name)
                if draft.adopted
                else _made(draft, depth)
                for draft in made
            }
        return [volumes[name] for name in names]

    def from_data(
        self,
        name: str,
        origin: str,
        reading: contextlib.AbstractContextManager[reader.Reader],
        chunk_size: int,
    ) -> Volume:
        """Copy what is read from ``origin``, whatever it is."""
        settings = self._settings
        how = {"window": settings.transfer_window, "threads": settings.transfer_threads}
        algorithm = receiving.ALGORITHM
        with self._draft(name, ["copy", origin]) as draft:
            if draft.adopted:
                with reading as data:
                    digests = transfer.measure(data, data.size, algorithm, **how)
                if dataclasses.asdict(digests) != draft.outcome:
                    raise exceptions.Duplicate(
                        "it was copied before, and the source has changed since",
                        spec=self._pool.spec(name),
                    )
                return listing.look(self._pool, name)
            draft.check_free()
            # What is read goes before the copy has its name: were that to fail after, the call
            # could not be repeated.
            with reading as data:
                order = settings.object_order(chunk_size)
                with draft.create(data.size, order=order) as image:
                    image.lock()
                    digests = transfer.fill(image, data, data.size, algorithm, None, **how)
            draft.note(outcome=dataclasses.asdict(digests))
            draft.size = digests.size
            draft.publish()
            return _made(draft, 0)

    def _draft(self, name: str, request: Iterable[Any]) -> drafts.Draft:
        seconds = self._settings.lease_seconds
        return drafts.Draft(self._pool, name, request, seconds, effect="make")


def _made(draft: drafts.Draft, depth: int) -> Volume:
    """What was verified before it was given its name need not be looked at again."""
    parent = draft.parent
    return Volume(
        draft.name, draft.size, parent.spec if parent else None, depth if parent else 0, ()
    )
