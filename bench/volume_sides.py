# SPDX-License-Identifier: Apache-2.0
"""Cinder's RBD driver, asked for its figures, and what this library is asked for beside it."""

import json
import os
import pathlib
import subprocess
import sys
import time

from measuring.rounds import seconds

GiB = 1 << 30
SERVER = pathlib.Path(__file__).with_name("cinder_side.py")
# As many calls of librbd at once as Cinder's default; more where more threads ask for them.
CALLS = 20


class Cinder:
    """A process that Cinder's driver works in (:mod:`cinder_side`). Use it in a ``with``."""

    def __init__(self, conf, *, threads=CALLS):
        # Without its cluster it would not end when this process is killed.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-W", "ignore", SERVER]
        self._process = subprocess.Popen(
            [*command, conf, "volumes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"EVENTLET_THREADPOOL_SIZE": str(max(CALLS, threads))},
        )

    def ask(self, what, *arguments):
        """Return what :class:`cinder_side.Requests` answers."""
        print(json.dumps([what, *arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"Cinder's driver failed at {what}{arguments}")
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._process.stdin.close()
        self._process.wait()


def operations(volumes, pause):
    """The same as :meth:`cinder_side.Requests.operations`."""
    source, clone, snap = "volume-source", "volume-clone", "snapshot-1"
    took = {}
    for row, do, *args in (
        ("create", volumes.create, source, GiB),
        ("create_snapshot", volumes.create_snapshot, source, snap),
        ("create_from_snapshot", volumes.create_from_snapshot, clone, source, snap),
        ("delete, a clone", volumes.delete, clone),
        ("delete_snapshot", volumes.delete_snapshot, source, snap),
        ("delete", volumes.delete, source),
    ):
        time.sleep(pause)
        took[row] = seconds(do, *args)
    return took
