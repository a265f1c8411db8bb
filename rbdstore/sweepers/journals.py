# SPDX-License-Identifier: Apache-2.0
"""Journals of operations that were cut off: they are finished, as by whoever claims the name next.

That takes back what the operation had begun, or, where it had had its effect already, what it no
longer needs. Nobody can take such an operation up again then: to repeat it is to begin anew.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

from rbdstore import spec
from rbdstore.backup import withdrawing
from rbdstore.driver import LeaseState
from rbdstore.names import claims
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Scan, Work
from rbdstore.trash import purging


class Journals(Sweeper):
    def look(self, scan: Scan) -> Iterable[Leftover]:
        return [_leftover(scan, work) for work in scan.work]


def _leftover(scan: Scan, work: Work) -> Leftover:
    found = functools.partial(
        Leftover,
        str(scan.pool.spec(spec.lease_object(work.name))),
        "journal",
        bytes=0,
        since=work.state.since or None,
    )
    if work.state.held:
        return found(
            f"{work.state.owner} is at work on it",
            may_go=functools.partial(_may_go, scan, work.name, work.state),
        )
    if work.problem:
        return found(
            f"{work.state.owner} was at it, but what it says cannot be read by this release "
            f"({work.problem})"
        )
    if young := scan.too_young(work.state.since or None):
        return found(young)
    return found(
        _reason(work),
        take_back=functools.partial(take_over, scan, work.name),
        is_gone=lambda: scan.pool.lease_state(spec.lease_object(work.name)) is None,
    )


def take_over(scan: Scan, name: str) -> None:
    """Finish what a dead one was at.

    :raises InUse: somebody is at it
    """
    settings = scan.settings
    if name == spec.PURGE_LEASE:
        purging.Purging(scan.pool, settings).run(wait=0)
        return
    if backup_id := spec.claimed_backup(name):
        withdrawing.take_over(scan.pool, backup_id, settings.lease_seconds)
        return
    with claims.Claim(scan.pool, name, ["gc"], settings.lease_seconds, effect="none", wait=0):
        """To claim the name is to finish what a dead holder was at."""


def _may_go(scan: Scan, name: str, before: LeaseState) -> bool | None:
    state = scan.is_held(name)
    if state is None:
        return True
    # Only who is alive renews it.
    return None if state.since > before.since else False


def _reason(work: Work) -> str:
    minutes = max(0.0, time.time() - work.state.since) / 60
    ago = f", last seen {minutes:.0f} min ago" if work.state.since else ""
    who = f"{work.state.owner}{ago}"
    journal = work.journal
    if journal is None:
        return f"nobody holds it any more ({who}), and nothing had been begun"
    verb = journal.request[0] if journal.request else "something"
    named = [*journal.drafts, *journal.deleted, *(str(link.spec) for link in journal.parents)]
    if spec.claimed_backup(work.name) and (base := journal.outcome.get("base")):
        named.append(base)
    what = f"; it names {', '.join(dict.fromkeys(named))}" if named else ""
    return f"{verb} was cut off, or could not say that it was done ({who}){what}"
