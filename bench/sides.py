# SPDX-License-Identifier: Apache-2.0
"""The two sides that are compared: this library and glance_store's rbd driver, as client.admin."""

import contextlib
import uuid

from oslo_config import cfg

import rbdstore


class Ours:
    def __init__(self, conf):
        self._store = rbdstore.connect(
            "rbd", rbd_ceph_conf=conf, rbd_user="admin", rbd_pool="images"
        )

    def add(self, body, size, *, thin=False):
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

    def add(self, body, size, *, thin=False):
        # A store of its own: on the same one a second upload of unknown size fails.
        store, _conf = self._open(thin=thin)
        return store.add(str(uuid.uuid4()), body, size or 0, "sha512")[0]

    def get(self, uri):
        store, location = self._at(uri)
        return store.get(location)[0]

    def delete(self, uri):
        store, location = self._at(uri)
        store.delete(location)

    def close(self):
        """Nothing to close."""

    def _open(self, *, thin=False):
        conf = cfg.ConfigOpts()
        conf([])
        self._library.register_opts(conf)
        for name, value in {
            "stores": ["rbd"],
            "default_store": "rbd",
            "rbd_store_pool": "images",
            "rbd_store_user": "admin",
            "rbd_store_ceph_conf": self._path,
            "rbd_thin_provisioning": thin,
        }.items():
            conf.set_override(name, value, group="glance_store")
        self._library.create_stores(conf)
        return self._library.get_store_from_scheme("rbd"), conf

    def _at(self, uri):
        store, conf = self._open()
        return store, self._library.location.get_location_from_uri(uri, conf=conf)


@contextlib.contextmanager
def both(conf):
    with contextlib.closing(Ours(conf)) as ours, contextlib.closing(Peer(conf)) as peer:
        yield ours, peer
