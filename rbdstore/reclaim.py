# SPDX-License-Identifier: Apache-2.0
"""Taking back one leftover: what is only there for something else that has gone.

Three kinds: an image that was being made (a draft), a snap that only carried clones,
and a deleted image that only its clones needed. Taking back one may free the next, up the line of
parents. Each function may be called again after it was interrupted anywhere; before it takes a
link out of the line it tells ``remember`` what the link was the only way to, so that a caller who
keeps a journal (:mod:`rbdstore.names.claims`) can go on from there.

What this never does: remove a user's snapshot or a live image, or remove a snap on the strength of
an empty list of children alone (:func:`rbdstore.lineage.still_needs`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import tenacity
from oslo_log import log

from rbdstore import exceptions, gathering, leases, lineage, observing, records, spec
from rbdstore.driver import Image, Parent, Pool, Progress, Snap, TrashEntry

LOG = log.getLogger(__name__)

# By how much the clocks of two hosts may differ, in seconds.
MOST_SKEW: Final = 5.0

Remember = Callable[[Iterable[Parent]], None]


def forget(_parents: Iterable[Parent]) -> None:
    """To remember nothing: for who keeps no journal, or has them in one already."""


_removals: gathering.Gathering[None] = gathering.Gathering(0, str)


def draft(pool: Pool, name: str, seconds: float, remember: Remember) -> None:
    """Remove what is left of an image that was being made, called ``name`` until it was whole.

    A dead maker's watch lasts for some 30 s, about as long as its lease did: ``seconds`` more are
    given to it.

    :raises InUse: the maker is not dead, though its lease ran out
    """
    if pool.clear_debris(name):
        # There was no data in it, or it was a name that a whole image had before it got its own.
        return
    try:
        with pool.open(name) as image:
            found = lineage.parents(image)
            image_id = image.id
    except exceptions.ImageNotFound:
        # Nothing there, or one that cannot be opened.
        with contextlib.suppress(exceptions.NotFound):
            pool.remove(name)
        return
    remember(found)
    _patient(seconds)(_remove_unwatched, pool, name)
    records.drop(pool, image_id)
    for parent in found:
        unused_snap(pool, parent, seconds, remember, freed_by=image_id)


def _remove_unwatched(pool: Pool, name: str) -> None:
    with contextlib.suppress(exceptions.NotFound):
        with pool.open(name) as image:
            if watchers := image.watchers():
                raise exceptions.InUse(spec=image.spec, watchers=watchers)
            snaps = image.snaps()
        _remove_snaps(pool, image.id, snaps)
        pool.remove(name)


def unused_snap(
    pool: Pool,
    parent: Parent,
    seconds: float,
    remember: Remember,
    *,
    freed_by: str = "",
    progress: Progress | None = None,
) -> None:
    """Remove a snap if it only carried clones and has none left; then its image, if that is due.

    ``pool`` is the pool of the clone that let go of it, and ``freed_by`` that clone's id. To lack
    the right to look at the parent, or to change it, is no error: whoever has the right does it.

    :raises InUse: somebody has the parent open
    """
    above: list[Parent] = []
    try:
        home = pool.cluster.open_pool(parent.pool, parent.namespace)
        try:
            with home.open(image_id=parent.image_id) as image:
                snap = _snap_of(image, parent.snap)
                if freed_by and snap is not None:
                    records.forget_child(image, snap.id, pool, freed_by)
                deleted = _is_deleted(image)
                if snap is not None and not deleted and not _carries_clones(snap):
                    # It is a user's, and not to go. Its other clones may be thousands.
                    return
                if snap is not None and _has_children(image, snap):
                    return
                if snap is not None and _carries_clones(snap):
                    above = _parents_of_none_but(image, snap)
                    remember(above)
        except exceptions.ImageNotFound:
            # Removed, or half removed by somebody who was killed.
            snap, deleted = None, records.is_deleted(home, parent.image_id)
        if snap is not None and _carries_clones(snap):
            _remove_unused(home, parent.image_id, snap, seconds)
        if deleted:
            purge(home, parent.image_id, seconds, remember, progress=progress)
        for link in above:
            unused_snap(home, link, seconds, remember, progress=progress)
    except exceptions.NotFound:
        return
    except exceptions.PermissionDenied as error:
        LOG.debug("%s is left for a user with more rights: %s", parent.spec, error)


def _parents_of_none_but(image: Image, snap: Snap) -> list[Parent]:
    """What the image, flattened without the deep-flatten feature, has a share in by a snap."""
    head = image.parent()
    image.set_snap(snap.id)
    parent = image.parent()
    image.set_snap(None)
    return [parent] if parent is not None and parent != head else []


def is_deleted(pool: Pool, image_id: str) -> bool:
    """Whether an image has been deleted, by whomever, if only to be kept for its clones."""
    if pool.trash_get(image_id) is not None:
        return True
    try:
        with pool.open(image_id=image_id) as image:
            return image.name.endswith(spec.DELETED_SUFFIX)
    except exceptions.ImageNotFound:
        return True


def _remove_unused(pool: Pool, image_id: str, snap: Snap, seconds: float) -> None:
    # Where many clones go at the same time, each is the last one in its own eyes.
    key = (id(pool.cluster), pool.name, pool.namespace, image_id, snap.id)
    with _removals.join(key) as group:
        group.once(lambda: _remove_unused_alone(pool, image_id, snap, seconds))


def _remove_unused_alone(pool: Pool, image_id: str, snap: Snap, seconds: float) -> None:
    with (
        # One at a time: librbd may abort a process that closes an image while another one asks
        # it to remove a snapshot.
        leases.held(pool, spec.reclaim_lease(image_id), seconds),
        pool.open(image_id=image_id, read_only=False) as image,
    ):
        for current in image.snaps():
            if (
                current.id == snap.id
                and _is_unused(image, current)
                and _remove_snap(image, current)
            ):
                # Those that were flattened by a task may not have been forgotten.
                records.forget_children(image, current.id)


def purge(
    pool: Pool,
    image_id: str,
    seconds: float,
    remember: Remember,
    *,
    parents: Sequence[Parent] | None = None,
    later: bool = False,
    patience: float | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Remove a deleted image once nothing needs it; then what it was the last to need.

    Deleted is an image in the trash that this library marked, and one whose name says so. Of any
    other nothing is touched, nor of one whose time in the trash is not over. One that a user made
    a snapshot of in the moment it was deleted gets its name back.

    :param parents: what it needed when its name was taken away; None: that is looked at
    :param later: do no more than that last: it is purged by somebody else
    :param patience: for how long to wait for who has it open (None: ``seconds``)
    :param progress: may end the removal of its data by raising; it can be repeated
    :return: the names of such snapshots
    :raises InUse: somebody has it open
    """
    found: Sequence[Parent] = ()
    with leases.held(pool, spec.reclaim_lease(image_id), seconds):
        entry = pool.trash_get(image_id)
        if entry is not None and not records.is_deleted(pool, image_id, entry):
            return []
        # Whoever put it there may have a clock that is ahead of this one. If librbd's own look
        # comes too early, it is told so, and tries again.
        later = later or (entry is not None and entry.kept_until > time.time() + MOST_SKEW)
        try:
            if parents is not None and entry is not None and not pool.has_snaps(image_id):
                found, snaps, users, free = parents, [], [], []
            else:
                with pool.open(image_id=image_id) as image:
                    if entry is None and not image.name.endswith(spec.DELETED_SUFFIX):
                        records.unmark_deleted(pool, image_id)
                        return []
                    found = lineage.parents(image)
                    remember(found)
                    snaps = image.snaps()
                    users = [snap.name for snap in snaps if _is_users(snap)]
                    keep = later or users
                    free = [] if keep else [snap for snap in snaps if _is_unused(image, snap)]
            if users:
                _give_back(pool, image_id, entry)
                return users
            if later or not _remove_snaps(pool, image_id, free) or len(free) < len(snaps):
                if entry is not None:
                    records.bind_mark(pool, entry)
                return []
            if entry is None:
                records.mark_deleted(pool, image_id, image.name)
                pool.trash_move(image.name)
        except exceptions.ImageNotFound:
            # Gone, or half removed by somebody who was killed: its parents are in a journal.
            if later:
                return []
        try:
            gone = _remove_for_good(
                pool, image_id, seconds if patience is None else patience, progress
            )
        except exceptions.InUse:
            _bind_mark(pool, image_id, entry)
            raise
        if not gone:
            _bind_mark(pool, image_id, entry)
            return []
    records.drop(pool, image_id)
    for parent in found:
        unused_snap(pool, parent, seconds, remember, freed_by=image_id, progress=progress)
    return []


