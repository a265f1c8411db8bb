# SPDX-License-Identifier: Apache-2.0
"""What the tests of flights share: where they start and land, and that none is left."""

import hashlib
import threading

import flying
import memory
import pytest


@pytest.fixture
def pool():
    return memory.memory_cluster().open_pool("images")


@pytest.fixture
def airport():
    found = flying.Airport()
    yield found
    left = found.in_flight
    found.close()
    assert left == 0, "something is in flight"


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Gate:
    """A hash that hashes nothing until the gate is open."""

    def __init__(self, hashed, gate):
        self._hashed = hashed
        self._gate = gate

    def __getattr__(self, name):
        return getattr(self._hashed, name)

    def update(self, data):
        self._gate()
        self._hashed.update(data)


@pytest.fixture
def gate_hash(monkeypatch):
    """Have a hash wait for, or fail by, a function; MD5 or the other one."""

    def gated(which, gate):
        kinds = {"md5": "md5", "chosen": "new"}
        make = getattr(hashlib, kinds[which])
        monkeypatch.setattr(
            hashlib, kinds[which], lambda *args, **kwargs: Gate(make(*args, **kwargs), gate)
        )

    return gated
