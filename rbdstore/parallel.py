# SPDX-License-Identifier: Apache-2.0
"""Doing one thing to many, some at a time.

The executors of the standard library start threads that eventlet may have patched: there, one
call of librbd would hold up all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from rbdstore.threads import threading

# More do not make it faster: the time goes to the cluster, and to librbd's own few threads.
_MOST: Final = 8

T = TypeVar("T")
V = TypeVar("V")


def each(do: Callable[[T], V], things: Iterable[T], *, most: int = _MOST) -> list[V]:
    """Call ``do`` with each of the things, in up to ``most`` threads; what it returned, in order.

    The first error ends it, and comes out once the calls that had begun have returned.
    """
    waiting = list(enumerate(things))
    waiting.reverse()
    found: dict[int, V] = {}
    errors: list[BaseException] = []

    def work() -> None:
        # `list.pop` takes one thing for one thread only.
        while not errors:
            try:
                number, thing = waiting.pop()
            except IndexError:
                return
            try:
                found[number] = do(thing)
            except BaseException as error:
                errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(most, len(waiting)))]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException as error:
        # Ctrl-C: nothing more is begun.
        errors.append(error)
        raise
    if errors:
        raise errors[0]
    return [found[number] for number in sorted(found)]
