# SPDX-License-Identifier: Apache-2.0
"""Claims: making and removing names so that a failure at any point can be taken back.

Whoever makes, renames or removes a name claims it first: takes the lease on it, and keeps a
**journal** in the lease's object. The journal says, always before it is done, what the operation
is about to do that would be left behind. The same function takes it back in both cases that
matter: the operation fails in a living process, or the process dies, the lease runs out, and the
next one to claim the name finds the dead one's journal.

If the operation had already had its effect when it was cut off, repeating it succeeds: a claim
for the same request **adopts** what its predecessor made or removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self, get_args

from oslo_log import log

from rbdstore import exceptions, leases, observing, reclaim, spec
from rbdstore.driver import Parent, Pool

LOG = log.getLogger(__name__)

# To give up a name is to lose it to another: the image lives on.
Effect = Literal["make", "remove", "give_up", "none"]

# In a journal's image_id: whatever image has the name, which was free when this began.
ANY = "*"

_VERSION = 1

_GONE = (exceptions.NotFound, exceptions.Vanished)


@dataclasses.dataclass
class Journal:
    """What an operation is at, as it is written in the cluster.

    :ivar request: the verb and its arguments; an equal one may adopt the outcome
    :ivar effect: what the operation does to the name
    :ivar image_id: the image that is given the name, or loses it; empty: not known yet; or ANY
    :ivar outcome: what the caller would have been told, for one who repeats the request
    :ivar drafts: the names of images that are to be removed unless they were published
    :ivar deleted: the ids of deleted images that are to be purged
    :ivar parents: the snaps to take back if nothing needs them
    """

    request: list[Any]
    effect: Effect
    image_id: str = ""
    outcome: dict[str, Any] = dataclasses.field(default_factory=dict)
    drafts: list[str] = dataclasses.field(default_factory=list)
    deleted: list[str] = dataclasses.field(default_factory=list)
    parents: list[Parent] = dataclasses.field(default_factory=list)

    def to_bytes(self) -> bytes:
        return json.dumps({"version": _VERSION, **dataclasses.asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """:raises ValueError: it is no journal of this release"""
        try:
            values = json.loads(data)
            if values.pop("version") != _VERSION:
                raise ValueError("it is of another release")
            values["parents"] = [Parent(**parent) for parent in values["parents"]]
            journal = cls(**values)
            if not journal._is_sound():
                raise ValueError("there is a value in it that cannot be")
            return journal
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(str(error)) from error

    def _is_sound(self) -> bool:
        # What a journal names is removed, so nothing in it may be taken for what it is not.
        lists = (self.request, self.drafts, self.deleted)
        links = (text for parent in self.parents for text in dataclasses.astuple(parent))
        return (
            self.effect in get_args(Effect)
            and all(isinstance(each, list) for each in lists)
            and isinstance(self.outcome, dict)
            and all(isinstance(text, str) for text in (self.image_id, *self.deleted, *links))
            and all(spec.is_draft(name) for name in self.drafts)
        )

    def add_parents(self, parents: Iterable[Parent]) -> bool:
        """Whether there was one that was not noted yet."""
        new = [parent for parent in dict.fromkeys(parents) if parent not in self.parents]
        self.parents.extend(new)
        return bool(new)

    def take_over(self, other: Journal) -> None:
        """Have the leftovers of ``other`` in this journal as well."""
        self.drafts.extend(other.drafts)
        self.deleted.extend(other.deleted)
        self.add_parents(other.parents)


class Claim:
    """The right to make, rename or remove one name, held inside a ``with`` block.

    :ivar adopted: the same request was cut off after it had its effect; there is nothing to do
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        request: Iterable[Any],
        seconds: float,
        *,
        effect: Effect,
        wait: float | None = None,
    ) -> None:
        """Prepare to claim ``name`` in ``pool``.

        ``seconds`` is how long the lease outlives this process; ``wait`` how long to wait for
        another holder (None: long enough for a dead one's lease to run out).
        """
        self.pool = pool
        self.name = name
        self.seconds = seconds
        self.adopted = False
        self._journal = Journal(json.loads(json.dumps(list(request))), effect)
        self._unfinished = False
        self._wait = 2 * seconds if wait is None else wait

    @property
    def image_id(self) -> str:
        return self._journal.image_id

    @property
    def outcome(self) -> dict[str, Any]:
        return self._journal.outcome

    # The journal

    def note(
        self,
        *,
        image_id: str | None = None,
        parents: Iterable[Parent] = (),
        outcome: dict[str, Any] | None = None,
    ) -> None:
        """Write into the journal what is about to be done.

        :raises LeaseLost: this process was held up for too long; nothing more may be done
        """
        if image_id is not None:
            self._journal.image_id = image_id
        if outcome is not None:
            self._journal.outcome = outcome
        self._journal.add_parents(parents)
        self._lease.write(self._journal.to_bytes())

    def note_deletion(self, image_id: str, parents: Iterable[Parent]) -> None:
        """Write into the journal that an image is about to lose the name, to be purged."""
        self._journal.deleted.append(image_id)
        self.note(image_id=image_id, parents=parents)

    def remember(self, parents: Iterable[Parent]) -> None:
        """Add to the snaps that are to be taken back if nothing needs them."""
        if self._journal.add_parents(parents):
            self.note()

    # Names

    def check_free(self) -> None:
        """See that the name can be given to an image.

        :raises Duplicate: an image has it, be it one that cannot be opened
        """
        if self.pool.id_of(self.name) is not None:
            raise exceptions.Duplicate("the name is taken", spec=self.pool.spec(self.name))
        self.pool.clear_debris(self.name)

    def give_name(self, old_name: str) -> None:
        """Rename the noted image, called ``old_name``, to the claimed name.

        librbd's rename says that it succeeded when it lost a race, too, so the outcome is looked
        at; and one that reported a failure may have been done.

        :raises Duplicate: somebody who takes no leases gave the name away at the same time
        """
        self.note()
        try:
            self.pool.rename(old_name, self.name)
        except exceptions.ClusterError:
            if not self._had_effect():
                raise
            # Perhaps half of it only: then the image has the old name, too.
            with contextlib.suppress(exceptions.ImageNotFound):
                self.pool.rename(old_name, self.name)
        if not self._had_effect():
            raise exceptions.Duplicate(
                "another client gave the name away at the same time",
                spec=self.pool.spec(self.name),
            )

    # Leftovers

    def purge(self, parents: Sequence[Parent], *, later: bool = False) -> None:
        """Remove the image that has lost the name, and what only it needed, where it may go.

        :param parents: what it needed then
        :param later: leave that to :mod:`rbdstore.trash.purging`
        :raises InUse: a user made a snapshot in that very moment; the image has its name again
        """
        users: list[str] = []
        with self._or_later():
            users = reclaim.purge(
                self.pool,
                self.image_id,
                self.seconds,
                self.remember,
                parents=parents,
                later=later,
            )
        if users:
            raise exceptions.InUse(spec=self.pool.spec(self.name), snapshots=users)

    def take_back_unused(self, *, freed_by: str = "") -> None:
        """Take back those of the noted snaps that nothing needs.

        ``freed_by`` is the id of an image of this pool that has let go of them.
        """
        for parent in list(self._journal.parents):
            with self._or_later():
                reclaim.unused_snap(
                    self.pool, parent, self.seconds, self.remember, freed_by=freed_by
                )

    def _finish(self) -> None:
        """Take back, or complete, whatever the operation left. Repeatable."""
        for draft in self._journal.drafts:
            reclaim.draft(self.pool, draft, self.seconds, self.remember)
        if self._journal.drafts and self.pool.id_of(self.name) is None:
            with self._or_later():
                # One of them may have been about to get it.
                self.pool.clear_debris(self.name)
        for image_id in self._journal.deleted:
            with self._or_later():
                reclaim.purge(self.pool, image_id, self.seconds, self.remember)
        self.take_back_unused()

    @contextlib.contextmanager
    def _or_later(self) -> Iterator[None]:
        """Leave what somebody has open to whoever next claims the name: the journal stays."""
        try:
            yield
        except exceptions.InUse as error:
            LOG.warning("left for later: %s", error)
            self._unfinished = True

    def _had_effect(self) -> bool:
        journal = self._journal
        if journal.effect == "none":
            return False
        current = self.pool.id_of(self.name)
        if journal.effect == "make":
            return current is not None and journal.image_id in (current, ANY)
        return bool(journal.image_id) and current != journal.image_id

    # Beginning and end

    def _prepare(self) -> None:
        """What there is to do before the journal is begun."""

    def __enter__(self) -> Self:
        self._lease = leases.acquire(self.pool, self.name, self.seconds, wait=self._wait)
        written = None
        try:
            written = self._lease.read()
            if written:
                self._succeed(self._read(written))
            if not self.adopted:
                self._prepare()
                self.note()
        except BaseException:
            with contextlib.suppress(exceptions.RbdStoreError):
                if written == b"":
                    # Nobody was here before, and nothing has been made yet.
                    self._lease.release()
                else:
                    # A dead one's journal stays for the next to try.
                    self._lease.give_back()
            raise
        return self

    def _succeed(self, predecessor: Journal) -> None:
        """Finish what a dead holder was at."""
        LOG.info("finishing what was cut off on %s", self.pool.spec(self.name))
        observing.happened("taken_over")
        own, self._journal = self._journal, predecessor
        self._finish()
        self.adopted = predecessor.request == own.request and self._had_effect()
        if not self.adopted:
            if self._unfinished:
                own.take_over(predecessor)
            self._journal = own

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if error is None:
            self._release()
            return
        try:
            self._take_back()
        except BaseException as failure:
            self._let_go()
            if not isinstance(failure, Exception):
                raise
            if isinstance(failure, exceptions.LeaseLost) and isinstance(error, _GONE):
                # Held up for so long, it was taken for dead, and what it was at was taken back.
                raise failure from error
            error.add_note(f"could not take back all of it yet: {failure}")

    def _take_back(self) -> None:
        try:
            self.note()
        except exceptions.LeaseLost:
            # Whoever has the lease now has taken back what was ours, and what is there is theirs:
            # all but a draft that we may have made since.
            for draft in self._journal.drafts:
                reclaim.draft(self.pool, draft, self.seconds, reclaim.forget)
            raise
        self._finish()
        if self._unfinished or self._had_effect():
            self._lease.expire()
        else:
            self._lease.release()

    def _release(self) -> None:
        try:
            if self._unfinished:
                self._lease.expire()
            else:
                self._lease.release()
        except BaseException as error:
            # The work is done. What is left is a journal that says so, for the next to find.
            LOG.warning("%s: could not let go of the name: %s", self.pool.spec(self.name), error)
            self._let_go()
            if not isinstance(error, exceptions.RbdStoreError):
                raise

    def _let_go(self) -> None:
        # Expiring stops the renewals first, whether or not the cluster answers.
        with contextlib.suppress(exceptions.RbdStoreError):
            self._lease.expire()

    def _read(self, written: bytes) -> Journal:
        try:
            return Journal.from_bytes(written)
        except ValueError as error:
            key, pool = spec.lease_object(self.name), self.pool
            within = ["-N", pool.namespace] if pool.namespace else []
            command = shlex.join(["rados", "-p", pool.name, *within, "rm", key])
            raise exceptions.ClusterError(
                f"the object {key} in pool {pool.name} says what was cut off here, but this "
                f"release cannot read it ({error}); finish that with the release that wrote it, "
                f"or remove the object by `{command}`"
            ) from error
