# SPDX-License-Identifier: Apache-2.0
"""How much may be read and written a second: librbd's own limits, kept with an image.

librbd copies them to clones, so a new volume may begin with its parent's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rbdstore import exceptions, sizes
from rbdstore.driver import Pool

_PREFIX: Final = "rbd_qos_"

KNOWN: Final = tuple(
    f"{of}{unit}_{kind}"
    for unit in ("iops", "bps")
    for of in ("", "read_", "write_")
    for kind in ("limit", "burst")
)
"""What can be limited: operations or bytes; all, reads or writes; on average or at most."""


def check(limits: Mapping[str, int]) -> dict[str, int]:
    """Return what is limited, by the names in :data:`KNOWN`; 0 is no limit.

    :raises InvalidInput: no mapping, a limit of another name, or one that is no whole number
    """
    if not isinstance(limits, Mapping):
        raise exceptions.InvalidInput(
            f"limits are a mapping of names to numbers, not {exceptions.shown(limits)}"
        )
    for name in limits:
        if name not in KNOWN:
            raise exceptions.InvalidInput(
                f"there is no limit {exceptions.shown(name)}; there are {', '.join(KNOWN)}"
            )
    return {name: sizes.check_size(value) for name, value in limits.items() if value}


def look(pool: Pool, name: str) -> dict[str, int]:
    """:raises ImageNotFound, NotSupported:"""
    with pool.open(name) as image:
        return {
            key.removeprefix(_PREFIX): int(value)
            for key, value in image.config().items()
            if key.removeprefix(_PREFIX) in KNOWN and int(value)
        }


def put(pool: Pool, name: str, limits: Mapping[str, int]) -> None:
    """Have these limits hold and no others. Repeatable.

    :raises ImageNotFound, NotSupported:
    """
    found = look(pool, name)
    if found == limits:
        return
    with pool.open_live(name) as image:
        for key in KNOWN:
            if found.get(key) != limits.get(key):
                value = limits.get(key)
                image.set_config(_PREFIX + key, None if value is None else str(value))
