# SPDX-License-Identifier: Apache-2.0
"""Bodies of images that are refused. They are used up by being read: each is made anew."""

from __future__ import annotations

import array
import dataclasses
import io
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from rbdstore import exceptions
from wrong.entries import Wrong


@dataclasses.dataclass(frozen=True)
class WrongBody(Wrong):
    """``value`` makes the body.

    :ivar size: what is promised of it
    """

    size: int | None = None

    def fault(self, call: Callable[[Any, int | None], object]) -> str | None:
        """``call`` is given the body and its size."""
        return super().fault(lambda make: call(make(), self.size))


class BodyBrokeError(Exception):
    """What a body of these raises."""


class Reader:
    """A file whose ``read()`` gives some things one after the other."""

    def __init__(self, *given: object) -> None:
        self._given = iter(given)

    def read(self, _size: int) -> object:
        return next(self._given, b"")


def _closed() -> io.BytesIO:
    body = io.BytesIO(b"data")
    body.close()
    return body


def _detached() -> io.BufferedReader:
    body = io.BufferedReader(io.BytesIO(b"data"))
    body.detach()
    return body


def _released() -> memoryview:
    view = memoryview(b"data")
    view.release()
    return view


def _torn() -> Iterator[bytes]:
    yield b"first bytes"
    raise BodyBrokeError("halfway")


async def _asynchronous() -> Any:
    yield b"data"


class _NotToBeRead:
    read = "the docs"


def _bodies(error: type[Exception], says: str, **made: Any) -> list[WrongBody]:
    found = []
    for key, value in made.items():
        make, size = value if isinstance(value, tuple) else (value, None)
        found.append(WrongBody(key.replace("_", " "), make, error, says, size))
    return found


UNREADABLE = [
    *_bodies(
        exceptions.InvalidBody,
        "has been closed",
        a_closed_file=_closed,
        a_file_that_was_detached=_detached,
    ),
    *_bodies(
        exceptions.InvalidBody,
        "is a file in text mode",
        a_file_in_text_mode=lambda: io.TextIOWrapper(io.BytesIO(b"data")),
        text_in_memory=lambda: io.StringIO("data"),
        empty_text_in_memory=io.StringIO,
    ),
    *_bodies(
        exceptions.InvalidBody,
        "was not opened for reading",
        a_file_to_write_to=lambda: io.BufferedWriter(io.BytesIO()),
    ),
    *_bodies(
        exceptions.InvalidBody,
        "must be a binary file, bytes, or an iterable of bytes, not ",
        none=lambda: None,
        a_number=lambda: 12,
        a_float=lambda: 1.5,
        a_bool=lambda: True,
        text=(lambda: "text", 4),
        empty_text=lambda: "",
        a_memoryview=lambda: memoryview(b"data"),
        an_object=object,
        a_function=lambda: len,
        a_class_that_can_be_read=lambda: io.BytesIO,
        a_class_that_can_be_iterated_over=lambda: bytes,
        a_path=lambda: pathlib.PurePath("image.raw"),
        something_asynchronous=_asynchronous,
        something_whose_read_is_no_method=_NotToBeRead,
    ),
]
"""What is refused before anything is made."""

BODIES = [
    *_bodies(
        exceptions.InvalidBody,
        "the data comes as str, not as bytes",
        text_in_a_list=lambda: ["text"],
        text_after_bytes=lambda: [b"first bytes", "then text"],
        a_mapping_of_text=lambda: {"a": b"b"},
        a_read_that_gives_text=lambda: Reader("text"),
        a_read_that_gives_empty_text=lambda: Reader(""),
        text_where_bytes_were_promised=(lambda: ["text"], 4),
    ),
    *_bodies(
        exceptions.InvalidBody,
        "the data comes as NoneType, not as bytes",
        none_in_a_list=lambda: [None],
        none_after_bytes=lambda: [b"bytes", None],
        a_read_that_has_nothing_yet=lambda: Reader(None),
        a_read_that_has_no_more_for_now=lambda: Reader(b"bytes", None, b"more"),
    ),
    *_bodies(
        exceptions.InvalidBody,
        "the data comes as int, not as bytes",
        numbers_in_a_list=lambda: [1, 2, 3],
        a_range=lambda: range(5),
        numbers_in_an_array=lambda: array.array("B", b"data"),
    ),
    *_bodies(
        exceptions.InvalidBody,
        "the data comes as ",
        a_list_in_a_list=lambda: [[b"nested"]],
        an_array_in_a_list=lambda: [array.array("B", b"array")],
        a_read_that_gives_a_list=lambda: Reader([b"data"]),
        a_read_that_gives_zero=lambda: Reader(0),
        a_released_view=lambda: [b"data", _released()],
        a_read_that_gives_a_released_view=lambda: Reader(_released()),
    ),
    *_bodies(
        exceptions.InvalidBody,
        "the data ends after ",
        short_bytes=(lambda: b"x" * 99, 100),
        short_by_one_object=(lambda: io.BytesIO(b"x" * (8 << 20)), 16 << 20),
        nothing=(lambda: b"", 1),
        a_file_that_is_at_its_end=(lambda: Reader(), 4),
        an_empty_list=(list, 4),
        an_empty_generator=(lambda: iter(()), 4),
        only_empty_pieces=(lambda: [b"", b"", b""], 4),
        a_terabyte_was_promised=(lambda: b"data", 1 << 40),
    ),
    *_bodies(
        exceptions.InvalidBody,
        "the data goes on after ",
        long_bytes=(lambda: b"x" * 101, 100),
        long_by_one_object=(lambda: io.BytesIO(b"x" * (16 << 20)), 8 << 20),
        more_than_nothing=(lambda: b"x", 0),
        without_an_end=(lambda: itertools.repeat(b"x" * (1 << 20)), 3 << 20),
        without_an_end_and_of_zeros=(lambda: itertools.repeat(bytes(1 << 20)), 3 << 20),
        a_read_that_gives_too_much=(lambda: Reader(b"x" * (9 << 20)), 8 << 20),
        a_wide_view=(lambda: [memoryview(array.array("Q", bytes(32)))], 4),
    ),
    *_bodies(
        BodyBrokeError,
        "halfway",
        torn=_torn,
        torn_before_its_size=(_torn, 1 << 20),
        torn_after_its_size=(_torn, len(b"first bytes")),
    ),
]
"""What is found out while it is read. Of the error of a body's own nothing is changed."""
