# SPDX-License-Identifier: Apache-2.0
"""Sizes, bytes and features that tests take."""

import random

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30

# What early releases of OpenStack made images with: librbd's features of then.
OLD_FEATURES = ("layering", "striping")


def pattern(seed, size):
    """Bytes that no other seed gives."""
    return random.Random(str(seed)).randbytes(size)


def pieces(data, length=64 * KiB):
    """``data`` as an iterator of pieces."""
    return (data[start : start + length] for start in range(0, len(data), length))
