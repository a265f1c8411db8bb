# SPDX-License-Identifier: Apache-2.0
"""What every part of the driver stands on: its options, and the stores that do the work."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from cinder import exception
from cinder.common import constants
from cinder.volume import driver
from oslo_config import cfg
from oslo_utils import units

import rbdstore
from rbdstore.adapters.cinder import errors, native, options
from rbdstore.volumes import VolumeStore

P = ParamSpec("P")
T = TypeVar("T")

_CINDERS_OPTIONS: Final = (
    "replication_device",
    "reserved_percentage",
    "max_over_subscription_ratio",
    "volume_dd_blocksize",
)


class Base(driver.BaseVD):
    """A driver that can be set up."""

    VERSION = importlib.metadata.version("rbdstore")
    CI_WIKI_NAME = "None"
    SUPPORTS_ACTIVE_ACTIVE = True
    STORAGE_PROTOCOL = constants.CEPH

    _store: rbdstore.Store
    _temporary: rbdstore.Store
    # Seconds that a client which has crashed has to disappear before a deletion.
    _patience: int

    def __init__(self, active_backend_id: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(options.OPTIONS)
        self._active_backend_id = active_backend_id

    @classmethod
    def get_driver_options(cls) -> list[cfg.Opt]:
        return [*options.OPTIONS, *cls._get_oslo_driver_opts(*_CINDERS_OPTIONS)]

    def do_setup(self, context: Any) -> None:
        """Read the options. The cluster is not asked yet."""
        if self.configuration.safe_get("replication_device") or self._active_backend_id:
            raise exception.InvalidConfigurationValue(
                "replication_device: rbdstore does not replicate volumes; take the option out, "
                "or use Cinder's own RBD driver for this backend"
            )
        values = options.read(self.configuration)
        self._patience = options.patience(values)
        with errors.translated():
            self._store = rbdstore.connect(options.DRIVER, **values)
            self._temporary = rbdstore.connect(options.DRIVER, **options.for_temporary(values))

    def check_for_setup_error(self) -> None:
        """:raises VolumeBackendAPIException: the cluster or the pool cannot be used"""
        self._call(VolumeStore.stats)

    def _call(
        self,
        verb: Callable[Concatenate[VolumeStore, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Have the volumes' store do something, and raise Cinder's errors."""
        return self._ask(lambda: verb(self._store.volumes, *args, **kwargs))

    def _call_for(
        self,
        volume: Any,
        verb: Callable[Concatenate[VolumeStore, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same, for a volume that Cinder may have made for itself."""
        store = self._store if volume.use_quota else self._temporary
        return self._ask(lambda: verb(store.volumes, *args, **kwargs))

    @staticmethod
    def _ask(question: Callable[[], T]) -> T:
        with errors.translated():
            return native.call(question)


def in_bytes(gib: int | str) -> int:
    """Cinder's sizes are whole GiB."""
    return int(gib) * units.Gi


def in_gib(size: int) -> int:
    """As many GiB as ``size`` bytes need."""
    return -(-size // units.Gi)
