# SPDX-License-Identifier: Apache-2.0
"""Progress callbacks."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

from rbdstore.driver import Progress


@contextlib.contextmanager
def reported(progress: Progress | None) -> Iterator[Callable[[int, int], int] | None]:
    """Give what librbd can call for ``progress``, and raise what that raised.

    librbd wants a number back, calls from a thread of its own, and prints exceptions; a negative
    number ends the operation where it is.
    """
    if progress is None:
        yield None
        return
    raised: list[BaseException] = []

    def report(done: int, total: int) -> int:
        if not raised:
            try:
                progress(done, total)
            except BaseException as exc:  # It is raised below, in the caller's thread.
                raised.append(exc)
        return -errno.ECANCELED if raised else 0

    try:
        yield report
    finally:
        if raised:
            raise raised[0]
