# SPDX-License-Identifier: Apache-2.0
"""The driver's entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbdstore import driver, exceptions
from rbdstore.drivers.rbd import options as rbd_options


class RbdDriver(driver.Driver):
    """Ceph RBD."""

    OPTIONS = rbd_options.OPTIONS
    API_VERSION = 1

    def open(self, options: Mapping[str, Any]) -> driver.Cluster:
        """Return the cluster; connect at the first use of it."""
        try:
            # Not at the top: whoever lists or configures drivers need not have the bindings.
            from rbdstore.drivers.rbd.cluster import RbdCluster
        except ImportError as exc:
            if exc.name not in ("rados", "rbd"):
                raise
            raise exceptions.ConfigError(
                f"the driver rbd needs Python's {exc.name} module: install the packages "
                "python3-rados and python3-rbd of Ceph or of the distribution, and let a virtual "
                "environment see them (--system-site-packages)"
            ) from exc
        return RbdCluster(rbd_options.read(options))
