# SPDX-License-Identifier: Apache-2.0
"""Calls that block, without stopping a service that eventlet has patched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def is_green() -> bool:
    """Whether this process's threads are eventlet's, of which only one runs at a time."""
    # Only a process that has already imported eventlet can have been patched by it.
    patcher: Any = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


def call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what waits for the cluster; meanwhile others of this process get their turn."""
    if not is_green():
        return function(*args, **kwargs)
    from eventlet import tpool

    result: T = tpool.execute(function, *args, **kwargs)
    return result
