# SPDX-License-Identifier: Apache-2.0
"""Clones whose link to their parent is torn: a killed flatten's, whoever ran it."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from rbdstore.driver import Torn
from rbdstore.sweepers import mending
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Scan


class Links(Sweeper):
    """They are somebody's, and stay: what is taken back is only the tear."""

    def look(self, scan: Scan) -> Iterable[Leftover]:
        return [_of(scan, torn) for torn in mending.find(scan.pool)]


def _of(scan: Scan, torn: Torn) -> Leftover:
    pool = scan.pool
    found = functools.partial(Leftover, str(torn.spec), "torn", image_id=torn.image_id, bytes=None)
    if not mending.is_mendable(torn):
        return found(mending.explain(torn))
    if holder := scan.is_held(torn.image):
        return found(f"{holder.owner} is at work on it")
    if young := scan.too_young(None):
        return found(young)
    return found(
        mending.explain(torn),
        take_back=functools.partial(mending.mend, pool, torn, scan.settings),
        is_gone=lambda: not pool.torn({torn.image_id}),
    )
