# SPDX-License-Identifier: Apache-2.0
"""The driver's entry point."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rbdstore import driver, exceptions
from rbdstore.checks import Check
from rbdstore.drivers.rbd import diagnosis
from rbdstore.drivers.rbd import options as rbd_options


class RbdDriver(driver.Driver):
    """Ceph RBD."""

    OPTIONS = rbd_options.OPTIONS
    API_VERSION = 1

    def open(self, options: Mapping[str, Any]) -> driver.Cluster:
        """Return the cluster; connect at the first use of it."""
        with _bindings():
            # Not at the top: whoever lists or configures drivers need not have the bindings.
            from rbdstore.drivers.rbd.cluster import RbdCluster
        return RbdCluster(rbd_options.read(options))

    def checks(self, options: Mapping[str, Any], *, writes: bool) -> Iterator[Check]:
        return diagnosis.checks(options, writes=writes)

    def limited(self, options: Mapping[str, Any], seconds: int) -> Mapping[str, Any]:
        """The same, with one try to connect."""
        limits = {}
        for name in ("rados_connect_timeout", "rbd_operation_timeout"):
            said = options.get(name) or 0
            # 0 or less is no limit.
            limits[name] = min(said, seconds) if said > 0 else seconds
        return {**options, **limits, "rados_connection_retries": 1}

    def administer(
        self, options: Mapping[str, Any], *, keyring: str = ""
    ) -> driver.Administration:
        with _bindings():
            from rbdstore.drivers.rbd.administration import RbdAdministration
        settings = rbd_options.read(options).client
        return RbdAdministration(dataclasses.replace(settings, keyring=keyring))


@contextlib.contextmanager
def _bindings() -> Iterator[None]:
    """Say what is to be installed where an import in the block fails for want of it."""
    try:
        yield
    except ImportError as exc:
        if exc.name not in ("rados", "rbd"):
            raise
        raise exceptions.ConfigError(
            f"the driver rbd needs Python's {exc.name} module: install the packages "
            "python3-rados and python3-rbd of Ceph or of the distribution, and let a virtual "
            "environment see them (--system-site-packages)"
        ) from exc
