# SPDX-License-Identifier: Apache-2.0
"""Cinder's own RBD driver class, in a process of its own that eventlet patches, as its services.

::

    with cinder_process.Cinder(conf_path) as cinder:
        cinder.ask("create_volume", "a")
        cinder.ask("create_cloned_volume", "b", "a")
        name = cinder.ask("name", "a")

Volumes and snapshots are called by keys; Cinder gives them names with ids of its own.
"""

import json
import os
import pathlib
import subprocess
import sys

BENCH = pathlib.Path(__file__).parents[2] / "bench"


class Cinder:
    """Asks such a process. Use it in a ``with``."""

    def __init__(self, conf_path):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, conf_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(BENCH)},
        )

    def ask(self, *request):
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"Cinder's driver failed at {request}; see its trace"
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve(conf_path):
    # Only in the process that it patches.
    import cinder_side

    class Requests:
        def __init__(self):
            self._driver = cinder_side.open_driver(conf_path, "volumes")
            self._rows = {}

        def name(self, key):
            return self._rows[key].name

        def create_volume(self, key):
            self._driver.create_volume(self._new(key))

        def create_cloned_volume(self, key, source):
            self._driver.create_cloned_volume(self._new(key), self._rows[source])

        def create_snapshot(self, key, of):
            self._rows[key] = cinder_side.snapshot(self._rows[of])
            self._driver.create_snapshot(self._rows[key])

        def create_volume_from_snapshot(self, key, snapshot):
            self._driver.create_volume_from_snapshot(self._new(key), self._rows[snapshot])

        def delete_volume(self, key):
            self._driver.delete_volume(self._rows[key])

        def delete_snapshot(self, key):
            self._driver.delete_snapshot(self._rows[key])

        def _new(self, key):
            self._rows[key] = cinder_side.volume()
            return self._rows[key]

    requests = Requests()
    answers = sys.stdout
    # Nothing else is an answer.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(requests, what)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
