# SPDX-License-Identifier: Apache-2.0
"""Numbers and texts as Ceph encodes them; whoever may write in a pool may write anything."""

from __future__ import annotations

import struct
from typing import Any


class Unreadable(Exception):
    """What was read from the cluster is not what ought to be there."""


def numbers(form: str, data: bytes, at: int = 0) -> tuple[Any, ...]:
    """Numbers of a :mod:`struct` form, from the place ``at`` on.

    :raises Unreadable: there are too few bytes
    """
    try:
        return struct.unpack_from(form, data, at)
    except struct.error as exc:
        raise Unreadable(str(exc)) from exc


def text_bytes(data: bytes, at: int = 0) -> bytes:
    """A text with its length before it, not decoded.

    :raises Unreadable:
    """
    (length,) = numbers("<I", data, at)
    found = bytes(data[at + 4 : at + 4 + length])
    if len(found) < length:
        raise Unreadable(f"a text of {length} bytes has only {len(found)}")
    return found


def text(data: bytes, at: int = 0) -> str:
    """A text with its length before it.

    :raises Unreadable:
    """
    return text_bytes(data, at).decode(errors="surrogateescape")
