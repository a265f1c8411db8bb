# SPDX-License-Identifier: Apache-2.0
"""Values that are not of the very type that they are as good as."""

import enum


class Text(str):
    """Text of a subclass."""

    __slots__ = ()


class Index:
    """A whole number of another library's, as NumPy's are."""

    def __init__(self, number):
        self._number = number

    def __index__(self):
        return self._number

    def __repr__(self):
        return f"Index({self._number})"


class Named(str, enum.Enum):
    """Text that is formatted as something else."""

    VOLUME = "volume-of-an-enumeration"
    SNAPSHOT = "snapshot-of-an-enumeration"
