# SPDX-License-Identifier: Apache-2.0
"""What a pool holds when nothing is in it, and what else is.

::

    pools.assert_empty(client)          # every pool, as client.admin
    pools.leftovers(client, "volumes")  # -> ["rbd_header.1012...", "rbd_trash: id_1012..."]
    pools.clear(client, "volumes")
"""

import contextlib

import rados

# librbd makes these at its first need and never removes them.
BOOKKEEPING = frozenset(
    {
        "rbd_children",  # parents and their clones of format 1
        "rbd_directory",  # names and ids
        "rbd_info",  # "overwrite validated": what `rbd pool init` writes
        "rbd_mirroring",
        "rbd_mirror_snapshot_schedule",
        "rbd_namespace",
        "rbd_task",  # background tasks of the manager
        "rbd_trash",
        "rbd_trash_purge_schedule",
    }
)
# Each entry in one of these stands for something that is there.
INDEXES = ("rbd_children", "rbd_directory", "rbd_namespace", "rbd_task", "rbd_trash")


def leftovers(client, pool):
    """Name everything in a pool, in any namespace, that is not there in an empty one."""
    with client.open_ioctx(pool) as ioctx:
        return sorted(
            f"{namespace}/{key}" if namespace else key
            for namespace, key in objects(ioctx)
            if key not in BOOKKEEPING
        ) + [f"{index}: {entry}" for index in INDEXES for entry in sorted(_entries(ioctx, index))]


def assert_empty(client, names=None):
    """See that pools, all of them by default, hold nothing."""
    found = {pool: leftovers(client, pool) for pool in names or client.list_pools()}
    assert not any(found.values()), {pool: left for pool, left in found.items() if left}


def clear(client, pool):
    """Remove everything from a pool, whatever state it is in."""
    with client.open_ioctx(pool) as ioctx:
        for namespace, key in list(objects(ioctx)):
            # Of a namespace nothing need stay, of the pool the indexes.
            if key not in BOOKKEEPING or namespace:
                ioctx.set_namespace(namespace)
                ioctx.remove_object(key)
        ioctx.set_namespace("")
        for index in INDEXES:
            entries = _entries(ioctx, index)
            if entries and index == "rbd_children":
                # Its keys have zero bytes in them, at which the binding cuts them off.
                ioctx.remove_object(index)
            elif entries:
                with rados.WriteOpCtx() as op:
                    ioctx.remove_omap_keys(op, tuple(entries))
                    ioctx.operate_write_op(op, index)


def objects(ioctx):
    """Namespace and name of each RADOS object of a pool."""
    ioctx.set_namespace(rados.LIBRADOS_ALL_NSPACES)
    found = [(one.nspace, one.key) for one in ioctx.list_objects()]
    for namespace, key in found:
        ioctx.set_namespace(namespace)
        # An object of which only a removed snapshot is left is listed until the OSD trims it.
        with contextlib.suppress(rados.ObjectNotFound):
            ioctx.stat(key)
            yield namespace, key
    ioctx.set_namespace("")


def _entries(ioctx, index):
    with rados.ReadOpCtx() as op:
        entries, _ = ioctx.get_omap_vals(op, "", "", 1000)
        try:
            ioctx.operate_read_op(op, index)
        except rados.ObjectNotFound:
            return []
        return [key for key, _ in entries]
