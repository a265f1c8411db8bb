# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads by either side: this library, and glance_store's rbd driver."""

import contextlib
import uuid

from measuring import ceph
from oslo_config import cfg


class Ours:
    def __init__(self, conf):
        self._store = ceph.connect(conf, "images")

    def prepare(self, *, thin=False):
        """Do what a service does before its first request; call it before each measurement."""

    def add(self, body, size):
        """Store an image; None: its size is not known. Returns its location."""
        return self._store.images.add(str(uuid.uuid4()), body, size).uri

    def get(self, uri):
        return self._store.images.get(uri)

    def delete(self, uri):
        self._store.images.delete(uri)

    def close(self):
        self._store.close()


class Peer:
    """The same, with the same hashes and chunks of the same size. It keeps nothing open."""

    def __init__(self, conf):
        # Only here: who measures the other's memory does without it.
        import glance_store.location

        self._library = glance_store
        self._path = conf
        self.prepare()

    def prepare(self, *, thin=False):
        # Anew each time: on the same store a second upload of unknown size fails.
        self._conf = cfg.ConfigOpts()
        self._conf([])
        self._library.register_opts(self._conf)
        for name, value in {
            "stores": ["rbd"],
            "default_store": "rbd",
            "rbd_store_pool": "images",
            "rbd_store_user": "admin",
            "rbd_store_ceph_conf": self._path,
            "rbd_thin_provisioning": thin,
        }.items():
            self._conf.set_override(name, value, group="glance_store")
        self._library.create_stores(self._conf)
        self._store = self._library.get_store_from_scheme("rbd")

    def add(self, body, size):
        return self._store.add(str(uuid.uuid4()), body, size or 0, "sha512")[0]

    def get(self, uri):
        return self._store.get(self._at(uri))[0]

    def delete(self, uri):
        self._store.delete(self._at(uri))

    def close(self):
        """Nothing to close."""

    def _at(self, uri):
        return self._library.location.get_location_from_uri(uri, conf=self._conf)


SIDES = {"rbdstore": Ours, "glance_store": Peer}


@contextlib.contextmanager
def both(conf):
    """Both, by name."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(contextlib.closing(side(conf)))
            for name, side in SIDES.items()
        }
