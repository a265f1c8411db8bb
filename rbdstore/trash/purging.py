# SPDX-License-Identifier: Apache-2.0
"""Purging: removing for good what was deleted and is in the trash.

Where deletion is deferred every deleted volume waits there for it. Where it is not, some wait all
the same: an image whose last clone was deleted by a user without rights on the image's pool, or
what somebody still had open. What this library did not put there is never touched.

Any number of processes may look through a pool's trash at the same time. Only one of them removes
something at any moment, the others look again later; what it was at when it died is in a journal
(:mod:`rbdstore.names.claims`), with which the next one begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from oslo_log import log

from rbdstore import exceptions, legible, parallel, reclaim, records, spec, threads
from rbdstore.driver import Parent, Pool, Progress, TrashEntry
from rbdstore.names import claims
from rbdstore.settings import Settings

LOG = log.getLogger(__name__)

Why = Literal["foreign", "too early", "needed", "failed"]
"""Why an image stays in the trash: others put it there; its time is not over, whoever did; clones
need it, or a snapshot is on it; it could not be removed.
"""

# A service's own work comes first.
_AT_ONCE: Final = 3

# So that no journal gets long.
_MOST_IN_A_JOURNAL: Final = 100

# Between two tries of what fails.
LONGEST_PAUSE: Final = 600

_Key = tuple[str, float]

_OUTAGES: Final = (exceptions.Unreachable, exceptions.Timeout, exceptions.LeaseLost)


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """An image that stays in the trash.

    :ivar name: the name it had
    :ivar reason: why it stays, for humans
    """

    name: str
    image_id: str
    why: Why
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Purged:
    """What one look through the trash came to.

    :ivar purged: the names that the images had that are gone now
    :ivar kept: what is still in the trash
    """

    purged: tuple[str, ...]
    kept: tuple[Kept, ...]


def _go_on(*_progress: object) -> None:
    """For whom nothing ends."""


@dataclasses.dataclass(slots=True)
class _Known:
    """What was found out about an entry of the trash whose time is over.

    :ivar is_ours: whether this library put it there
    :ivar again: when to try again to remove it, on the monotonic clock
    """

    is_ours: bool
    again: float = 0.0
    pause: float = 0.0

    def put_off(self, seconds: float) -> None:
        """Try it again later, each time after twice as long."""
        self.pause = min(2 * self.pause or seconds, max(seconds, LONGEST_PAUSE))
        self.again = time.monotonic() + self.pause


class Purging:
    """Looks through the trash of a pool, as often as it is asked to.

    What it found out it does not ask for again, and who does not get to remove asks for nothing:
    a look at a trash in which nothing has changed is two requests, however much is in it.
    """

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._known: dict[_Key, _Known] = {}
        self._early: dict[_Key, TrashEntry] = {}

    def run(self, go_on: Progress = _go_on, *, wait: float | None = None) -> Purged:
        """Remove what may be removed now.

        :param go_on: ends it by raising, also in the middle of a removal
        :param wait: how long to wait for another process that is at it; None: until it is done,
            or its lease has run out if it is dead
        :raises InUse: another process is at it
        :raises ClusterError: it could not be found out, or may be done or not; nothing is lost
        """
        listed, clock = self._listed(), time.monotonic()
        due, kept = [], [_early(entry) for entry in self._early.values()]
        for key, entry in listed.items():
            known = self._known.get(key, _Known(is_ours=True))
            if not known.is_ours:
                kept.append(_foreign(entry))
            elif known.again <= clock and key not in self._early:
                due.append(entry)
        purged: list[str] = []
        # Whoever was killed at it may have left no more than the journal.
        if due or self._pool.read_object(spec.lease_object(spec.PURGE_LEASE)):
            with _Removing(self._pool, self._settings.lease_seconds, go_on, wait) as removing:
                # What another one was at was finished with this block's beginning.
                there = {_key(entry) for entry in self._pool.trash_list()}
                purged += [entry.name for entry in due if _key(entry) not in there]
                due = [entry for entry in due if _key(entry) in there]
                ours = parallel.each(self._is_ours, due)
                left = self._remove_all(
                    removing, [entry for entry, is_ours in zip(due, ours, strict=True) if is_ours]
                )
            for entry, is_ours in zip(due, ours, strict=True):
                known = self._known.setdefault(_key(entry), _Known(is_ours=True))
                known.is_ours = is_ours is not False
                if not is_ours:
                    kept.append(_foreign(entry))
                elif entry.image_id in left:
                    kept.append(left[entry.image_id])
                    known.put_off(self._settings.deferred_deletion_purge_interval)
                else:
                    purged.append(entry.name)
        return Purged(tuple(purged), tuple(kept))

    def _listed(self) -> dict[_Key, TrashEntry]:
        """What is in the trash; what is known of the rest is forgotten."""
        pool, now = self._pool, time.time()
        listed = {_key(entry): entry for entry in pool.trash_list()}
        for key, entry in self._early.items():
            # It cannot have been removed, so somebody has brought it back.
            if key not in listed and entry.kept_until > now:
                seconds = self._settings.lease_seconds
                reclaim.purge(pool, entry.image_id, seconds, reclaim.forget, later=True)
        self._early = {key: entry for key, entry in listed.items() if entry.kept_until > now}
        self._known = {key: known for key, known in self._known.items() if key in listed}
        return listed

    def _is_ours(self, entry: TrashEntry) -> bool | None:
        """Whether it is; None: not now, for it has a name, too. It may be on its way."""
        found = self._pool.trash_get(entry.image_id)
        return records.is_deleted(self._pool, found.image_id, found) if found else None

    def _remove_all(self, removing: _Removing, entries: list[TrashEntry]) -> dict[str, Kept]:
        """Remove them; those that are still there, by their ids."""
        left: list[Kept] = []
        for start in range(0, len(entries), _MOST_IN_A_JOURNAL):
            batch = entries[start : start + _MOST_IN_A_JOURNAL]
            removing.begin([entry.image_id for entry in batch])
            found = parallel.each(
                lambda entry: self._remove(removing, entry), batch, most=_AT_ONCE
            )
            left += [one for one in found if one is not None]
        # One that had clones may have gone with them.
        still = parallel.each(lambda one: self._pool.trash_get(one.image_id), left)
        return {one.image_id: one for one, entry in zip(left, still, strict=True) if entry}

    def _remove(self, removing: _Removing, entry: TrashEntry) -> Kept | None:
        """Remove one; why it is still there, if it is."""
        try:
            snapshots = removing.remove(entry.image_id)
            if self._pool.trash_get(entry.image_id) is None and not snapshots:
                return None
        except _OUTAGES:
            raise
        except exceptions.RbdStoreError as error:
            removing.leave_to_the_next(entry.image_id)
            return Kept(entry.name, entry.image_id, "failed", str(error))
        reason = "it has clones"
        if snapshots:
            reason = f"snapshots were made of it while it was deleted: {', '.join(snapshots)}"
        return Kept(entry.name, entry.image_id, "needed", reason)


class _Removing(claims.Claim):
    """The right to remove what is in a pool's trash, for one process at a time.

    Its journal has the ids of what is to be removed, and the snaps that are to be taken back then.
    """

    def __init__(self, pool: Pool, seconds: float, go_on: Progress, wait: float | None) -> None:
        super().__init__(pool, spec.PURGE_LEASE, ["purge"], seconds, effect="none", wait=wait)
        self._go_on = go_on
        self._noting = threads.threading.RLock()

    def begin(self, image_ids: Iterable[str]) -> None:
        """Write into the journal what is to be removed next."""
        if not self._unfinished:
            self._journal.deleted.clear()
            self._journal.parents.clear()
        self._journal.deleted.extend(image_ids)
        self.note()

    def leave_to_the_next(self, image_id: str) -> None:
        """Keep the journal if it alone knows of an image that could not wholly be removed."""
        # What is in the trash still is found there again.
        if self.pool.trash_get(image_id) is None:
            self._unfinished = True

    def remove(self, image_id: str) -> list[str]:
        """Remove one, if it may go. May be called by several threads.

        :return: the names of snapshots that users made of it while it was deleted
        :raises InUse: somebody has it open
        """
        self._go_on(0, 0)
        return reclaim.purge(
            self.pool, image_id, self.seconds, self.remember, patience=0, progress=self._go_on
        )

    def remember(self, parents: Iterable[Parent]) -> None:
        with self._noting:
            super().remember(parents)

    def _finish(self) -> None:
        for image_id in self._journal.deleted:
            try:
                self.remove(image_id)
            except _OUTAGES:
                raise
            except exceptions.RbdStoreError as error:
                LOG.debug("%s is left for later: %s", image_id, error)
                self.leave_to_the_next(image_id)
        self.take_back_unused()

    @contextlib.contextmanager
    def _or_later(self) -> Iterator[None]:
        # One that cannot be taken back must not keep all others in the trash.
        try:
            with super()._or_later():
                yield
        except _OUTAGES:
            raise
        except exceptions.RbdStoreError as error:
            LOG.warning("left for later: %s", error)
            self._unfinished = True

    def _take_back(self) -> None:
        # There is nothing to take back: the next one goes on.
        self._lease.expire()


def _key(entry: TrashEntry) -> _Key:
    # What comes there anew may have been put there by somebody else this time.
    return entry.image_id, entry.kept_until


def _foreign(entry: TrashEntry) -> Kept:
    return Kept(entry.name, entry.image_id, "foreign", "rbdstore did not put it there")


def _early(entry: TrashEntry) -> Kept:
    return Kept(entry.name, entry.image_id, "too early", legible.kept_until(entry.kept_until))
