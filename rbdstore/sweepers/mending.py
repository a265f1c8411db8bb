# SPDX-License-Identifier: Apache-2.0
"""Mending children whose link to their parent is torn, whoever was killed at it.

One that the parent does not know of any more is flattened, again if it was being flattened. One
whose parent is gone, so that it cannot be opened, has all of its data if it was flattened; where
that is proven, it is made to forget the parent. Where it is not, it is only explained.
"""

from __future__ import annotations

import time
from typing import Final

from oslo_log import log

from rbdstore import exceptions, lineage, spec
from rbdstore.clones.flattening import Flattener
from rbdstore.driver import Pool, Torn
from rbdstore.names import claims
from rbdstore.settings import Settings

LOG = log.getLogger(__name__)

# Longer than librbd takes from one end of a link to the other, dropping a snap in between.
_PAUSE: Final = 3.0


def find(pool: Pool, *, pause: float = _PAUSE) -> list[Torn]:
    """The children in a pool whose link is torn, and stays so.

    :param pause: after which they are looked at again: who is at work on one is soon done
    """
    first = pool.torn()
    if not first:
        return []
    time.sleep(pause)
    again = pool.torn({torn.image_id for torn in first})
    return [torn for torn in again if torn in first]


def is_mendable(torn: Torn) -> bool:
    """Whether :func:`mend` can help."""
    return torn.state == "unlisted" or (torn.state == "orphan" and not torn.needs)


def explain(torn: Torn) -> str:
    """What it is, and what can be done about it; for humans."""
    parent = f"its parent, {torn.parent},"
    match torn.state, torn.needs:
        case "unlisted", _:
            return (
                f"a flatten or a clone of it was killed: {parent} does not know of it and might "
                "be removed; flattening it mends that"
            )
        case "orphan", "":
            return (
                f"a flatten of it was killed: {parent} is gone and it cannot be opened, but every "
                "object of it is written, so it needs nothing of the parent and can forget it"
            )
        case "orphan", needs:
            return f"{parent} is gone, so it cannot be opened, and {needs}: it is left as it is"
        case _, needs:
            return f"whether {parent} knows of it cannot be told: {needs}"


def mend(pool: Pool, torn: Torn, settings: Settings) -> None:
    """Mend a link, with all data kept.

    :raises InUse: somebody has it open, or is at work on it: that may be what takes it apart. Of
        an orphan nobody can tell who had it open before; it does no harm to those
    :raises ImageNotFound: it is gone, or it may need the parent that is gone
    """
    name = spec.thinning_lease(torn.image_id) if torn.trashed else torn.image
    with claims.Claim(
        pool, name, ["flatten"], settings.lease_seconds, effect="none", wait=0
    ) as claim:
        if torn.state == "orphan":
            pool.let_go(torn.image_id)
        else:
            with pool.open(image_id=torn.image_id) as image:
                if watchers := image.watchers():
                    raise exceptions.InUse(spec=torn.spec, watchers=watchers)
                claim.remember(lineage.parents(image))
            Flattener(settings).flatten(pool, torn.image_id)
            claim.take_back_unused(freed_by=torn.image_id)
    LOG.info("mended %s: %s", torn.spec, explain(torn))
