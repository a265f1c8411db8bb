# SPDX-License-Identifier: Apache-2.0
"""Standard input, output and error, when the command is started without one of them."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

# What is opened in place of one, and how it is then used: in the direction that fails, so that
# nothing is read as empty or lost in silence. Of an error nobody can be told.
_STREAMS: Final = (
    ("stdin", 0, os.O_WRONLY, "r"),
    ("stdout", 1, os.O_RDONLY, "w"),
    ("stderr", 2, os.O_WRONLY, "w"),
)


def repair() -> None:
    """Have all three; else the next file that is opened, of a database or of Ceph, becomes one."""
    for name, number, flags, mode in _STREAMS:
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, flags), number)
            setattr(sys, name, os.fdopen(number, mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names may have characters that the user's locale does not.
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Have what is still to be written to standard output go nowhere, in silence."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
