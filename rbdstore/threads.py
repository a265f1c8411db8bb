# SPDX-License-Identifier: Apache-2.0
"""Real threads, locks and queues, also in a service that eventlet has patched.

librbd calls back from threads of its own. A lock that eventlet has patched cannot be released
from there, so whatever such a thread may touch is made from what this module hands out. Waiting
is another matter: a green thread that sleeps must let the others run, so that is plain `time`.

A service patches first and imports this library after, as eventlet asks of every library: locks
that were made before are patched in place, and no module can help that.
"""

from __future__ import annotations

import os
import sys
import time
import types
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

# How often a green thread looks.
_POLL_SECONDS: Final = 0.005

# A signal that comes right before a thread begins to wait is only seen when the wait ends.
LONGEST_WAIT: Final = 0.5


def _original(name: str) -> types.ModuleType:
    # Only a process that has already imported eventlet can have been patched by it.
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None:
        module: types.ModuleType = patcher.original(name)
        return module
    return __import__(name)


threading: Any = _original("threading")
queue: Any = _original("queue")


def wait_for(changed: Any, is_so: Callable[[], bool]) -> None:
    """Wait for a condition, whose lock is held, until ``is_so()``.

    Where eventlet has patched `time`, the caller may be a green thread, and what it waits for the
    work of another one in the same thread.
    """
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is None or not patcher.is_monkey_patched("time"):
        while not changed.wait_for(is_so, LONGEST_WAIT):
            pass
        return
    while not is_so():
        changed.release()
        try:
            time.sleep(_POLL_SECONDS)
        finally:
            changed.acquire()


class _Resettable(Protocol):
    def reset(self) -> None: ...


_resettable: weakref.WeakSet[_Resettable] = weakref.WeakSet()


def reset_in_child(thing: _Resettable) -> None:
    """Have ``thing.reset()`` called in every child process, which inherits none of the threads."""
    _resettable.add(thing)


def _reset_all() -> None:
    for thing in list(_resettable):
        thing.reset()


os.register_at_fork(after_in_child=_reset_all)
