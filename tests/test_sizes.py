# SPDX-License-Identifier: Apache-2.0
"""Sizes: whole numbers of bytes within what librbd can count, and nothing that only looks so."""

import enum

import pytest
import wrong

from rbdstore import exceptions, sizes


class Size(enum.IntEnum):
    SMALL = 512


@pytest.mark.parametrize("size", [0, 1, 511, 2**32, 2**62 - 1, sizes.MAX_SIZE, Size.SMALL])
def test_good_sizes(size):
    assert sizes.check_size(size) == size


def test_wrong_sizes():
    found = wrong.faults(wrong.SIZES + wrong.NO_SIZE, sizes.check_size)
    assert not found, "\n".join(found)
    found = wrong.faults(wrong.SIZES, sizes.check_size_or_none)
    assert not found, "\n".join(found)
    assert sizes.check_size_or_none(None) is None


@pytest.mark.parametrize("size", [Size.SMALL, wrong.Index(512)])
def test_a_size_is_a_plain_number_whatever_it_was(size):
    assert type(sizes.check_size(size)) is int
    assert sizes.check_size(size) == 512


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
