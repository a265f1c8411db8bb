# SPDX-License-Identifier: Apache-2.0
"""Wrong usage: one line, too."""

from __future__ import annotations

import argparse
import functools
from typing import Final, NoReturn

WRONG_USAGE: Final = 2
"""The exit status."""


def in_one_line(parser: argparse.ArgumentParser) -> None:
    """Have a parser say what is wrong, and where to read more, without all of its usage."""
    # cliff makes the parsers of commands itself.
    parser.error = functools.partial(_error, parser)  # type: ignore[method-assign]


def _error(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    parser.exit(WRONG_USAGE, f"{parser.prog}: {message}; see {parser.prog} --help\n")
