# SPDX-License-Identifier: Apache-2.0
"""Sizes, in bytes, as callers give them."""

from __future__ import annotations

from typing import Final

from rbdstore import exceptions

# librbd counts a size in 64 bits, and the objects of an image in 63.
MAX_SIZE: Final = 2**62


def check_size(size: object, *, least: int = 0) -> int:
    """See that ``size`` is a whole number of bytes, ``least`` or more.

    :raises InvalidSize: otherwise
    """
    if isinstance(size, bool) or not isinstance(size, int):
        raise exceptions.InvalidSize(f"a size is a whole number of bytes, not {size!r}")
    if size < 0:
        raise exceptions.InvalidSize(f"a size cannot be negative: {size}")
    if size > MAX_SIZE:
        raise exceptions.InvalidSize(f"{size} bytes is beyond the limit of {MAX_SIZE}")
    if size < least:
        raise exceptions.InvalidSize(f"{size} bytes is too small: it must hold {least}")
    return size
