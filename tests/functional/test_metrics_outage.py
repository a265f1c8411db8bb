# SPDX-License-Identifier: Apache-2.0
"""What goes on for good meets a cluster that stops answering, and one that answers again."""

import json
import signal
import subprocess
import time
import urllib.request

import commands
import pytest

DAEMONS = ("mon.a", "osd.0")


@pytest.fixture
def arguments(sandbox):
    options = {
        "rbd_pool": "volumes",
        "rbd_user": "cinder",
        "rbd_ceph_conf": sandbox.conf_path,
        "rados_connect_timeout": 2,
        "rbd_operation_timeout": 2,
    }
    words = [word for name in options for word in ("--option", f"{name}={options[name]}")]
    return [commands.PYTHON, "-m", "rbdstore.cli", "--driver", "rbd", *words]


def until(url, up):
    """Ask, and be answered each time, until the cluster is told to be up or not."""
    wanted = f'rbdstore_up{{backend="rbd/volumes"}} {up}'
    while True:
        with urllib.request.urlopen(url, timeout=60) as answer:
            if wanted in answer.read().decode().splitlines():
                return
        time.sleep(0.2)


@pytest.mark.timeout(300)
def test_a_cluster_that_is_silent_for_a_while(sandbox, arguments):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = commands.environment()
    listening = ["exporter", "--listen", "127.0.0.1:0", "--interval", "1s"]
    with (
        subprocess.Popen([*arguments, *listening], env=env, **streams) as exporter,
        subprocess.Popen(
            [*arguments, "gc", "--interval", "1s", "--apply", "--json"], env=env, **streams
        ) as gc,
    ):
        try:
            url = exporter.stderr.readline().split()[-1]
            rounds = (json.loads(line) for line in gc.stdout)
            until(url, "1.0")
            assert next(rounds)["found"] == 0
            for daemon in DAEMONS:
                sandbox.pause_daemon(daemon)
            until(url, "0.0")
            assert "error" in next(each for each in rounds if "error" in each)
            for daemon in DAEMONS:
                sandbox.resume_daemon(daemon)
            until(url, "1.0")
            assert next(each for each in rounds if "error" not in each)["found"] == 0
            for process in (exporter, gc):
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=120)
            assert (exporter.returncode, gc.returncode) == (0, 0)
        finally:
            exporter.kill()
            gc.kill()
