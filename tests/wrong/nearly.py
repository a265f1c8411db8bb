# SPDX-License-Identifier: Apache-2.0
"""For hypothesis: what is nearly right, and some of the tables."""

import decimal
import string
import urllib.parse

from hypothesis import strategies as st

from rbdstore import spec
from wrong import names, sizes
from wrong.likenesses import Index

KiB = 1024

_ODD = st.sampled_from(
    [
        *("", " ", "/", "//", "@", ".", "..", "\\", "+", "?", "#", ":", ";", "~", "-"),
        *("%", "%2", "%2F", "%2f", "%40", "%2e", "%00", "%0a", "%ff", "%20", "%25", "%252F"),
        *("%E2%80%A8", "%c3", "%C3%A9", "\n", "\t", "\0", "\x7f", "\x85", "\u2028", "\u200b"),
        *("\ufeff", "\u202e", "\ud800", "\udcff", "é", "e\u0301", "画像", "🙂", "\u00a0"),
        *("\u3000", "\uffff", "\U0010ffff", "x" * 219, "é" * 110, "rbd://", "RBD://"),
        *(spec.PARTIAL_SUFFIX, spec.DELETED_SUFFIX, spec.CLONE_SNAP_SUFFIX, spec.RESERVED_PREFIX),
        *("image-1", "snap", "images", "volumes"),
    ]
)
_WORDS = st.text(string.ascii_lowercase + string.digits + "-_. ", max_size=12)
_TEXTS = st.one_of(_WORDS, _ODD, st.text(max_size=6))


def _quoted(piece, sign="%"):
    return "".join(f"{sign}{byte:02x}" for byte in piece.encode("utf-8", "surrogatepass"))


_WAYS = [
    lambda _piece, odd: odd,
    lambda piece, odd: piece + odd,
    lambda piece, _odd: piece * 2,
    lambda piece, _odd: piece.upper(),
    lambda piece, _odd: _quoted(piece),
    lambda piece, _odd: _quoted(piece, "%25"),
]
_CHANGES = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 5), st.sampled_from(_WAYS), _ODD), max_size=3
)


def _changed(text, changes):
    """Text with a few pieces of it taken out, doubled, quoted, or replaced."""
    for at, length, way, odd in changes:
        start = at * len(text) // 100
        stop = start + length
        text = text[:start] + way(text[start:stop], odd) + text[stop:]
    return text


_RIGHT_NAMES = st.sampled_from(["volume-1", "image-1", "source", "größe", "a b", "100%"])
_CHANGED_NAMES = st.builds(_changed, _RIGHT_NAMES, _CHANGES)

NAMES = st.one_of(
    _CHANGED_NAMES,
    _CHANGED_NAMES,
    _TEXTS,
    st.lists(_TEXTS, max_size=4).map("".join),
    st.text(max_size=60),
    st.sampled_from([entry.value for entry in names.NAMES]),
)

SIZES = st.one_of(
    st.integers(-3, 3 * KiB),
    st.builds(lambda power, more: 2**power + more, st.integers(0, 70), st.integers(-2, 2)),
    st.integers(),
    st.integers(-3, 3 * KiB).map(Index),
    st.integers().map(Index),
    st.floats(),
    st.booleans(),
    st.decimals(),
    st.fractions(),
    st.integers(0, KiB).map(decimal.Decimal),
    st.integers(0, KiB).map(float),
    st.integers(0, KiB).map(str),
    st.none(),
    st.sampled_from([entry.value for entry in sizes.SIZES]),
)

_SHAPES = {
    "right": lambda right, _odd: right,
    "one odd": lambda right, odd: [*right[:2], odd[2], right[3]],
    "another pool": lambda right, odd: [right[0], odd[1] or "volumes", *right[2:]],
    "another cluster": lambda right, odd: [odd[0], *right[1:]],
    "another snapshot": lambda right, odd: [*right[:3], odd[3]],
    "odd": lambda _right, odd: odd,
    "old": lambda right, _odd: right[2:3],
    "old and odd": lambda _right, odd: odd[2:3],
    "fewer": lambda right, odd: right[: len(odd[0]) % 4],
    "more": lambda right, odd: [*right[: len(odd[0]) % 5], odd[1], *right[len(odd[0]) % 5 :]],
}


def _location(right, odd, shape, quote, scheme, changes):
    parts = _SHAPES[shape](right, odd)
    if quote:
        parts = [urllib.parse.quote(part, safe="", errors="surrogatepass") for part in parts]
    return _changed(scheme + "/".join(parts), changes)


def locations(fsid):
    """Nearly that of an image ``image-1`` in the pool ``images``."""
    return st.builds(
        _location,
        st.just([fsid, "images", "image-1", "snap"]),
        st.lists(_TEXTS, min_size=4, max_size=4),
        st.sampled_from(sorted(_SHAPES)),
        st.booleans(),
        st.sampled_from(["rbd://"] * 12 + ["rbd:/", "RBD://", "file://", ""]),
        st.one_of(st.just([]), _CHANGES),
    )
