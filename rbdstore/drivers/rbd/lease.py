# SPDX-License-Identifier: Apache-2.0
"""Leases: Ceph's object locks that run out.

The lock belongs to a client's instance and a cookie, and its end is reckoned by the OSD's clock.
The binding of ``lock_exclusive`` knows whole seconds only, and nothing of the check that makes a
write conditional on a lock, so the arguments of both are encoded here.
"""

from __future__ import annotations

import struct
import time
from typing import Final

import rados

from rbdstore.drivers.rbd import decoding, full
from rbdstore.shapes import LeaseState

LOCK: Final = "rbdstore"
OWNER: Final = "rbdstore.owner"

_EXCLUSIVE: Final = 1
# cls_lock's flags: take it or renew it; renew it or fail.
_MAY_RENEW: Final = 1
_MUST_RENEW: Final = 2
_TAG: Final = ""
# Versions and length of a structure of Ceph's.
_PREFIX: Final = 6


def take(
    ioctx: rados.Ioctx, key: str, cookie: str, seconds: float, owner: str, *, renew: bool
) -> bool:
    """Lock ``key``, or renew the lock; False when that cannot be done."""
    whole = int(seconds)
    arguments = (
        _text(LOCK)
        + struct.pack("<B", _EXCLUSIVE)
        + _text(cookie)
        + _text(_TAG)
        + _text(owner)
        + struct.pack("<II", whole, int((seconds - whole) * 1e9))
        + struct.pack("<B", _MUST_RENEW if renew else _MAY_RENEW)
    )
    with rados.WriteOpCtx() as op:
        op.execute("lock", "lock", _versioned(arguments))
        # The lock forgets its owner when it runs out. This does not, and a human can read it.
        op.set_xattr(OWNER, owner.encode())
        try:
            # The binding's own idea of when it was changed is 1970.
            ioctx.operate_write_op(op, key, int(time.time()), full.PAST_THE_LIMIT)
        except (rados.ObjectBusy, rados.ObjectNotFound):
            return False
    return True


def check(op: rados.WriteOp, cookie: str, *, lock: str = LOCK, tag: str = _TAG) -> None:
    """Let the whole of ``op`` fail, with ObjectBusy or ObjectNotFound, unless the lock is held."""
    arguments = _text(lock) + struct.pack("<B", _EXCLUSIVE) + _text(cookie) + _text(tag)
    op.execute("lock", "assert_locked", _versioned(arguments))


def owner(ioctx: rados.Ioctx, key: str) -> str | None:
    """Who has the lock, or had it last."""
    try:
        return bytes(ioctx.get_xattr(key, OWNER)).decode(errors="replace")
    except (rados.NoData, rados.ObjectNotFound):
        return None


def state(ioctx: rados.Ioctx, key: str) -> LeaseState | None:
    """The lease on an object; None: there is no object that ever had one."""
    who = owner(ioctx, key)
    if who is None:
        return None
    try:
        # Locks that ran out are left out of it.
        _, reply = ioctx.execute(key, "lock", "get_info", _versioned(_text(LOCK)))
        _size, changed = ioctx.stat(key)
    except rados.ObjectNotFound:
        return None
    (holders,) = struct.unpack_from("<I", reply, _PREFIX)
    return LeaseState(who, bool(holders), time.mktime(changed))


def cookie(ioctx: rados.Ioctx, key: str, lock: str) -> str:
    """Of whoever holds a lock; empty: nobody does."""
    _, reply = ioctx.execute(key, "lock", "get_info", _versioned(_text(lock)))
    at = _PREFIX
    (holders,) = decoding.numbers("<I", reply, at)
    if not holders:
        return ""
    # The first one's id: the kind and the number of the client, and the cookie.
    return decoding.text(reply, at + 4 + _PREFIX + 1 + 8)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _versioned(arguments: bytes) -> bytes:
    # Ceph's structures begin with their version, the oldest one compatible with it, and a length.
    return struct.pack("<BBI", 1, 1, len(arguments)) + arguments
