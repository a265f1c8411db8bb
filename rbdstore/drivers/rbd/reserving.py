# SPDX-License-Identifier: Apache-2.0
"""Snaps whose ids were asked for before there is anything to be kept.

A snap is an id, which the monitors give out, and notes of it in the image's header and object map.
To give one out takes them up to ``paxos propose interval``, one second: they gather what they are
asked for. librbd asks when the snap is made. Here the id is asked for while the image is still
being written, and the notes are made as librbd makes them, in its order: a kill leaves nothing
that one of librbd's would not. An id that is given out and never used costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import struct
import typing
from typing import Final

import rados
import rbd

from rbdstore import exceptions
from rbdstore.completions import Completion
from rbdstore.driver import ReservedSnap
from rbdstore.drivers.rbd import full, headers, lease, object_map, objects
from rbdstore.drivers.rbd.options import FEATURES
from rbdstore.threads import threading, wait_for

if typing.TYPE_CHECKING:
    from rbdstore.drivers.rbd.pool import RbdPool

# What the monitors are asked for within 50 ms (`paxos min wait`) they do at once. Whoever reserves
# a snap is about to make another one, which must not come too late for that: so this waits.
_AFTER_SECONDS: Final = 0.025
_KNOWN: Final = (
    *("layering", "striping", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"),
    *("data-pool", "operations"),
)
# librbd's lock on a header, and on an object map.
_LOCK: Final = "rbd_lock"
_TAG: Final = "internal"


class Reserving(Completion[ReservedSnap | None]):
    """An id being asked for. None: the monitors did not give one."""

    def __init__(self, pool: RbdPool) -> None:
        self._pool = pool
        self._given: ReservedSnap | None = None
        self._ended = False
        self._changed = threading.Condition()
        # A daemon: nothing depends on what it does.
        thread = threading.Thread(target=self._run, name="rbdstore-snap", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # There are too many threads. The snap is made without.
            self._ended = True

    def _run(self) -> None:
        try:
            threading.Event().wait(_AFTER_SECONDS)
            # Whatever is wrong, whoever makes the snap is told, too.
            with contextlib.suppress(exceptions.RbdStoreError):
                self._given = self._pool.new_snap_id()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            wait_for(self._changed, lambda: self._ended)

    def result(self) -> ReservedSnap | None:
        self.wait()
        return self._given


def create(ioctx: rados.Ioctx, handle: rbd.Image, name: str, reserved: ReservedSnap) -> bool:
    """Make a snap of an image all of whose writes have been flushed, if that can be done here.

    The handle does not know of it, and would write a wrong object map: it is to be closed, also
    where this raises.
    """
    features = handle.features()
    if features & ~sum(FEATURES[known] for known in _KNOWN):
        return False
    if handle.data_pool_id() != reserved.pool_id:
        return False
    header = f"rbd_header.{handle.id()}"
    with rados.WriteOpCtx() as op:
        if features & FEATURES["exclusive-lock"]:
            # To flush was to take it. From here on whoever asks for it is refused: nobody writes
            # between these steps.
            handle.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
            # One who was held up, and whose lock another one has taken meanwhile, does no harm.
            lease.check(op, lease.cookie(ioctx, header, _LOCK), lock=_LOCK, tag=_TAG)
        # To have the lock is to have looked at the map. An id that the image has had, and that
        # was removed, the header would take again: the OSDs would keep nothing for it.
        if handle.flags() or headers.latest_snap(ioctx, handle.id()) >= reserved.snap_id:
            return False
        encoded = name.encode()
        op.execute(
            "rbd",
            "snapshot_add",
            struct.pack("<I", len(encoded)) + encoded + struct.pack("<Q", reserved.snap_id),
        )
        try:
            ioctx.operate_write_op(op, header)
        except rados.OSError as exc:
            # The image has had a later one meanwhile; or it has one of the name.
            if exc.errno in (errno.ESTALE, errno.EEXIST):
                return False
            raise
    if features & FEATURES["object-map"]:
        try:
            _copy_map(ioctx, handle, reserved.snap_id)
        except BaseException:
            # Without its map it can never be opened.
            with contextlib.suppress(rbd.Error, rados.Error):
                _tell(ioctx, header)
                handle.remove_snap_by_id(reserved.snap_id)
            raise
    _tell(ioctx, header)
    return True


def _copy_map(ioctx: rados.Ioctx, handle: rbd.Image, snap_id: int) -> None:
    head = object_map.of_head(handle.id())
    ioctx.write_full(object_map.of_snap(handle.id(), snap_id), objects.read(ioctx, head))
    with rados.WriteOpCtx() as op:
        # Else somebody else may have written, and changed the map before it was copied.
        lease.check(op, "", lock=_LOCK)
        if handle.features() & FEATURES["fast-diff"]:
            # From here on what is written is known to differ from the snap.
            op.execute("rbd", "object_map_snap_add", b"")
        ioctx.operate_write_op(op, head, flags=full.PAST_THE_LIMIT)


def _tell(ioctx: rados.Ioctx, header: str) -> None:
    """Have all who have the image open look at it anew."""
    with contextlib.suppress(rados.TimedOut):
        ioctx.notify(header, "")
