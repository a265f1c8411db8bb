# SPDX-License-Identifier: Apache-2.0
"""A user's snapshots, of a volume or a disk: made whole, or not at all; hidden while clones need
them; rolled back to.
"""

from __future__ import annotations

import contextlib

from rbdstore import exceptions, leases, lineage, reclaim, spec
from rbdstore.driver import Image, Pool, find_snap
from rbdstore.names import claims, removal
from rbdstore.undo import Undo


def create(pool: Pool, name: str, snapshot: str, seconds: float, *, protect: bool = True) -> None:
    """Snapshot an image, in use or not.

    :param seconds: how long the lease outlives this process
    :raises Duplicate: it has one of that name
    :raises ImageNotFound: also if it is deleted in that very moment
    """
    deleted = None
    try:
        with (
            leases.held(pool, spec.snapshot_lease(name, snapshot), seconds),
            pool.open_live(name) as image,
            Undo() as undo,
        ):
            if any(snap.name == snapshot for snap in image.snaps()):
                raise exceptions.Duplicate(
                    "the volume has such a snapshot", spec=pool.spec(name, snapshot)
                )
            # Before the step, because one that reports a failure may have been done.
            undo.add(_remove, image, snapshot)
            try:
                image.create_snap(snapshot)
            except exceptions.Duplicate:
                # Somebody else has just made it, who may not know of leases, or took this one.
                undo.drop()
                raise
            if protect:
                image.protect_snap(snapshot)
            # A volume in the trash takes snapshots, too, from who has it open.
            if reclaim.is_deleted(pool, image.id):
                deleted = image.id
                raise exceptions.ImageNotFound("it was deleted meanwhile", spec=image.spec)
    finally:
        if deleted is not None:
            # It may have been left for this snapshot.
            reclaim.purge(pool, deleted, seconds, reclaim.forget)


def delete(pool: Pool, name: str, snapshot: str, seconds: float) -> None:
    """Delete a snapshot. One that is not there, or whose image is not, is no error.

    One that others were cloned from is hidden, and is removed with the last of these.

    :raises PermissionDenied: there may be clones in pools that this user cannot look into
    """
    with claims.Claim(
        pool, spec.snapshot_lease(name, snapshot), ["delete_snapshot"], seconds, effect="none"
    ) as claim:
        try:
            image = pool.open_live(name)
        except exceptions.ImageNotFound:
            return
        with image:
            try:
                snap = find_snap(image, snapshot)
            except exceptions.SnapshotNotFound:
                return
            with pool.open(image_id=image.id) as seen:
                seen.set_snap(snap.id)
                parent = seen.parent()
            if parent is not None and parent != image.parent():
                # An image without deep-flatten: its snapshot alone kept the parent.
                claim.note(parents=[parent])
            try:
                _remove(image, snapshot)
            except exceptions.InUse:
                hidden = spec.deleted_snap(snap.id)
                claim.note(parents=[lineage.link(image, hidden)])
                image.rename_snap(snapshot, hidden)
        # The last clone may have gone while this one's parent was being hidden.
        claim.take_back_unused()


def rename(pool: Pool, name: str, snapshot: str, new: str, seconds: float) -> None:
    """Give a snapshot another name. One that has it already is no error.

    :raises Duplicate: there is another one of the new name
    :raises ImageNotFound, SnapshotNotFound:
    """
    with contextlib.ExitStack() as stack:
        # In one order everywhere, so that two who swap names do not wait for each other.
        for each in sorted({snapshot, new}):
            stack.enter_context(leases.held(pool, spec.snapshot_lease(name, each), seconds))
        image = stack.enter_context(pool.open(name, read_only=False))
        names = [snap.name for snap in image.snaps()]
        if new in names and snapshot in names and new != snapshot:
            raise exceptions.Duplicate("the volume has such a snapshot", spec=pool.spec(name, new))
        if new not in names:
            image.rename_snap(snapshot, new)
        image.protect_snap(new)


def unprotect(pool: Pool, name: str, snapshot: str, seconds: float) -> None:
    """Let whoever uses no library like this one remove a snapshot. Clones of format 1 forbid it.

    :raises ImageNotFound, SnapshotNotFound:
    """
    with (
        leases.held(pool, spec.snapshot_lease(name, snapshot), seconds),
        pool.open(name, read_only=False) as image,
        contextlib.suppress(exceptions.InUse),
    ):
        find_snap(image, snapshot)
        image.unprotect_snap(snapshot)


def rollback(
    pool: Pool, name: str, snapshot: str, seconds: float, *, wait: float = 0, fence: bool = False
) -> None:
    """Make an image what it was when it was snapshotted, its size included.

    :param seconds: how long the lease outlives this process
    :param wait: how many seconds to wait for clients that have it open for writing
    :param fence: cut off those who have it open then
    :raises ImageNotFound, SnapshotNotFound:
    :raises InUse: it is open for writing; whoever writes there would not notice
    """
    with pool.open(name) as image:
        find_snap(image, snapshot)
        removal.check_unwatched(image, wait, fence=fence)
    # Who deletes the snapshot waits: of one that is gone, the OSDs would give the rest no data.
    with (
        leases.held(pool, spec.snapshot_lease(name, snapshot), seconds),
        pool.open_live(name) as image,
    ):
        find_snap(image, snapshot)
        image.rollback(snapshot)


def _remove(image: Image, snapshot: str) -> None:
    """:raises InUse: it has clones; it is as it was"""
    snap = find_snap(image, snapshot)
    if clones := image.children(snap.id):
        raise exceptions.InUse(
            spec=image.pool.spec(image.name, snapshot), children=[child.spec for child in clones]
        )
    image.unprotect_snap(snapshot)
    image.remove_snap(snap.id)
