# SPDX-License-Identifier: Apache-2.0
"""What librbd's own steps leave when they are cut off: names without an image, and the reverse."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Final

from rbdstore import parallel, spec
from rbdstore.driver import Stray
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Scan

# Longer than a creation, a renaming or a move to the trash takes between its steps.
_STEP_SECONDS: Final = 1.0


class Debris(Sweeper):
    """Names that are taken by something half made, half renamed or half removed."""

    def look(self, scan: Scan) -> Iterable[Leftover]:
        broken = [node.name for node in scan.nodes if node.problem and node.name not in scan.names]
        names = dict.fromkeys([*scan.unopened, *scan.inventory.names, *broken])
        found = self._debris(scan, list(names))
        if found:
            # What is in the middle of being made looks the same, but not for long.
            time.sleep(_STEP_SECONDS)
            found = self._debris(scan, found)
        return [_of_name(scan, name) for name in found]

    def _debris(self, scan: Scan, names: list[str]) -> list[str]:
        seen = parallel.each(scan.pool.is_debris, names)
        return [name for name, is_debris in zip(names, seen, strict=True) if is_debris]


def _of_name(scan: Scan, name: str) -> Leftover:
    found = functools.partial(Leftover, str(scan.pool.spec(name)), "debris")
    if holder := scan.is_held(spec.made_as(name)):
        return found(f"{holder.owner} is at work on {spec.made_as(name)}")
    if young := scan.too_young(None):
        return found(young)
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
