# SPDX-License-Identifier: Apache-2.0
"""``rbdstore gc --interval``: it goes on, whatever happens, and ends when it is told to."""

import contextlib
import json
import signal
import subprocess

import commands
import pytest

from rbdstore import leases, spec

MiB = 1 << 20
DRAFT = "volume-9.0123abcd.partial"


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@contextlib.contextmanager
def rounds(shell, *arguments):
    """The process, and what each of its rounds has come to."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with shell.start("gc", *arguments, **streams) as process:
        try:
            yield process, (json.loads(line) for line in process.stdout)
        finally:
            process.kill()


def ended(process, number):
    process.send_signal(number)
    _out, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.timeout(300)
def test_round_after_round(shell, volumes):
    volumes.pool.create(DRAFT, MiB)
    with (
        rounds(shell, "--interval", "1s", "--apply", "--json") as (process, told),
        # Side by side, each with a look at what the other has left of it.
        rounds(shell, "--interval", "1s", "--json", "--apply") as (other, others),
    ):
        first = next(told)
        assert first["pool"] == "volumes"
        done = first["reclaimed"] + next(others)["reclaimed"]
        volumes.pool.create(DRAFT, MiB)
        while done < 2:
            done += next(told)["reclaimed"] + next(others)["reclaimed"]
        assert done == 2
        assert volumes.pool.list_images() == []
        # In the middle of a pause, most likely.
        assert ended(process, signal.SIGTERM) == (0, "")
        assert ended(other, signal.SIGINT) == (0, "")


@pytest.mark.timeout(300)
def test_a_line_each_and_nothing_changed(shell, volumes):
    volumes.pool.create(DRAFT, MiB)
    with shell.start("gc", "--interval", "1s", stdout=subprocess.PIPE, text=True) as process:
        try:
            said = [process.stdout.readline() for _ in range(2)]
            assert ended(process, signal.SIGTERM)[0] == 0
        finally:
            process.kill()
    for line in said:
        what = " pool volumes: 1 found, 1 reclaimable, 0 reclaimed, 0 left, in "
        assert what in line
        assert line.endswith(" s\n")
    volumes.pool.remove(DRAFT)


@pytest.mark.timeout(300)
def test_who_is_not_let_in_goes_on(shell, volumes):
    """Another one that is at it for longer than a dead one's lease lasts."""
    lease = leases.acquire(volumes.pool, spec.GC_LEASE, 10, wait=0)
    with rounds(shell, "--interval", "1s", "--apply", "--json") as (process, told):
        assert "error" in next(told)
        lease.release()
        assert next(each for each in told if "error" not in each)["found"] == 0
        assert ended(process, signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("interval", ["0", "often", "0.5s"])
def test_wrong_intervals(shell, interval):
    assert "--interval" in shell.fails("gc", "--interval", interval, status=2)


def test_a_wrong_configuration_is_no_outage(shell):
    assert "no backend" in shell.fails("--backend", "nowhere", "gc", "--interval", "1s")
