# SPDX-License-Identifier: Apache-2.0
"""In which pools an image has parents and clones, for whoever may not look into those pools.

An image's header names the pool of each clone of format 2; clones of format 1 are noted in each
pool, where every user of RBD may read that.
"""

from __future__ import annotations

import contextlib
import struct

import rados

from rbdstore.drivers.rbd import client, decoding, objects, remains

# Versions and length of a structure of Ceph's.
_PREFIX = 6


def hidden_pools(
    connection: client.Connection, parent: rados.Ioctx, image_id: str, snap_id: int
) -> list[str]:
    """The pools with clones of a snap in which this user may not list images, sorted."""
    pools = {
        name: ioctx
        for name in connection.rados.list_pools()
        if (ioctx := connection.ioctx(name, "")) is not None
    }
    noted = _pool_ids(parent, image_id, snap_id)
    return sorted(
        name
        for name, ioctx in pools.items()
        if (ioctx.get_pool_id() in noted or _has_old_ones(ioctx, parent, image_id, snap_id))
        and not _may_look(ioctx)
    )


def hidden_parent(connection: client.Connection, ioctx: rados.Ioctx, image_id: str) -> str | None:
    """The pool of the nearest of an image's parents that this user may not read; None: none."""
    with contextlib.suppress(rados.Error, decoding.Unreadable):
        while True:
            _, reply = ioctx.execute(f"rbd_header.{image_id}", "rbd", "parent_get", b"")
            (pool_id,) = decoding.numbers("<q", reply, _PREFIX)
            if pool_id < 0:
                return None
            namespace = decoding.text(reply, _PREFIX + 8)
            image_id = decoding.text(reply, _PREFIX + 8 + 4 + len(namespace.encode()))
            pool = str(connection.rados.pool_reverse_lookup(pool_id))
            above = connection.ioctx(pool, namespace)
            if above is None:
                return None
            try:
                above.stat(f"rbd_header.{image_id}")
            except rados.PermissionError:
                return pool
            ioctx = above
    return None


def _pool_ids(parent: rados.Ioctx, image_id: str, snap_id: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(rados.Error, decoding.Unreadable):
        reply = objects.ask(
            parent, f"rbd_header.{image_id}", "children_list", struct.pack("<Q", snap_id)
        )
        (count,) = decoding.numbers("<I", reply)
        at = 4
        for _ in range(count):
            (length,) = decoding.numbers("<I", reply, at + 2)
            (pool_id,) = decoding.numbers("<q", reply, at + _PREFIX)
            found.add(pool_id)
            at += _PREFIX + length
    return found


def _has_old_ones(ioctx: rados.Ioctx, parent: rados.Ioctx, image_id: str, snap_id: int) -> bool:
    spec = (
        struct.pack("<q", parent.get_pool_id())
        + remains.text(image_id)
        + struct.pack("<Q", snap_id)
    )
    with contextlib.suppress(rados.Error):
        objects.ask(ioctx, "rbd_children", "get_children", spec)
        return True
    return False


def _may_look(ioctx: rados.Ioctx) -> bool:
    try:
        ioctx.execute(remains.DIRECTORY, "rbd", "dir_get_id", remains.text("-"))
    except rados.ObjectNotFound:
        return True
    except rados.Error:
        return False
    return True
