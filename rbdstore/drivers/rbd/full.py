# SPDX-License-Identifier: Apache-2.0
"""A pool that is full: what would make it fuller fails at once, what makes room still works.

librados by itself holds back every write to a full pool, removals as well, until there is room.
Where it is told to try instead, the OSD refuses what adds bytes or objects and does the rest. Our
own bookkeeping is some hundred bytes in objects of their own, without which nothing is removed: it
is written past the limit, which only the OSDs' fail-safe ratio stops.
"""

from __future__ import annotations

import contextlib
import json
import typing
from collections.abc import Callable
from typing import Final, TypeVar

import rados
import rbd

from rbdstore import exceptions
from rbdstore.spec import ImageSpec

if typing.TYPE_CHECKING:
    from rbdstore.drivers.rbd import client

T = TypeVar("T")

PAST_THE_LIMIT: Final = 1 << 7
"""A flag of a write: LIBRADOS_OPERATION_FULL_FORCE, for which the binding has no name."""

_TRASH: Final = "rbd_trash"


def try_all(ioctx: rados.Ioctx) -> None:
    """Have the OSDs decide about each write, librbd's through this handle too."""
    ioctx.set_osdmap_full_try()


def check(connection: client.Connection, spec: ImageSpec, handle: rbd.Image) -> None:
    """See that there is room, for what librbd would do by halves.

    :raises StorageFull: the image's pool is known to be full, or the one that has its data
    """
    # Who may not ask does without.
    with contextlib.suppress(exceptions.PermissionDenied):
        for pool in json.loads(connection.monitor_command("osd pool ls", detail="detail")):
            is_its = pool["pool_name"] == spec.pool or pool["pool_id"] == handle.data_pool_id()
            if is_its and "full" in pool["flags_names"].split(","):
                raise exceptions.StorageFull(f"pool {pool['pool_name']} is full", spec=spec)


def with_trash(ioctx: rados.Ioctx, remove: Callable[[], T]) -> T:
    """Do what wants the trash's index, which a pool has only since its first removal."""
    try:
        return remove()
    except (rbd.NoSpace, rbd.DiskQuotaExceeded, rbd.ImageNotFound):
        with rados.WriteOpCtx() as op:
            op.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            try:
                ioctx.operate_write_op(op, _TRASH, flags=PAST_THE_LIMIT)
            except rados.ObjectExists:
                made = False
            else:
                made = True
        if not made:
            raise
        return remove()
