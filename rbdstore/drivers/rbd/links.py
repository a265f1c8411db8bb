# SPDX-License-Identifier: Apache-2.0
"""The link between a clone and its parent, as it is written in the two headers.

The clone's header names the parent; the parent's lists its children (those of format 1 are in the
object ``rbd_children`` of their own pool). All is read, and cut, without opening the images: that
cannot be done to some of them, and costs many times as much.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

import rados

from rbdstore.drivers.rbd import decoding, headers, objects, remains
from rbdstore.drivers.rbd.options import FEATURES

_HEAD: Final = (1 << 64) - 2
_CHILDREN_1: Final = "rbd_children"
# Versions and length of a structure of Ceph's.
_PREFIX: Final = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """What a header says of the image's parent."""

    pool_id: int
    namespace: str
    image_id: str
    snap_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """How an image's data are kept.

    :ivar prefix: what the names of its objects begin with
    :ivar overlap: how many bytes the parent shows through, where nothing was written
    :ivar striped: over its objects, in pieces
    :ivar data_pool: the number of the pool that they are in, where it is another one
    """

    object_size: int
    prefix: str
    overlap: int
    striped: bool
    data_pool: int | None


def parent(ioctx: rados.Ioctx, image_id: str) -> Link | None:
    """The parent of an image, or of its snaps.

    :raises rados.ObjectNotFound: there is no image
    """
    _, reply = ioctx.execute(_header(image_id), "rbd", "parent_get", b"")
    return read_link(reply)


def read_link(data: bytes) -> Link | None:
    """:raises Unreadable: it is none"""
    (pool_id,) = decoding.numbers("<q", data, _PREFIX)
    namespace, at = text(data, _PREFIX + 8)
    parent_id, at = text(data, at)
    (snap_id,) = decoding.numbers("<Q", data, at)
    return Link(pool_id, namespace, parent_id, snap_id) if pool_id >= 0 and parent_id else None


def overlap(ioctx: rados.Ioctx, image_id: str) -> int | None:
    """How many bytes of an image are the parent's; None: only snaps of it have one."""
    _, reply = ioctx.execute(
        _header(image_id), "rbd", "parent_overlap_get", struct.pack("<Q", _HEAD)
    )
    return int(decoding.numbers("<Q", reply, 1)[0]) if any(reply[:1]) else None


def has_snap(ioctx: rados.Ioctx, link: Link) -> bool:
    """Whether the parent is there, with that snap."""
    try:
        return link.snap_id in headers.snap_ids(ioctx, link.image_id)
    except rados.ObjectNotFound:
        return False


def listed(above: rados.Ioctx, below: rados.Ioctx, link: Link) -> set[str]:
    """The ids of those images of a pool that are known as children of a snap.

    :param above: the pool of the parent
    :param below: the pool of the children
    """
    return _listed_2(above, below, link) | _listed_1(below, link)


def _listed_2(above: rados.Ioctx, below: rados.Ioctx, link: Link) -> set[str]:
    try:
        reply = objects.ask(
            above, _header(link.image_id), "children_list", struct.pack("<Q", link.snap_id)
        )
    except rados.ObjectNotFound:
        return set()
    place = below.get_pool_id(), str(below.nspace or "")
    return {child for *where, child in read_children(reply) if tuple(where) == place}


def read_children(data: bytes) -> list[tuple[int, str, str]]:
    """Number of the pool, namespace and id of each.

    :raises Unreadable:
    """
    found, at = [], 4
    for _ in range(_number(data, 0)):
        end = at + _PREFIX + _number(data, at + 2)
        (pool_id,) = decoding.numbers("<q", data, at + _PREFIX)
        child, at = text(data, at + _PREFIX + 8)
        # Namespaces came with the second version.
        namespace = text(data, at)[0] if at < end else ""
        found.append((int(pool_id), namespace, child))
        at = end
    return found


def _listed_1(below: rados.Ioctx, link: Link) -> set[str]:
    asked = struct.pack("<q", link.pool_id) + remains.text(link.image_id)
    try:
        asked += struct.pack("<Q", link.snap_id)
        reply = objects.ask(below, _CHILDREN_1, "get_children", asked)
    except rados.ObjectNotFound:
        return set()
    found, at = set(), 4
    for _ in range(_number(reply, 0)):
        child, at = text(reply, at)
        found.add(child)
    return found


def shape(ioctx: rados.Ioctx, image_id: str) -> Shape:
    """:raises rados.ObjectNotFound: there is no image"""
    header = _header(image_id)
    _, reply = ioctx.execute(header, "rbd", "get_features", struct.pack("<QB", _HEAD, 1))
    (features,) = decoding.numbers("<Q", reply)
    stripe_count, data_pool = 1, None
    if features & FEATURES["striping"]:
        _, reply = ioctx.execute(header, "rbd", "get_stripe_unit_count", b"")
        _unit, stripe_count = decoding.numbers("<QQ", reply)
    if features & FEATURES["data-pool"]:
        _, reply = ioctx.execute(header, "rbd", "get_data_pool", b"")
        (data_pool,) = decoding.numbers("<q", reply)
    _, size = ioctx.execute(header, "rbd", "get_size", struct.pack("<Q", _HEAD))
    _, prefix = ioctx.execute(header, "rbd", "get_object_prefix", b"")
    return Shape(
        object_size=1 << decoding.numbers("<B", size)[0],
        prefix=text(prefix, 0)[0],
        overlap=overlap(ioctx, image_id) or 0,
        striped=stripe_count > 1,
        data_pool=data_pool,
    )


def detach(ioctx: rados.Ioctx, image_id: str) -> None:
    """Have the header forget the parent."""
    ioctx.execute(_header(image_id), "rbd", "parent_detach", b"")


def _header(image_id: str) -> str:
    return f"rbd_header.{image_id}"


def _number(data: bytes, at: int) -> int:
    return int(decoding.numbers("<I", data, at)[0])


def text(data: bytes, at: int) -> tuple[str, int]:
    """A text, and where what follows it begins.

    :raises Unreadable:
    """
    found = decoding.text_bytes(data, at)
    return found.decode(errors="surrogateescape"), at + 4 + len(found)
