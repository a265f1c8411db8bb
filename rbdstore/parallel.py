# SPDX-License-Identifier: Apache-2.0
"""Doing one thing to many, some at a time.

The executors of the standard library start threads that eventlet may have patched: there, one
call of librbd would hold up all of them.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable
from typing import TypeVar

from rbdstore import threads

MOST = 8
"""At a time. More do not make it faster: the time goes to the cluster, and to librbd's own few
threads."""

T = TypeVar("T")
V = TypeVar("V")


def each(do: Callable[[T], V], things: Iterable[T], *, most: int | None = None) -> list[V]:
    """Call ``do`` with each of the things, in up to ``most`` threads; what it returned, in order.

    :param most: None: :data:`MOST`

    The first error ends it, and comes out once the calls that had begun have returned.
    """
    waiting = list(enumerate(things))
    if len(waiting) == 1:
        return [do(waiting[0][1])]
    waiting.reverse()
    busy: set[int] = set()
    found: dict[int, V] = {}
    errors: list[BaseException] = []
    changed = threads.threading.Condition()

    def work() -> None:
        while True:
            with changed:
                if errors or not waiting:
                    return
                number, thing = waiting.pop()
                busy.add(number)
            try:
                found[number] = do(thing)
            except BaseException as error:
                errors.append(error)
            with changed:
                busy.remove(number)
                changed.notify_all()

    # They are not joined: Python 3.11, interrupted in that, takes a thread that runs for ended.
    try:
        for _ in range(min(most or MOST, len(waiting))):
            # What is done there is a part of what the caller is doing (:mod:`rbdstore.observing`).
            run = contextvars.copy_context().run
            threads.threading.Thread(target=run, args=(work,), daemon=True).start()
        with changed:
            threads.wait_for(changed, lambda: not busy and bool(errors or not waiting))
    except BaseException as error:
        # Ctrl-C: nothing more is begun. What was begun uses what the caller is about to close.
        errors.append(error)
        with changed:
            threads.wait_for(changed, lambda: not busy)
        raise
    if errors:
        raise errors[0]
    return [found[number] for number in sorted(found)]
