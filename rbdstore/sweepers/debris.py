# SPDX-License-Identifier: Apache-2.0
"""What librbd's own steps leave when they are cut off: names without an image, and the reverse."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Final

from rbdstore import parallel, reclaim, spec
from rbdstore.driver import Stray
from rbdstore.names import claims
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Scan

# Longer than a creation, a renaming or a move to the trash takes between its steps.
_STEP_SECONDS: Final = 1.0


class Debris(Sweeper):
    """Names that are taken by something half made, half renamed or half removed."""

    def look(self, scan: Scan) -> Iterable[Leftover]:
        broken = [node.name for node in scan.nodes if node.problem and node.name not in scan.names]
        names = list(dict.fromkeys([*scan.unopened, *scan.inventory.names, *broken]))
        found = _seen(scan, names)
        if found:
            # What is in the middle of being made looks the same, but not for long.
            time.sleep(_STEP_SECONDS)
            found = _seen(scan, found)
        taken = set(scan.unopened).difference(found).intersection(scan.pool.list_images())
        return [
            *(_of_name(scan, name) for name in found),
            *(_of_unopened(scan, name) for name in sorted(taken)),
        ]


def _seen(scan: Scan, names: list[str]) -> list[str]:
    """Those of the names that are debris now."""
    seen = parallel.each(scan.pool.is_debris, names)
    return [name for name, is_debris in zip(names, seen, strict=True) if is_debris]


def _of_unopened(scan: Scan, name: str) -> Leftover:
    """What has a header, and cannot be opened by it."""
    made_as, seconds = spec.made_as(name), scan.settings.lease_seconds
    found = functools.partial(Leftover, str(scan.pool.spec(name)))
    if holder := scan.is_held(made_as):
        return found("debris", f"{holder.owner} is at work on {made_as}")
    if young := scan.too_young(None):
        return found("debris", young)
    if made_as == name:
        return found(
            "debris",
            "it is there but cannot be opened: half made or half removed, or its parent is gone; "
            "there may be data in it",
        )

    def take_back() -> None:
        with claims.Claim(scan.pool, made_as, ["gc"], seconds, effect="none", wait=0) as claim:
            reclaim.draft(scan.pool, name, seconds, claim.remember)

    return found(
        "draft",
        "nobody is making it any more, and it is not so far that it could be opened",
        take_back=take_back,
        is_gone=lambda: name not in scan.pool.list_images(),
    )


def _of_name(scan: Scan, name: str) -> Leftover:
    made_as, since = spec.made_as(name), scan.pool.named_at(name)
    found = functools.partial(Leftover, str(scan.pool.spec(name)), "debris", since=since)
    if holder := scan.is_held(made_as):
        return found(f"{holder.owner} is at work on {made_as}")
    if young := scan.too_young(since):
        return found(young)
    # Other clients make images under their own names, without a lease. Between two steps one may
    # wait for an OSD.
    if made_as == name and since and time.time() - since < scan.settings.lease_seconds:
        return found(
            "it may be being made by another client: it was begun less than "
            f"{scan.settings.lease_seconds:g} s ago",
            may_go=lambda: time.time() - since >= scan.settings.lease_seconds,
        )
    return found(
        "no image is left behind the name, or it has another one, or was being removed",
        take_back=functools.partial(scan.pool.clear_debris, name),
        is_gone=lambda: not scan.pool.is_debris(name),
    )


class Strays(Sweeper):
    """Objects of images that nothing leads to."""

    def look(self, scan: Scan) -> Iterable[Leftover]:
        return [_of_stray(scan, stray) for stray in scan.inventory.strays]


def _of_stray(scan: Scan, stray: Stray) -> Leftover:
    pool = scan.pool
    found = functools.partial(
        Leftover,
        str(pool.spec(f"<{stray.image_id}>")),
        "stray",
        image_id=stray.image_id,
        bytes=None if stray.data_objects else 0,
    )
    objects = ", ".join([*stray.objects, *_counted(stray)])
    if not stray.empty:
        return found(
            f"{objects}: neither a name nor the trash leads to them, but there is data, or a "
            "header that tells how to read it; whoever knows that it is not wanted removes "
            "these objects with the rados command"
        )
    if young := scan.too_young(None):
        return found(young)
    cleared: list[bool] = []
    return found(
        f"{objects}: there is no data, and no header that describes any",
        take_back=lambda: cleared.append(pool.clear_stray(stray)),
        is_gone=lambda: any(cleared),
    )


def _counted(stray: Stray) -> list[str]:
    return [f"{stray.data_objects} objects of data"] if stray.data_objects else []
