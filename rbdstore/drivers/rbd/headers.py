# SPDX-License-Identifier: Apache-2.0
"""What an image's header tells at once, for which librbd would open the image."""

from __future__ import annotations

import struct

import rados

from rbdstore.drivers.rbd import decoding, objects

# Versions and length of a structure of Ceph's.
_PREFIX = 6


def snap_ids(ioctx: rados.Ioctx, image_id: str) -> tuple[int, ...]:
    """The ids of an image's snaps, of whatever kind.

    :raises rados.ObjectNotFound: there is no image
    """
    reply = objects.ask(ioctx, _name(image_id), "get_snapcontext")
    # The latest one's id; how many there are; and they.
    return decoding.numbers(f"<{_length(reply, 8)}Q", reply, 12)


def latest_snap(ioctx: rados.Ioctx, image_id: str) -> int:
    """The greatest id that a snap of an image ever had; 0: it never had one.

    :raises rados.ObjectNotFound: there is no image
    """
    reply = objects.ask(ioctx, _name(image_id), "get_snapcontext")
    (latest,) = decoding.numbers("<Q", reply, 0)
    return int(latest)


def children_of_snap(ioctx: rados.Ioctx, image_id: str, snap_id: int) -> int:
    """How many clones of format 2 a snap has, in whatever pool. Those of format 1 do not count."""
    try:
        reply = objects.ask(ioctx, _name(image_id), "snapshot_get", struct.pack("<Q", snap_id))
    except rados.ObjectNotFound:
        return 0
    # Id; namespace, with a prefix of its own; name; size; time; and the number.
    at = _PREFIX + 8
    at += _PREFIX + _length(reply, at + 2)
    at += 4 + _length(reply, at) + 8 + 8
    return _length(reply, at)


def _name(image_id: str) -> str:
    return f"rbd_header.{image_id}"


def _length(data: bytes, at: int) -> int:
    (number,) = decoding.numbers("<I", data, at)
    return int(number)
