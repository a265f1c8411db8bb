# SPDX-License-Identifier: Apache-2.0
"""A backend that is looked at: what is known of it so far."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Generator, Mapping
from typing import Any, Final

from oslo_config import cfg

from rbdstore import driver, loading, opts
from rbdstore.checks import Check, Outcome, passed
from rbdstore.driver import Cluster, Pool
from rbdstore.provision.roles import KINDS, WORK, Kind, Work
from rbdstore.settings import Settings

_DRIVERS: Final = "rbdstore.drivers"


class Backend:
    """One, by its name in ``enabled_backends``.

    :ivar section: where its options are, for a line to be pasted
    :ivar command: what begins a command line of ``rbdstore`` for it
    :ivar values: its options; all of them once ``options`` has passed
    """

    def __init__(self, name: str, driver_name: str, *, section: str, command: str) -> None:
        self.name = name
        self.driver_name = driver_name
        self.section = section
        self.command = command
        self.values: dict[str, Any] = {}
        self._found: type[driver.Driver] | None = None

    # Its driver

    def find_driver(self) -> Outcome:
        self._found = loading.find(self.driver_name, f"driver {self.driver_name}")
        entries = importlib.metadata.entry_points(group=_DRIVERS, name=self.driver_name)
        brought = {f"{entry.dist.name} {entry.dist.version}" for entry in entries if entry.dist}
        return passed(f"{self.driver_name}, of {', '.join(sorted(brought)) or 'no package'}")

    @property
    def _driver(self) -> type[driver.Driver]:
        assert self._found is not None, "find_driver comes first"  # nosec B101
        return self._found

    def options(self) -> list[cfg.Opt]:
        """Those that its section may have."""
        return loading.options_of(self._driver, f"driver {self.driver_name}")

    def checks(self, *, writes: bool, seconds: int) -> Generator[Check]:
        """The driver's own. One that was written without any has none."""
        checks = getattr(self._driver(), "checks", None)
        if checks is not None:
            yield from checks(self._limited(seconds), writes=writes)

    def open(self, seconds: int) -> tuple[Cluster, Pool]:
        """Its cluster and its pool, no request to which is waited for any longer than that."""
        cluster = self._driver().open(self._limited(seconds))
        try:
            return cluster, cluster.open_pool(self.settings.pool, self.settings.namespace)
        except BaseException:
            cluster.close()
            raise

    def _limited(self, seconds: int) -> Mapping[str, Any]:
        found = self._driver()
        limited = getattr(found, "limited", None)
        return self.values if limited is None else limited(self.values, seconds)

    @property
    def settings(self) -> Settings:
        return opts.settings_from(self.values)

    # What it is for, by the table of roles

    @property
    def work(self) -> Work | None:
        """The work of the service that its user is called after; None: it is called otherwise."""
        return WORK.get(self.values.get("rbd_user") or "")

    @property
    def kind(self) -> Kind | None:
        """What its pool is for: by the pool's usual name, or else by its user's own work."""
        pool = self.settings.pool
        return next((kind for kind in KINDS if kind == pool), self.work.own if self.work else None)

    @property
    def writes(self) -> bool:
        """Whether its user makes images in its pool, as far as the table tells."""
        return self.work is None or self.kind not in self.work.reads
