# SPDX-License-Identifier: Apache-2.0
"""Sizes: whole numbers of bytes within what librbd can count, and nothing that only looks so."""

import decimal
import enum
import fractions

import pytest

from rbdstore import exceptions, sizes


class Size(enum.IntEnum):
    SMALL = 512


@pytest.mark.parametrize("size", [0, 1, 511, 2**32, 2**62 - 1, sizes.MAX_SIZE, Size.SMALL])
def test_good_sizes(size):
    assert sizes.check_size(size) == size


@pytest.mark.parametrize(
    "size",
    [
        True,
        False,
        None,
        "1024",
        b"1024",
        "1G",
        1.0,
        1e9,
        float("inf"),
        float("nan"),
        decimal.Decimal(1024),
        fractions.Fraction(1024),
        1024 + 0j,
        [1024],
        (1024,),
        object(),
    ],
)
def test_what_is_no_whole_number_is_no_size(size):
    with pytest.raises(exceptions.InvalidSize, match="a whole number of bytes, not"):
        sizes.check_size(size)


@pytest.mark.parametrize("size", [-1, -(2**62), -(2**100)])
def test_negative_sizes(size):
    with pytest.raises(exceptions.InvalidSize, match=f"cannot be negative: {size}"):
        sizes.check_size(size)


@pytest.mark.parametrize("size", [sizes.MAX_SIZE + 1, 2**63, 2**64, 10**30])
def test_sizes_beyond_the_limit(size):
    with pytest.raises(exceptions.InvalidSize, match=f"{size} bytes is beyond the limit"):
        sizes.check_size(size)


@pytest.mark.parametrize(("size", "least"), [(0, 0), (5, 5), (6, 5)])
def test_a_size_that_holds_the_least(size, least):
    assert sizes.check_size(size, least=least) == size


@pytest.mark.parametrize(("size", "least"), [(0, 1), (4, 5)])
def test_a_size_that_does_not(size, least):
    with pytest.raises(exceptions.InvalidSize, match=f"{size} bytes .* must hold {least}"):
        sizes.check_size(size, least=least)


def test_a_wrong_size_is_a_value_error_too():
    """So that callers who know nothing of this library catch what they expect."""
    with pytest.raises(ValueError, match="negative"):
        sizes.check_size(-1)