def _give_back(pool: Pool, image_id: str, entry: TrashEntry | None) -> None:
    """Give a deleted image its name again, if it lost it to the trash and the name is free."""
    if entry is None:
        return
    try:
        pool.trash_restore(image_id, entry.name)
    except exceptions.Duplicate as error:
        LOG.warning("%s stays in the trash, for its snapshots: %s", image_id, error)
    else:
        records.unmark_deleted(pool, image_id)


def _bind_mark(pool: Pool, image_id: str, entry: TrashEntry | None) -> None:
    """Have the mark be about the stay in the trash that begins now, or has been found."""
    entry = entry or pool.trash_get(image_id)
    if entry is not None:
        records.bind_mark(pool, entry)


def _remove_for_good(
    pool: Pool, image_id: str, patience: float, progress: Progress | None
) -> bool:
    """Whether it is gone: not if it got a snap in this very moment."""
    try:
        _patient(patience, lambda: not pool.has_snaps(image_id))(
            pool.trash_remove, image_id, progress=progress
        )
    except exceptions.InUse:
        if not pool.has_snaps(image_id):
            raise
        # Whoever made the snap waits for the lease to take it back, and then comes here.
        return False
    except exceptions.NotFound:
        pass
    return True


def _patient(seconds: float, is_worth_it: Callable[[], bool] = lambda: True) -> tenacity.Retrying:
    """Try again for ``seconds`` while somebody has it open.

    That is how long a dead client's watch lasts; and one who was about to clone it lets go soon.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, exceptions.InUse) and is_worth_it()
        ),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(0.2),
        before_sleep=lambda _state: observing.happened("in_use_retry"),
        reraise=True,
    )


def _snap_of(image: Image, name: str) -> Snap | None:
    """The snap that a clone knew as ``name``, under whatever name it has been hidden since."""
    snaps = image.snaps()
    named = [snap for snap in snaps if snap.name == name]
    # Nobody clones from a hidden one any more, so any that is unused may go.
    hidden = (
        snap
        for snap in snaps
        if snap.name.startswith(spec.DELETED_SNAP_PREFIX) and _is_unused(image, snap)
    )
    return named[0] if named else next(hidden, None)


def _is_users(snap: Snap) -> bool:
    return not snap.trashed and spec.is_users_snap(snap.name)


def _carries_clones(snap: Snap) -> bool:
    return snap.trashed or spec.is_reserved_snap(snap.name)


def _is_deleted(image: Image) -> bool:
    if image.name.endswith(spec.DELETED_SUFFIX):
        return True
    entry = image.pool.trash_get(image.id)
    return entry is not None and records.is_deleted(image.pool, image.id, entry)


def _has_children(image: Image, snap: Snap) -> bool:
    # Somebody else may just have removed it.
    with contextlib.suppress(exceptions.SnapshotNotFound):
        return image.has_children(snap.id)
    return False


def _is_unused(image: Image, snap: Snap) -> bool:
    if _has_children(image, snap):
        return False
    for child in records.children(image, snap.id):
        if lineage.still_needs(image.pool.cluster, child, image.id, snap.name):
            LOG.warning(
                "%s@%s is kept: %s is half flattened and still needs it; flatten that again",
                image.spec,
                snap.name,
                child.spec,
            )
            return False
    return True


def _remove_snaps(pool: Pool, image_id: str, snaps: Sequence[Snap]) -> bool:
    """Whether all of them are gone."""
    if not snaps:
        return True
    with pool.open(image_id=image_id, read_only=False) as image:
        return all(_remove_snap(image, snap) for snap in snaps)


def _remove_snap(image: Image, snap: Snap) -> bool:
    """Whether it is gone: not if it was cloned from in this very moment."""
    try:
        if snap.protected:
            image.unprotect_snap(snap.name)
        image.remove_snap(snap.id)
    except exceptions.NotFound:
        pass
    except exceptions.InUse as error:
        if not error.children:
            raise
        return False
    return True
