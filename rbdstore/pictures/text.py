# SPDX-License-Identifier: Apache-2.0
"""How wide a text is, how it is made to fit, and how it is written."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """In letters: those of East Asia count as two."""
    return sum(_width(char) for char in text)


def fitting(text: str, most: int) -> str:
    """At most as wide; of what is too long, its beginning and its end."""
    if width(text) <= most:
        return text
    end = most // 3
    head, tail = "", ""
    for char in text:
        if width(head) + _width(char) > most - end - 1:
            break
        head += char
    for char in reversed(text):
        if width(tail) + _width(char) > end:
            break
        tail = char + tail
    return f"{head}…{tail}"


def in_ascii(markup: str) -> str:
    """The same, other letters being references to them, which both SVG and HTML know."""
    return markup.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _width(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
