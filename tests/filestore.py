# SPDX-License-Identifier: Apache-2.0
"""Clusters in folders, and processes that use them, for the file driver's tests.

::

    cluster = filestore.connect(folder)
    with filestore.process(folder, "pool.create('a', 1 << 20); say('made')") as child:
        child.hear("made")
        child.kill()
"""

import contextlib
import pathlib
import subprocess
import sys
import textwrap

import rbdstore
from rbdstore.drivers.file.driver import FileDriver

KiB, MiB = 1 << 10, 1 << 20

_ROOT = pathlib.Path(rbdstore.__file__).parents[1]

_HEAD = """
import os, sys
sys.path.insert(0, {root!r})
from rbdstore import driver, exceptions
from rbdstore.drivers.file.driver import FileDriver

def say(text):
    print(text, flush=True)

def wait():
    sys.stdin.readline()

cluster = FileDriver().open({{"file_store_datadir": {folder!r}}})
pool = cluster.open_pool("volumes")
"""


def connect(folder, **options):
    return FileDriver().open({"file_store_datadir": str(folder), **options})


class Process:
    """Another process that has the cluster and the pool ``volumes`` open, and runs some code."""

    def __init__(self, folder, code):
        head = _HEAD.format(root=str(_ROOT), folder=str(folder))
        self._child = subprocess.Popen(
            [sys.executable, "-c", head + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self):
        """Wait until it says something; what it says."""
        return self._child.stdout.readline().strip()

    def hear(self, text):
        """Wait until it says ``text``, as the next thing."""
        assert self.line() == text

    def heard(self):
        """Everything else that it says until it ends."""
        return self._child.stdout.read().split("\n")[:-1]

    def go(self):
        """End its ``wait()``."""
        self._child.stdin.write("\n")
        self._child.stdin.flush()

    def kill(self):
        self._child.kill()
        self._child.wait()

    def join(self):
        assert self._child.wait(120) == 0


@contextlib.contextmanager
def process(folder, code):
    child = Process(folder, code)
    try:
        yield child
    finally:
        child.kill()
        child._child.stdin.close()
        child._child.stdout.close()


def files(folder):
    """Every file below the data directory but the database's, by its path there."""
    return sorted(
        str(path.relative_to(folder))
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith("rbdstore.db")
    )


def fill(pool, name, data, size=None):
    """Make an image that holds ``data``; its id."""
    pool.create(name, size or len(data))
    with pool.open(name, read_only=False) as image:
        image.write(0, data)
        image.flush()
        return image.id


def content(pool, name, snap_id=None):
    with pool.open(name) as image:
        image.set_snap(snap_id)
        return image.read(0, image.size())


def remove_all(pool):
    """Remove every image of a pool, children before their parents."""
    while names := pool.list_images():
        for name in names:
            with pool.open(name, read_only=False) as image:
                snaps = image.snaps()
                if any(image.children(snap.id) for snap in snaps):
                    continue
                for snap in snaps:
                    image.unprotect_snap(snap.name)
                    image.remove_snap(snap.id)
            pool.remove(name)
