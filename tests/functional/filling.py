# SPDX-License-Identifier: Apache-2.0
"""Pools that are full, or have a quota: until the cluster has seen that they are not any more."""

import contextlib
import time

# How long that may take: the monitors look at their ticks.
SEEN_SECONDS = 60


@contextlib.contextmanager
def quota(sandbox, pool, size):
    """Have a pool take no more than ``size`` bytes."""
    _set_quota(sandbox, pool, size)
    try:
        yield
    finally:
        lift_quota(sandbox, pool)


def reach_quota(sandbox, pool):
    _set_quota(sandbox, pool, 1)
    _wait(sandbox, pool, "full_quota", True)


def lift_quota(sandbox, pool):
    _set_quota(sandbox, pool, 0)
    # What the pool had a moment ago may have been too much.
    _wait(sandbox, pool, "full_quota", False)


def fill_osds(sandbox):
    _set_ratios(sandbox, "0.00001", "0.00002", "0.00003")
    _wait(sandbox, "volumes", "full", True)


def free_osds(sandbox):
    _set_ratios(sandbox, "0.95", "0.90", "0.85")
    _wait(sandbox, "volumes", "full", False)


def _set_quota(sandbox, pool, size):
    sandbox.ceph("osd", "pool", "set-quota", pool, "max_bytes", str(size))


def _set_ratios(sandbox, *ratios):
    kinds = ("full", "backfillfull", "nearfull")
    # They must stay in order at every step.
    steps = list(zip(kinds, ratios, strict=True))
    for kind, ratio in steps if ratios[0] > ratios[2] else reversed(steps):
        sandbox.ceph("osd", f"set-{kind}-ratio", ratio)


def _wait(sandbox, pool, flag, is_set):
    end = time.monotonic() + SEEN_SECONDS
    while (flag in _flags(sandbox, pool)) is not is_set:
        assert time.monotonic() < end
        time.sleep(0.1)


def _flags(sandbox, name):
    found = sandbox.ceph_json("osd", "pool", "ls", "detail")
    return next(p["flags_names"].split(",") for p in found if p["pool_name"] == name)
