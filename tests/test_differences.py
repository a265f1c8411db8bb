# SPDX-License-Identifier: Apache-2.0
"""What differs is told without a search for all that is alike, in CI too."""

import random

import pytest


@pytest.fixture(autouse=True)
def _ci(monkeypatch):
    monkeypatch.setenv("CI", "true")


def test_of_long_values_the_first_difference_is_told():
    content = random.Random("content").randbytes(9000)
    with pytest.raises(AssertionError) as caught:
        assert content == content[:5000] + bytes(4000)
    assert "At index 5000 diff" in str(caught.value)
    assert "Full diff" not in str(caught.value)


def test_nor_where_they_are_inside_of_others():
    content = random.Random("content").randbytes(9000)
    with pytest.raises(AssertionError) as caught:
        assert ("name", content) == ("name", bytes(9000))
    assert "At index 1 diff" in str(caught.value)
    assert "Full diff" not in str(caught.value)


def test_short_values_are_shown_in_full():
    with pytest.raises(AssertionError) as caught:
        assert ["a", "b", "c"] == ["a", "c"]
    assert "Full diff" in str(caught.value)
