# SPDX-License-Identifier: Apache-2.0
"""Sizes and names, as people write and read them."""

import argparse
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbdstore import sizes
from rbdstore.cli import shapes


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0B", 0),
        ("1B", 1),
        ("1KiB", 1024),
        ("1K", 1024),
        ("20GiB", 20 << 30),
        ("20G", 20 << 30),
        ("20 GiB", 20 << 30),
        (" 1.5TiB ", 3 << 39),
        ("0.5KiB", 512),
        ("4EiB", 4 << 60),
    ],
)
def test_sizes(text, number):
    assert shapes.size(text) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (20 << 30, "20 GiB"),
        ((20 << 30) + 1, "20 GiB"),
        (4 << 60, "4 EiB"),
        (5 << 70, "5120 EiB"),
    ],
)
def test_sizes_as_text(number, text):
    assert shapes.size_text(number) == text


@given(st.integers(0, sizes.MAX_SIZE))
def test_any_size_is_read_back_from_its_bytes(number):
    assert shapes.size(f"{number}B") == number


@given(st.integers(0, sizes.MAX_SIZE))
def test_a_size_as_text_is_near_it(number):
    """It is rounded, never by more than a twentieth."""
    text = shapes.size_text(number)
    read = float(text.split()[0]) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(
        text.split()[1]
    )
    assert abs(read - number) <= number * 0.05


@given(st.text())
def test_any_text_is_a_size_or_wrong_usage(text):
    with contextlib.suppress(argparse.ArgumentTypeError):
        assert 0 <= shapes.size(text) <= sizes.MAX_SIZE


@pytest.mark.parametrize("text", ["", "@", "a@", "@a", "a"])
def test_what_is_no_snapshot(text):
    with pytest.raises(argparse.ArgumentTypeError):
        shapes.snapshot(text)


def test_a_snapshot_and_an_option():
    assert shapes.snapshot("volume-1@snapshot-1") == ("volume-1", "snapshot-1")
    assert shapes.option("rbd-pool=a=b") == ("rbd_pool", "a=b")


@given(st.text())
def test_what_is_printed_cannot_command_the_terminal(text):
    assert shapes.printable(text).isprintable()


def test_what_is_printed_can_be_read():
    assert shapes.printable("größe") == "größe"
    assert shapes.printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"


@pytest.mark.parametrize(
    ("column", "value"),
    [(shapes.Name, "\x1b[1m"), (shapes.Maybe, "\x1b[1m"), (shapes.Lines, ["\x1b[1m"])],
)
def test_names_in_a_table_cannot_command_the_terminal(column, value):
    assert column(value).human_readable() == "\\x1b[1m"
    assert column(value).machine_readable() == value
