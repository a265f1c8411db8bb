# SPDX-License-Identifier: Apache-2.0
"""A backend's section of cinder.conf.

What Cinder's own RBD driver has an option for is read by that very option, so that a section for
one is a section for the other; what this library has beside is added.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from cinder.volume import configuration, volume_utils
from cinder.volume.drivers import rbd as stock
from oslo_config import cfg

from rbdstore import loading

DRIVER: Final = "rbd"

_LIBRARYS: Final = next(
    options
    for group, options in loading.list_opts()
    if isinstance(group, cfg.OptGroup) and group.name == DRIVER
)
_STOCK_NAMES: Final = frozenset(opt.name for opt in stock.RBD_OPTS)
# Cinder's own, for all backends, is in its section [DEFAULT].
_CINDERS_NAMES: Final = frozenset({"image_conversion_dir"})
_NAMES: Final = tuple(opt.name for opt in _LIBRARYS if opt.name not in _CINDERS_NAMES)

OPTIONS: Final[tuple[cfg.Opt, ...]] = (
    *stock.RBD_OPTS,
    *(opt for opt in _LIBRARYS if opt.name in _NAMES and opt.name not in _STOCK_NAMES),
)

cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


def read(section: configuration.Configuration) -> dict[str, Any]:
    """What :func:`rbdstore.connect` is to be given."""
    values = {name: getattr(section, name) for name in _NAMES}
    values["image_conversion_dir"] = volume_utils.image_conversion_dir()
    # Here it means that there is no limit.
    if values["rbd_concurrent_flatten_operations"] == 0:
        values["rbd_concurrent_flatten_operations"] = sys.maxsize
    return values


def patience(values: dict[str, Any]) -> int:
    """How many seconds clients that have a volume open are given to end when it is deleted."""
    retries: int = values["rbd_destroy_volume_retries"]
    interval: int = values["rbd_destroy_volume_retry_interval"]
    return retries * interval


def for_temporary(values: dict[str, Any]) -> dict[str, Any]:
    """The same for volumes that Cinder makes for itself and soon deletes: they are not flattened,
    and not kept in the trash.
    """
    return values | {
        "rbd_max_clone_depth": sys.maxsize,
        "rbd_flatten_volume_from_snapshot": False,
        "enable_deferred_deletion": False,
    }
