# SPDX-License-Identifier: Apache-2.0
"""Removing an image's name without harm to its neighbours, and the image with it once it may go.

Taking the name away is one atomic step, and it is the deletion: all checks come before it. What
follows, now or when the last clone goes, is :func:`rbdstore.reclaim.purge`.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable
from typing import Any

from oslo_log import log

from rbdstore import exceptions, leases, lineage, records, spec
from rbdstore.driver import Image
from rbdstore.names import claims

LOG = log.getLogger(__name__)

_POLL_SECONDS = 0.25


def check_wait(wait: Any) -> float:
    """Return ``wait`` as seconds.

    :raises InvalidInput: it is no number, or one that no clock comes to
    """
    try:
        if isinstance(wait, bool | str | bytes | bytearray):
            raise TypeError
        seconds = float(wait)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise exceptions.InvalidInput(
            f"wait is a number of seconds, 0 or more, not {exceptions.shown(wait)}"
        )
    return seconds


def check_fence(fence: Any) -> None:
    """:raises InvalidInput: it is neither True nor False"""
    if not isinstance(fence, bool):
        raise exceptions.InvalidInput(f"fence is True or False, not {exceptions.shown(fence)}")


def check_unwatched(image: Image, wait: float, *, fence: bool = False) -> None:
    """See that nobody has ``image`` open for writing, giving them ``wait`` seconds to end.

    A client that crashed looks alive for some 30 s more.

    :param image: opened read-only
    :param fence: cut off those who have it open then (:meth:`rbdstore.driver.Image.fence`)
    :raises InUse: somebody has
    :raises PermissionDenied, NotSupported: they cannot be cut off
    """
    deadline = time.monotonic() + wait
    waiting = False
    while watchers := image.watchers():
        left = deadline - time.monotonic()
        if left <= 0 and not fence:
            raise exceptions.InUse(spec=image.spec, watchers=watchers)
        if left <= 0:
            fence = False
            image.fence()
            continue
        if not waiting:
            waiting = True
            LOG.info(
                "%s is open for writing by %s: waiting for up to %g s",
                image.spec,
                ", ".join(watchers),
                wait,
            )
        time.sleep(min(left, _POLL_SECONDS))


def check_unused(image: Image, seconds: float) -> None:
    """As :func:`check_unwatched`, of an image that is about to be deleted.

    Who removes a snapshot of it that a clone has just let go of has it open, too, and is waited
    for.

    :param seconds: how long a lease outlives this process
    :raises InUse: somebody has it open for writing
    """
    try:
        check_unwatched(image, 0)
    except exceptions.InUse:
        with leases.held(image.pool, spec.reclaim_lease(image.id), seconds):
            check_unwatched(image, 0)


def check_no_snaps(image: Image, is_ours: Callable[[str], bool]) -> None:
    """See that ``image`` has no snapshots but those of which ``is_ours(name)`` holds.

    :raises InUse: it has; the error names them
    """
    users = [snap.name for snap in image.snaps() if not snap.trashed and not is_ours(snap.name)]
    if users:
        raise exceptions.InUse(spec=image.spec, snapshots=users)


def take_name_away(
    claim: claims.Claim, image: Image, clones: lineage.Clones, *, delay: int | None = None
) -> None:
    """Delete ``image``, on whose name ``claim`` is: at once, or when its clones have gone.

    It goes to the trash, marked as ours, and stays there for :mod:`rbdstore.trash.purging` where
    there is a ``delay``, of 0 seconds or more. Under clone format 1 one with clones gets the name
    that Cinder gives such a volume instead, so that a stock Cinder understands it.

    :raises InUse: a snapshot of it was made in this very moment; it has its name again
    """
    pool, name = claim.pool, claim.name
    parents = lineage.parents(image)
    claim.note_deletion(image.id, parents)
    image.close()
    later = delay is not None
    if clones and pool.cluster.clone_format == 1:
        later = False
        # Of one that is not called as Cinder's are, the name alone would not tell.
        records.mark_deleted(pool, image.id, name)
        try:
            pool.rename(name, spec.deleted_name(name))
        except exceptions.Duplicate:
            # An earlier volume of the same name is still needed as well.
            pool.rename(name, spec.deleted_name(name, claim.image_id))
    else:
        records.mark_deleted(pool, image.id, name)
        pool.trash_move(name, delay=delay or 0)
        # Unless somebody has purged it already.
        if pool.trash_get(image.id) is None and pool.has_image(image.id):
            where = shlex.quote("/".join(filter(None, (pool.name, pool.namespace))))
            raise exceptions.ClusterError(
                "another client gave the name to another image at the same moment, and that one "
                f"went to the trash: `rbd trash ls {where}` shows it, `rbd trash restore` "
                "brings it back",
                spec=pool.spec(name),
            )
    # Also where there are clones: the last of them may have gone since they were listed.
    claim.purge(parents, later=later)


def clear_debris(claim: claims.Claim) -> bool:
    """Clear a name that cannot be opened, if nothing is left behind it; whether it was taken.

    :raises ClusterError: there is an image, which may hold data, but it cannot be opened
    """
    pool, name = claim.pool, claim.name
    if pool.clear_debris(name):
        return True
    # Of an image that is still listed, the name may be lost by which it is opened.
    if name in pool.list_images():
        raise exceptions.ClusterError(
            "it is there but cannot be opened, so its parent is missing; nothing was changed",
            spec=pool.spec(name),
        )
    return False
