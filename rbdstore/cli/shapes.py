# SPDX-License-Identifier: Apache-2.0
"""Sizes and names as people write and read them."""

from __future__ import annotations

import argparse
import datetime
import decimal
import re
from typing import Final

from cliff import columns

from rbdstore import exceptions, sizes, spec
from rbdstore.legible import PREFIXES
from rbdstore.legible import printable as printable
from rbdstore.legible import size_text as size_text

_SIZE: Final = re.compile(rf"(\d+(?:\.\d+)?) ?(?:([{PREFIXES}])(iB)?|B)", re.ASCII)


def size(text: str) -> int:
    """Bytes, from a number with a unit: ``20GiB``, ``20G``, ``1.5 TiB``, ``512B``.

    A bare number is refused: it is bytes here, MiB to ``rbd``, and GiB to ``openstack``. So is
    ``GB``, which is one to some and another to others.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size: give a number and a unit, such as 20GiB, 512MiB or 4096B"
        )
    number, prefix = decimal.Decimal(match[1]), match[2]
    found = number * 1024 ** (PREFIXES.index(prefix) + 1 if prefix else 0)
    if found != int(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of bytes")
    try:
        return sizes.check_size(int(found))
    except exceptions.InvalidSize as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def snapshot(text: str) -> tuple[str, str]:
    """Volume and snapshot, from ``VOLUME@SNAPSHOT``."""
    volume, at, name = text.partition("@")
    if not at or not volume or not name:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no snapshot: give VOLUME@SNAPSHOT, as the rbd command does"
        )
    return volume, name


def option(text: str) -> tuple[str, str]:
    """Name and value, from ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no option: give NAME=VALUE")
    return name.strip().replace("-", "_"), value


def pair(text: str) -> tuple[str, str]:
    """Both sides, from ``NAME=VALUE``; a name is as it stands there."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} has no two sides: give NAME=VALUE")
    return name, value


class Size(columns.FormattableColumn[int | None]):
    """A size: bytes for machines, with a unit for people."""

    def human_readable(self) -> str:
        return "" if self._value is None else size_text(self._value)


class Moment(columns.FormattableColumn[float]):
    """A time: seconds since 1970 for machines, the local time for people; 0 is none."""

    def human_readable(self) -> str:
        if not self._value:
            return ""
        return datetime.datetime.fromtimestamp(self._value).isoformat(" ", "seconds")


class Name(columns.FormattableColumn[str]):
    """A name: as it is for machines, one that a terminal does not obey for people."""

    def human_readable(self) -> str:
        return printable(self._value)


class Maybe(columns.FormattableColumn[str | None]):
    """What may not be there: nothing is shown to people then."""

    def human_readable(self) -> str:
        return printable(self._value or "")


class Lines(columns.FormattableColumn[list[str]]):
    """A list: as it is for machines, one a line for people."""

    def human_readable(self) -> str:
        return "\n".join(map(printable, self._value))


def parent(found: spec.ImageSpec | None) -> Maybe:
    """A parent as ``rbd`` writes it, or none."""
    return Maybe(None if found is None else str(found))
