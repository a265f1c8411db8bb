# SPDX-License-Identifier: Apache-2.0
"""Small RADOS objects beside the images: content, map of entries, removal."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping, Sequence
from typing import Final

import rados

from rbdstore.drivers.rbd import full

_PIECE: Final = 1 << 20
_ENTRIES: Final = 500
# For an answer, in bytes, before more is made.
_ROOM: Final = 1 << 16


def read(ioctx: rados.Ioctx, key: str) -> bytes:
    """The content; empty where there is no object."""
    content = bytearray()
    with contextlib.suppress(rados.ObjectNotFound):
        while piece := ioctx.read(key, _PIECE, len(content)):
            content += piece
            if len(piece) < _PIECE:
                break
    return bytes(content)


def ask(ioctx: rados.Ioctx, key: str, method: str, arguments: bytes = b"") -> bytes:
    """What a method of the class ``rbd`` answers, however long that is."""
    room = _ROOM
    while True:
        try:
            return bytes(ioctx.execute(key, "rbd", method, arguments, room)[1])
        except rados.Error as exc:
            if getattr(exc, "errno", None) != errno.ERANGE:
                raise
            room *= 8


def remove(ioctx: rados.Ioctx, key: str) -> bool:
    """Whether there was an object to remove."""
    try:
        ioctx.remove_object(key)
    except rados.ObjectNotFound:
        return False
    return True


def exists(ioctx: rados.Ioctx, key: str) -> bool:
    try:
        ioctx.stat(key)
    except rados.ObjectNotFound:
        return False
    return True


def set_keys(ioctx: rados.Ioctx, key: str, entries: Mapping[str, bytes]) -> None:
    """Add entries, all at once or none."""
    with rados.WriteOpCtx() as op:
        ioctx.set_omap(op, tuple(entries), tuple(entries.values()))
        ioctx.operate_write_op(op, key, flags=full.PAST_THE_LIMIT)


def get_keys(ioctx: rados.Ioctx, key: str) -> dict[str, bytes]:
    """All entries; none where there is no object."""
    entries: dict[str, bytes] = {}
    after = ""
    while True:
        with rados.ReadOpCtx() as op:
            found, _ = ioctx.get_omap_vals(op, after, "", _ENTRIES)
            try:
                ioctx.operate_read_op(op, key)
            except rados.ObjectNotFound:
                return entries
            # The binding has None for an empty value.
            page = {name: value or b"" for name, value in found}
        # An OSD may give fewer than asked for, so only an empty page is the last.
        if not page:
            return entries
        entries |= page
        after = max(page)


def get_key(ioctx: rados.Ioctx, key: str, name: str) -> bytes | None:
    """One entry; None where there is none."""
    with rados.ReadOpCtx() as op:
        found, _ = ioctx.get_omap_vals_by_keys(op, (name,))
        try:
            ioctx.operate_read_op(op, key)
        except rados.ObjectNotFound:
            return None
        return next((value or b"" for _name, value in found), None)


def remove_keys(ioctx: rados.Ioctx, key: str, names: Sequence[str]) -> None:
    """Remove entries, all at once or none. Missing ones are no error, nor is a missing object."""
    with rados.WriteOpCtx() as op, contextlib.suppress(rados.ObjectNotFound):
        ioctx.remove_omap_keys(op, tuple(names))
        ioctx.operate_write_op(op, key)
