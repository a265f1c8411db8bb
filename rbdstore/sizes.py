# SPDX-License-Identifier: Apache-2.0
"""Sizes, in bytes, as callers give them."""

from __future__ import annotations

import operator
from typing import Any, Final

from rbdstore import exceptions

# librbd counts a size in 64 bits, and the objects of an image in 63.
MAX_SIZE: Final = 2**62


def check_size(size: Any, *, least: int = 0) -> int:
    """Return ``size`` as a plain number of bytes, ``least`` or more.

    Whatever Python takes for a whole number is one, such as NumPy's integers, but no bool.

    :raises InvalidSize: otherwise
    """
    try:
        if isinstance(size, bool):
            raise TypeError
        number = operator.index(size)
    except TypeError:
        raise exceptions.InvalidSize(
            f"a size is a whole number of bytes, not {exceptions.shown(size)}"
        ) from None
    if number < 0:
        raise exceptions.InvalidSize(f"a size cannot be negative: {exceptions.shown(number)}")
    if number > MAX_SIZE:
        raise exceptions.InvalidSize(
            f"{exceptions.shown(number)} bytes is beyond the limit of {MAX_SIZE}"
        )
    if number < least:
        raise exceptions.InvalidSize(f"{number} bytes is too small: it must hold {least}")
    return number


def check_size_or_none(size: Any) -> int | None:
    """The same where None has a meaning of its own.

    :raises InvalidSize: otherwise
    """
    return None if size is None else check_size(size)
