# SPDX-License-Identifier: Apache-2.0
"""Where the tests of the services run: one cluster of one driver, which they do not name.

``pytest tests/services`` runs them on the embedded driver, with ``--driver rbd`` on a real Ceph.
What only one of the drivers has is declared here (:attr:`clone_formats`, :attr:`flatten_modes`),
so that no test asks where it is.
"""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import filestore
import foreign

import rbdstore

# Where a child process finds this library, installed or not.
ROOT = Path(rbdstore.__file__).parents[1]

_HOLDER = """
import json, sys
import rbdstore

driver, options, name, data = json.loads(sys.argv[1])
with rbdstore.connect(driver, **options) as store:
    pool = store.volumes._pool
    with pool.open(name, read_only=False) as image:
        if data is not None:
            image.write(0, bytes.fromhex(data))
            image.flush()
        print("open", flush=True)
        sys.stdin.readline()
"""


class Place:
    """A cluster with the pools ``images`` and ``volumes``.

    Stores are opened as the users that services have, where the cluster knows users.
    """

    driver: str
    fsid: str
    clone_formats: tuple[int, ...] = (2,)
    flatten_modes: tuple[str, ...] = ("inline",)

    def __init__(self):
        self._stack = contextlib.ExitStack()

    def options(self, pool, user="admin", **options):
        """What :func:`rbdstore.connect` takes, for a store over a pool.

        On a busy machine a shorter lease runs out under somebody who is alive; with a longer one
        those who race for a name wait longer for each other.
        """
        return {"rbd_pool": pool, "rbd_lease_seconds": 10, **options}

    def store(self, pool, user="admin", **options):
        """Open a store, which is closed with the place."""
        opened = rbdstore.connect(self.driver, **self.options(pool, user, **options))
        self._stack.callback(opened.close)
        return opened

    def images(self, user="glance", *, features=None, **options):
        options |= self.making(features=features)
        return self.store("images", user, **options).images

    def volumes(self, user="cinder", *, clone_format=2, features=None, **options):
        options |= self.making(clone_format, features)
        return self.store("volumes", user, **options).volumes

    def backups(self, user="cinder-backup", **options):
        return self.store("backups", user, **options).backups

    def making(self, clone_format=2, features=None):
        """The driver's options for how images and clones are made."""
        raise NotImplementedError

    @contextlib.contextmanager
    def held_open(self, pool, name, data=None):
        """Have another process hold an image open for writing, having written ``data`` there.

        Gives the process, to be killed or not.
        """
        arguments = [self.driver, self.options(pool), name, data and data.hex()]
        with subprocess.Popen(
            [sys.executable, "-c", _HOLDER, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            try:
                assert process.stdout.readline() == "open\n"
                yield process
                with contextlib.suppress(BrokenPipeError):
                    process.communicate("\n", timeout=30)
            finally:
                process.kill()

    def raw(self):
        """Give a client that uses no service, as a context manager."""
        raise NotImplementedError

    def leftovers(self):
        """Everything that is in the cluster, in words."""
        raise NotImplementedError

    def clear(self):
        """Remove everything from the cluster, whatever state it is in."""
        raise NotImplementedError

    def close(self):
        self._stack.close()


class FilePlace(Place):
    """A data directory of the embedded driver."""

    driver = "file"

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._cluster = self.store("images")._cluster
        self.fsid = self._cluster.fsid

    def options(self, pool, user="admin", **options):
        return super().options(pool, user, file_store_datadir=str(self._path), **options)

    def making(self, clone_format=2, features=None):
        assert clone_format in self.clone_formats
        return {"file_store_features": list(features)} if features else {}

    @contextlib.contextmanager
    def raw(self):
        with rbdstore.connect(self.driver, **self.options("images")) as store:
            yield foreign.SeamClient(store._cluster)

    def leftovers(self):
        return self._cluster.leftovers()

    def clear(self):
        filestore.clear(self._path)
