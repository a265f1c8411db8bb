# SPDX-License-Identifier: Apache-2.0
"""What a chunk reads as, in sixteen bytes that a change of some of it can be worked into.

A chunk is cut into **blocks** of 64 KiB. Its digest is the sum, modulo 2^128, of its blocks'
digests, each XXH3's of 128 bits with the block's number as the seed; a block of zeros counts as 0.
So where a block has changed, the digest is what it was, less the old block's, plus the new one's:
nothing else of the chunk need be read. (AdHash: Bellare and Micciancio, "A New Paradigm for
Collision-Free Hashing", 1997.) It is to find damage, not forgers, who could write the manifest
anew as well.
"""

from __future__ import annotations

from typing import Final

import xxhash

from rbdstore.transfer.bodies import zeros

BLOCK: Final = 64 * 1024
ZEROS: Final = bytes(16)
"""The digest of a chunk that reads as zeros."""

_MODULUS: Final = 1 << 128


def digest(data: bytes) -> bytes:
    """Of a chunk; one at an image's end counts as if zeros came after it.

    So it stays what it is when the image grows.
    """
    return _bytes(_sum(data, 0))


def changed(mark: bytes, at: int, old: bytes, new: bytes) -> bytes:
    """The digest of a chunk that was ``mark``, with whole blocks from ``at`` on that were ``old``.

    :param old: shorter than ``new``, it had zeros after it
    """
    return _bytes(int.from_bytes(mark) - _sum(old, at) + _sum(new, at))


def _sum(data: bytes, at: int) -> int:
    total, nothing, view = 0, zeros(BLOCK), memoryview(data)
    whole = len(data) // BLOCK * BLOCK
    for number, start in enumerate(range(0, whole, BLOCK), at // BLOCK):
        if not data.startswith(nothing, start):
            total += xxhash.xxh3_128_intdigest(view[start : start + BLOCK], number)
    if rest := data[whole:]:
        total += _sum(rest.ljust(BLOCK, b"\0"), at + whole)
    return total


def _bytes(total: int) -> bytes:
    return (total % _MODULUS).to_bytes(16)
