# SPDX-License-Identifier: Apache-2.0
"""What is in the trash of a pool, and bringing back what was deleted.

Only what this library put there is brought back: of anything else whoever did knows why. To bring
something back is to give it a name, and is done as all is that gives names: with a claim on the
name (:mod:`rbdstore.names.claims`), and with the lease under which it would be purged, so that
nobody does both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time

from rbdstore import exceptions, leases, legible, lineage, parallel, reclaim, records, spec
from rbdstore.driver import Image, Pool, TrashEntry
from rbdstore.names import claims
from rbdstore.settings import Settings
from rbdstore.spec import ImageSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Trashed:
    """An image in the trash, as it was when it was looked at.

    :ivar name: the name it had
    :ivar is_ours: this library put it there; what it did not, it neither purges nor brings back
    :ivar kept_until: in seconds since 1970; 0 or past: its time is over
    :ivar size: in bytes; None: it cannot be opened, be it by this user alone
    :ivar clones: what was cloned from it; None: there may be some where this user cannot look
    :ivar snapshots: a user's, made while it was deleted
    """

    name: str
    image_id: str
    is_ours: bool
    kept_until: float
    size: int | None
    clones: tuple[ImageSpec, ...] | None
    snapshots: tuple[str, ...]

    @property
    def kept(self) -> str:
        """Why a purge would leave it now; empty: it would not."""
        if not self.is_ours:
            return "rbdstore did not put it there"
        if self.kept_until > time.time():
            return legible.kept_until(self.kept_until)
        if self.clones is None:
            return "it may have clones in pools that cannot be looked into"
        if self.clones:
            return "it has clones"
        if self.snapshots:
            return f"it has snapshots: {', '.join(self.snapshots)}"
        return ""


class Trash:
    """The trash of one pool."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._seconds = settings.lease_seconds

    def list(self) -> list[Trashed]:
        """All that is in it, sorted by the names it had.

        :raises ClusterError: it could not be found out
        """
        found = parallel.each(self._look, self._pool.trash_list())
        there = [each for each in found if each is not None]
        return sorted(there, key=lambda each: (each.name, each.image_id))

    def check_restore(self, image: str, name: str | None = None) -> str:
        """See whether :meth:`restore` can be done now; return the name that it would give.

        :raises: what that does
        """
        entry = self._find(image)
        name = self._checked(entry, image, name)
        if entry is None:
            raise self._not_there(image)
        self._check(entry)
        if self._pool.id_of(name) is not None:
            raise exceptions.Duplicate("the name is taken", spec=self._pool.spec(name))
        return name

    def restore(self, image: str, name: str | None = None) -> str:
        """Give an image in the trash a name again; its clones stay what they are.

        If this was cut off after it had its effect, the same call succeeds.

        :param image: the name it had, or its id
        :param name: the one that it gets; None: the one it had
        :return: its name
        :raises ImageNotFound: there is no such image in the trash, or it cannot be opened any more
        :raises InvalidInput: several had that name; or this library did not put it there
        :raises InvalidName: the name it had, or is to get, is none for a new image
        :raises Duplicate: the name is taken
        :raises InUse: its removal may have begun: its time in the trash is over, and no clones
            keep it there
        """
        name = self._checked(self._find(image), image, name)
        request = ["restore", image, name]
        with claims.Claim(self._pool, name, request, self._seconds, effect="make") as claim:
            if claim.adopted:
                # All but the end of it was done.
                with contextlib.suppress(exceptions.ImageNotFound):
                    self._pool.trash_restore(claim.image_id, name)
                records.unmark_deleted(self._pool, claim.image_id)
                return name
            # Who had the name before may have been at deleting it.
            entry = self._find(image)
            if entry is None:
                raise self._not_there(image)
            with leases.held(self._pool, spec.reclaim_lease(entry.image_id), self._seconds):
                self._restore(claim, entry)
        return name

    def _checked(self, entry: TrashEntry | None, image: str, name: str | None) -> str:
        """The name that an image gets, if that may be."""
        return spec.check_new_name(name or (entry.name if entry else self._name_now(image)))

    def _restore(self, claim: claims.Claim, entry: TrashEntry) -> None:
        self._check(entry)
        claim.check_free()
        # If this is cut off, the mark speaks of this stay in the trash and of no later one.
        records.bind_mark(self._pool, entry)
        claim.note(image_id=entry.image_id)
        self._pool.trash_restore(entry.image_id, claim.name)
        if self._pool.id_of(claim.name) != entry.image_id:
            raise exceptions.Duplicate(
                "another client gave the name away at the same time",
                spec=self._pool.spec(claim.name),
            )
        records.unmark_deleted(self._pool, entry.image_id)

    def _check(self, entry: TrashEntry) -> None:
        """See that an image may be brought back, and is worth it."""
        where = self._pool.spec(entry.name)
        current = self._pool.trash_get(entry.image_id)
        if current is None:
            raise exceptions.ImageNotFound("it is not in the trash any more", spec=where)
        if not records.is_deleted(self._pool, entry.image_id, current):
            raise exceptions.InvalidInput(
                f"{where}: rbdstore did not put it into the trash; whoever did brings it back by "
                f"`rbd trash restore {shlex.quote(str(self._pool.spec(entry.image_id)))}`"
            )
        # librbd takes back that it removes an image if that is cut off, though data is gone then.
        # But it never begins before the time is over, by the clock of whoever removes it, or while
        # there are snapshots.
        is_over = current.kept_until <= time.time() + reclaim.MOST_SKEW
        if is_over and not self._pool.has_snaps(entry.image_id):
            raise exceptions.InUse(
                "its time in the trash is over, or nearly, so its removal may have begun "
                "(deferred_deletion_delay gives it more)",
                spec=where,
            )
        try:
            self._pool.open(image_id=entry.image_id).close()
        except exceptions.ImageNotFound as error:
            raise exceptions.ImageNotFound(
                "it cannot be opened any more: its parent is gone",
                spec=where,
            ) from error

    def _find(self, image: str) -> TrashEntry | None:
        listed = self._pool.trash_list()
        found = [entry for entry in listed if entry.image_id == image] or [
            entry for entry in listed if entry.name == image
        ]
        if len(found) > 1:
            ids = ", ".join(entry.image_id for entry in found)
            raise exceptions.InvalidInput(
                f"{len(found)} images in the trash had the name {image}; name one by its id: {ids}"
            )
        return found[0] if found else None

    def _name_now(self, image: str) -> str:
        """The name of an image that is back already, where it was called by its id."""
        if image and self._pool.has_image(image):
            with (
                contextlib.suppress(exceptions.ImageNotFound),
                self._pool.open(image_id=image) as found,
            ):
                return found.name
        return image

    def _not_there(self, image: str) -> exceptions.ImageNotFound:
        return exceptions.ImageNotFound("it is not in the trash", spec=self._pool.spec(image))

    def _look(self, listed: TrashEntry) -> Trashed | None:
        entry = self._pool.trash_get(listed.image_id)
        if entry is None:
            # It has a name, too: it is on its way.
            return None
        is_ours = records.is_deleted(self._pool, entry.image_id, entry)
        size: int | None = None
        clones: tuple[ImageSpec, ...] | None = ()
        snapshots: tuple[str, ...] = ()
        try:
            with self._pool.open(image_id=entry.image_id) as image:
                size = image.size()
                snapshots = tuple(
                    snap.name
                    for snap in image.snaps()
                    if not snap.trashed and spec.is_users_snap(snap.name)
                )
                clones = _clones(image)
        except exceptions.ImageNotFound:
            pass
        except exceptions.PermissionDenied:
            # Its parent is in a pool that this user may not read.
            clones = None
        return Trashed(
            entry.name, entry.image_id, is_ours, entry.kept_until, size, clones, snapshots
        )


def _clones(image: Image) -> tuple[ImageSpec, ...] | None:
    try:
        found = lineage.clones(image)
    except exceptions.PermissionDenied:
        return None
    return tuple(child.spec for group in found.values() for child in group)
