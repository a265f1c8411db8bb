# SPDX-License-Identifier: Apache-2.0
"""The sandbox as a world for the model (:class:`worlds.World`)."""

import pools

from rbdstore.drivers.rbd.driver import RbdDriver


class RbdWorld:
    """The sandbox's pools of images, of volumes and of backups."""

    def __init__(self, sandbox, raw, clone_format, features):
        self.deep_flatten = features is None
        self._raw = raw
        self._options = {
            "rbd_user": "admin",
            "rbd_ceph_conf": sandbox.conf_path,
            "rbd_clone_format": str(clone_format),
            "rbd_features": features and list(features),
        }

    def connect(self):
        return RbdDriver().open(self._options)

    def leftovers(self):
        return [
            f"{pool}: {each}"
            for pool in ("images", "volumes", "backups")
            for each in pools.leftovers(self._raw.client, pool)
        ]

    def clear(self):
        for pool in ("images", "volumes", "backups"):
            pools.clear(self._raw.client, pool)
