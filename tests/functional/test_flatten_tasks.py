# SPDX-License-Identifier: Apache-2.0
"""Flattening by the cluster's own managers: how far they are, and what they do not do."""

import json
import logging
import time

import pytest
import samples
import stores

MiB = samples.MiB
GiB = 1 << 30
DATA = samples.pattern("tasks", MiB)
LIMIT = 120

TASK = {"rbd_flatten_mode": "task"}

# The manager asks for every object: some ten thousand requests.
LARGE = 64 * GiB


@pytest.fixture
def make(raw):
    """Make a volume and a clone of it, of some size; delete them in the end."""
    made = []

    def make(volumes, size=MiB):
        volumes.create("source", size)
        raw.write("volumes", "source", DATA)
        volumes.create_cloned_volume("clone", "source")
        made.append(volumes)

    yield make
    for name in ("clone", "source"):
        made[0].delete(name)


def tasks(raw):
    return json.loads(
        raw.client.mgr_command('{"prefix": "rbd task list", "format": "json"}', b"")[1]
    )


def warnings(caplog):
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def test_without_the_right_it_is_flattened_here_and_the_mend_is_told(sandbox, raw, make, caplog):
    make(stores.volume_store(sandbox))
    with stores.volume_store_as(sandbox, stores.TASKLESS, **TASK) as volumes:
        assert volumes.flatten("clone").parent is None
    (warning,) = warnings(caplog)
    assert "ceph auth caps client.cinder-taskless" in warning
    assert "mgr capability `profile rbd pool=volumes`" in warning
    assert raw.read("volumes", "clone") == DATA


def test_without_a_manager_it_is_flattened_here(sandbox, raw, make, caplog):
    volumes = stores.volume_store(sandbox, rbd_operation_timeout=2, **TASK)
    make(volumes)
    sandbox.pause_daemon("mgr.x")
    try:
        assert volumes.flatten("clone").parent is None
    finally:
        sandbox.resume_daemon("mgr.x")
        sandbox.wait_ready()
    (warning,) = warnings(caplog)
    assert "ceph mgr stat" in warning
    assert raw.read("volumes", "clone") == DATA


def test_an_interrupt_cancels_the_task(sandbox, raw, make):
    volumes = stores.volume_store(sandbox, **TASK)
    make(volumes, LARGE)

    def interrupt(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        volumes.flatten("clone", progress=interrupt)
    deadline = time.monotonic() + LIMIT
    while tasks(raw):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert volumes.get("clone").depth == 1


def test_a_manager_dies_under_a_task(sandbox, raw, make, caplog):
    """The next one goes on with the task, and tells how far it is."""
    volumes = stores.volume_store(sandbox, rbd_operation_timeout=5, **TASK)
    make(volumes, LARGE)
    seen, killed_at = [], []

    def kill(done, total):
        seen.append((done, total))
        if done and not killed_at:
            killed_at.append(done)
            sandbox.kill_daemon("mgr.x")
            sandbox.start_daemon("mgr.x")

    assert volumes.flatten("clone", progress=kill).parent is None
    assert 0 < killed_at[0] < LARGE
    assert (killed_at[0], LARGE) in seen
    sandbox.wait_ready()
    assert tasks(raw) == []
    with raw.reader("volumes", "clone") as image:
        assert image.read(0, MiB) == DATA
    assert warnings(caplog) == []
