# SPDX-License-Identifier: Apache-2.0
"""Waiting for what others do."""

import time


def until(true, limit=150, *, every=0.1):
    """Call ``true`` until it says so; that must be within ``limit`` seconds."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, f"not in {limit:g} s"
        time.sleep(every)
