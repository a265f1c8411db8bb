# SPDX-License-Identifier: Apache-2.0
"""Real threads, locks and queues, also in a service that eventlet has patched.

librbd calls back from threads of its own. A lock that eventlet has patched cannot be released
from there, so whatever such a thread may touch is made from what this module hands out. Waiting
is another matter: a green thread that sleeps must let the others run, so that is plain `time`.

A service patches first and imports this library after, as eventlet asks of every library: locks
that were made before are patched in place, and no module can help that.
"""

from __future__ import annotations

import sys
import types
from typing import Any


def _original(name: str) -> types.ModuleType:
    # Only a process that has already imported eventlet can have been patched by it.
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None:
        module: types.ModuleType = patcher.original(name)
        return module
    return __import__(name)


threading: Any = _original("threading")
queue: Any = _original("queue")
