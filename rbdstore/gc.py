# SPDX-License-Identifier: Apache-2.0
"""Garbage collection: one pass over a pool for what crashes, and other drivers, have left in it.

What each kind of leftover is, and why it may go, is known to the sweepers
(:mod:`rbdstore.sweepers`). Whatever is not certain is left alone, and the reason told.

Who reclaims has a lease, so that several do not do the same; it is no more than that: what makes
each step safe are the leases on names and ids, which everybody takes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any, Final

from oslo_log import log

from rbdstore import exceptions, leases, parallel, spec, sweepers
from rbdstore.driver import Pool
from rbdstore.settings import Settings
from rbdstore.sweepers import Leftover
from rbdstore.sweepers.findings import Collected, Finding

LOG = log.getLogger(__name__)

# What is reclaimed may lay bare what no sweeper could see before.
_PASSES: Final = 5

_POLL_SECONDS: Final = 0.5

# Between a clone's removal and its parent's, which Cinder does one after the other, nothing shows
# that it is about to go on.
_CINDERS_SECONDS: Final = 1.0

_OUTAGES: Final = (exceptions.Unreachable, exceptions.Timeout)

_Found = dict[tuple[str, str, str], tuple[int, Leftover]]


def check_older_than(older_than: Any) -> float:
    """Return ``older_than`` as seconds.

    :raises InvalidInput: it is no number, or a negative one
    """
    is_number = isinstance(older_than, int | float) and not isinstance(older_than, bool)
    if is_number and 0 <= older_than < math.inf:
        return float(older_than)
    raise exceptions.InvalidInput(
        f"older_than is a number of seconds, 0 or more, not {exceptions.shown(older_than)}"
    )


class Collector:
    """Finds what was left in a pool, and reclaims it."""

    def __init__(self, pool: Pool, settings: Settings, *, older_than: float = 0) -> None:
        self._pool = pool
        self._settings = settings
        self._older_than = older_than

    def look(self) -> Collected:
        """Find it, and change nothing."""
        found = [
            leftover.finding("reclaimable" if leftover.take_back else "left")
            for _, leftover in self._look().values()
        ]
        return Collected(tuple(found), applied=False)

    def reclaim(self) -> Collected:
        """Reclaim what may be.

        Who has something open, or is at work, and does not end within ``rbd_lease_seconds``, is
        taken for alive.

        :raises InUse: another process is at it, and is alive
        """
        seconds = self._settings.lease_seconds
        # Longer than a dead one's lease lasts.
        lease = leases.acquire(self._pool, spec.GC_LEASE, seconds, wait=seconds + 1)
        try:
            return self._reclaim(time.monotonic() + seconds)
        finally:
            # One that was lost is no reason not to tell what was reclaimed: no step relied on it.
            with contextlib.suppress(exceptions.LeaseLost):
                lease.release()

    def _reclaim(self, deadline: float) -> Collected:
        outcomes: dict[tuple[str, str, str], Finding] = {}
        for _ in range(_PASSES):
            found = self._look()
            for key in [key for key, known in outcomes.items() if known.outcome == "left"]:
                # What is gone by now, others have taken.
                del outcomes[key]
            outcomes |= {key: each.finding("left") for key, (_, each) in found.items()}
            outcomes |= self._take_back(found)
            # Once more: for those who have let go, or for what has come to light.
            done = [key for key in found if outcomes[key].outcome == "reclaimed"]
            waited = self._wait([each for _, each in found.values()], deadline)
            if not done and not waited:
                break
        return Collected(tuple(outcomes.values()), applied=True)

    def _look(self) -> _Found:
        scan = sweepers.Scan(self._pool, self._settings, older_than=self._older_than)
        return {
            leftover.key: (number, leftover)
            for number, sweeper in enumerate(sweepers.SWEEPERS)
            for leftover in sweeper.look(scan)
        }

    def _take_back(self, found: _Found) -> dict[tuple[str, str, str], Finding]:
        """What became of those that may be taken back."""
        safe = [(number, each.rank, each) for number, each in found.values() if each.take_back]
        safe.sort(key=lambda one: one[:2])
        if any(each.is_cinders for *_, each in safe):
            time.sleep(_CINDERS_SECONDS)
        outcomes: dict[tuple[str, str, str], Finding] = {}
        for _, group in itertools.groupby(safe, key=lambda one: one[:2]):
            leftovers = [leftover for *_, leftover in group]
            for leftover, outcome in zip(
                leftovers, parallel.each(_take_back, leftovers), strict=True
            ):
                outcomes[leftover.key] = outcome
        return outcomes

    def _wait(self, leftovers: Sequence[Leftover], deadline: float) -> bool:
        """Whether somebody who seemed to be alive has gone."""
        waiting = [leftover.may_go for leftover in leftovers if leftover.may_go is not None]
        while waiting:
            seen = [(may_go, may_go()) for may_go in waiting]
            if any(gone for _, gone in seen):
                return True
            waiting = [may_go for may_go, gone in seen if gone is not None]
            if not waiting or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
        return False


def _take_back(leftover: Leftover) -> Finding:
    problem = ""
    try:
        if leftover.take_back is not None and not leftover.is_gone():
            leftover.take_back()
    except _OUTAGES:
        raise
    except exceptions.RbdStoreError as error:
        problem = str(error)
        LOG.debug("%s is left: %s", leftover.item, error)
    if leftover.is_gone():
        LOG.info("reclaimed the %s %s: %s", leftover.kind, leftover.item, leftover.reason)
        return leftover.finding("reclaimed")
    return leftover.finding("left", problem or "it is needed, or not permitted, after all")
