# SPDX-License-Identifier: Apache-2.0
"""``rbdstore sandbox``: a Ceph that outlives the command that started it, and ends when told."""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import commands
import pytest


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A home of its own, so that whoever runs the tests keeps the sandbox that they have."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path
    commands.run("sandbox", "down")


def run(*arguments):
    ended = commands.run(*arguments)
    assert (ended.status, ended.err) == (0, "")
    return ended.out


def up():
    """Start one. Not in this process: it must stand when the command that started it has ended."""
    return subprocess.run(
        [commands.PYTHON, "-m", "rbdstore.cli", "sandbox", "up"],
        env=commands.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def status():
    return json.loads(run("sandbox", "status", "-f", "json"))


def gone(path, pid):
    """Wait until a folder and a process are gone."""
    deadline = time.monotonic() + 60
    while os.path.exists(path) or os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return True


def test_up_env_down(state):
    assert status()["state"] == "down"
    assert up() == 'It is up. Use it: eval "$(rbdstore sandbox env)"\n'
    found = status()
    assert found["state"] == "up"

    again = commands.run("sandbox", "up")
    assert (again.status, again.err) == (1, "rbdstore: sandbox: it is up already\n")

    # As a shell reads it.
    words = shlex.split(run("sandbox", "env").replace("export ", ""))
    env = commands.environment(**dict(word.split("=", 1) for word in words))
    assert (
        commands.json_of("volume", "create", "volume-1", "--size", "1MiB", env=env)["size"]
        == 1 << 20
    )
    listed = subprocess.run(["rbd", "ls", "volumes"], env=env, capture_output=True, text=True)
    assert listed.stdout == "volume-1\n"

    assert run("sandbox", "down") == ""
    assert gone(found["folder"], found["pid"])
    assert status()["state"] == "down"
    assert run("sandbox", "down") == ""
    ended = commands.run("sandbox", "env")
    assert ended == commands.Ended(
        1, "", "rbdstore: no sandbox is up; start one: rbdstore sandbox up\n"
    )


def test_one_whose_process_was_killed_is_down(state):
    up()
    found = status()
    os.kill(found["pid"], signal.SIGKILL)
    assert gone(found["folder"], found["pid"])
    assert status()["state"] == "down"
    up()
    assert status()["pid"] != found["pid"]


def test_one_that_cannot_be_started_says_why(state, monkeypatch):
    monkeypatch.setenv("PATH", str(state))
    ended = commands.run("sandbox", "up")
    assert (ended.status, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("rbdstore: sandbox: ")
    assert "ceph-mon" in line
    assert json.loads(commands.run("sandbox", "status", "-f", "json").out)["state"] == "down"


def test_an_interrupted_start_leaves_nothing(state, tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with subprocess.Popen(
        [commands.PYTHON, "-m", "rbdstore.cli", "sandbox", "up"],
        env=commands.environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as up:
        deadline = time.monotonic() + 60
        while not any(folder.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        up.send_signal(signal.SIGINT)
        _out, err = up.communicate()
    assert (err, up.returncode) == ("rbdstore: ended by SIGINT\n", 130)
    deadline = time.monotonic() + 60
    while [*Path(folder).iterdir()] or status()["state"] != "down":
        assert time.monotonic() < deadline
        time.sleep(0.05)
