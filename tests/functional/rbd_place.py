# SPDX-License-Identifier: Apache-2.0
"""A real Ceph, for the tests of the services (:mod:`places`)."""

import places
import pools
import rados
import stores


class RbdPlace(places.Place):
    driver = "rbd"
    clone_formats = (1, 2)
    flatten_modes = ("inline", "task")

    def __init__(self, sandbox):
        super().__init__()
        self._sandbox = sandbox
        self.fsid = sandbox.fsid

    def options(self, pool, user="admin", **options):
        return super().options(
            pool, user, rbd_ceph_conf=self._sandbox.conf_path, rbd_user=user, **options
        )

    def making(self, clone_format=2, features=None):
        made = {"rbd_clone_format": str(clone_format)}
        return made | {"rbd_features": list(features)} if features else made

    def held_open(self, pool, name, data=None):
        return stores.held_open(self._sandbox, pool, name, data=data)

    def raw(self):
        return stores.foreign(self._sandbox)

    def leftovers(self):
        with self._admin() as client:
            return [
                f"{pool}/{left}"
                for pool in client.list_pools()
                for left in pools.leftovers(client, pool)
            ]

    def clear(self):
        with self._admin() as client:
            for pool in client.list_pools():
                pools.clear(client, pool)

    def _admin(self):
        return rados.Rados(conffile=self._sandbox.conf_path, rados_id="admin")
