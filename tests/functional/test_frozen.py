# SPDX-License-Identifier: Apache-2.0
"""Processes that hang at an upload, and come back when another one has taken over.

Only a cluster cuts off who makes no sound: what the embedded driver locks is locked for as long as
its process is there.
"""

import signal
import time

import halves
import pytest
import racers
import samples
from rbd_place import RbdPlace
from samples import MiB

LEASE = 5

# What one is told whose lease has gone to somebody else: that, or that it was cut off.
CUT_OFF = {"LeaseLost", "Unreachable"}


@pytest.fixture
def place(sandbox):
    place = RbdPlace(sandbox)
    yield place
    place.close()


@pytest.fixture
def pair(place):
    with racers.running(place, 2, rbd_lease_seconds=LEASE) as found:
        yield found


@pytest.fixture
def images(place):
    return place.images("admin", rbd_lease_seconds=LEASE)


def frozen(racer):
    """Stop a process for longer than its lease lasts, and its watcher."""
    racer.signal(signal.SIGSTOP)
    time.sleep(1.6 * LEASE)


def test_one_that_hung_does_not_touch_what_its_successor_is_making(pair, images, raw, tmp_path):
    ours = halves.Upload(pair[0], raw, tmp_path / "ours", "image", "ours")
    frozen(pair[0])
    theirs = halves.Upload(pair[1], raw, tmp_path / "theirs", "image", "theirs")
    pair[0].signal(signal.SIGCONT)
    assert ours.finish() in CUT_OFF
    assert not images.exists("rbd://image")
    assert theirs.finish() == "ok"
    assert raw.images("images") == ["image"]
    assert raw.read("images", "image") == theirs.data
    images.delete("rbd://image")


def test_one_that_hung_does_not_touch_what_its_successor_has_made(pair, images, raw, tmp_path):
    ours = halves.Upload(pair[0], raw, tmp_path / "ours", "image", "ours")
    frozen(pair[0])
    assert halves.Upload(pair[1], raw, tmp_path / "theirs", "image", "theirs").finish() == "ok"
    pair[0].signal(signal.SIGCONT)
    assert ours.finish() in CUT_OFF
    assert raw.images("images") == ["image"]
    assert raw.read("images", "image") == samples.pattern("theirs", 2 * MiB)
    images.delete("rbd://image")
