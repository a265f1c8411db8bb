# SPDX-License-Identifier: Apache-2.0
"""The driver's own options, and the values they have in one section."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Final

from oslo_config import cfg

from rbdstore import sections

FEATURES: Final = ("layering", "striping", "exclusive-lock", "deep-flatten")
_DEFAULT_FEATURES: Final = frozenset({"layering", "exclusive-lock", "deep-flatten"})
_DEFAULT_ORDER: Final = 22
_MIB: Final = 1 << 20

OPTIONS: Final[tuple[cfg.Opt, ...]] = (
    cfg.StrOpt(
        "file_store_datadir",
        required=True,
        help="The folder that everything is kept in; it is made where it is missing. On a local "
        "file system. Backends with the same folder are in one cluster.",
    ),
    cfg.ListOpt(
        "file_store_pools",
        default=["rbd", "images", "volumes", "vms", "backups"],
        help="Pools, each as 'pool' or 'pool/namespace', that are made where they are missing. "
        "Those that are there already remain.",
    ),
    cfg.ListOpt(
        "file_store_features",
        help=f"Features of new images and clones: {', '.join(FEATURES)}. 'layering, striping' "
        "makes them as early releases of Ceph did: without an exclusive lock, and with snapshots "
        "that keep their parent when the image is flattened. Default: layering, exclusive-lock "
        "and deep-flatten for a new image, the parent's for a clone.",
    ),
    cfg.IntOpt(
        "file_store_reserve",
        default=16,
        min=1,
        help="MiB of the file system that are left free: data are refused before that, so that "
        "there is room to record what is deleted.",
    ),
    cfg.IntOpt(
        "file_store_timeout",
        default=30,
        min=1,
        max=sections.MOST_SECONDS,
        help="Seconds that an operation waits while others, in this process or another, keep the "
        "database or an image locked.",
    ),
)
"""What an operator may set. The common options are in :mod:`rbdstore.opts`."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileOptions:
    """One section's options, checked. Sizes are bytes.

    :ivar section: its name, for the texts of errors
    :ivar pools: names and namespaces
    :ivar features: of new images and clones; None: the default ones, the parent's
    :ivar order: of the objects of new images and clones; None: the default one, the parent's
    """

    section: str
    datadir: str
    pools: tuple[tuple[str, str], ...]
    features: frozenset[str] | None
    order: int | None
    reserve: int
    timeout: int

    def where(self, option: str) -> str:
        """How an error's text names an option."""
        return f"[{self.section}] {option}" if self.section else option

    def image_features(self, parents: frozenset[str] | None = None) -> frozenset[str]:
        return self.features or parents or _DEFAULT_FEATURES

    def image_order(self) -> int:
        return self.order or _DEFAULT_ORDER


def read(options: Mapping[str, Any]) -> FileOptions:
    """Check what a section says.

    :raises ConfigError: naming section and option
    """
    section = sections.name(options)
    values = {opt.dest: sections.value(opt, options) for opt in OPTIONS}
    if not values["file_store_datadir"]:
        raise sections.error(
            section, "file_store_datadir", "it must be set to the path of a folder"
        )
    return FileOptions(
        section=section,
        datadir=os.path.abspath(os.path.expanduser(values["file_store_datadir"])),
        pools=_pools(values["file_store_pools"], section),
        features=_features(values["file_store_features"], section),
        order=sections.object_order(options),
        reserve=values["file_store_reserve"] * _MIB,
        timeout=values["file_store_timeout"],
    )


def _pools(entries: list[str], section: str) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str], None] = {}
    for entry in entries:
        name, _slash, namespace = entry.partition("/")
        if not name or "/" in namespace:
            raise sections.error(
                section, "file_store_pools", f"{entry!r} is neither 'pool' nor 'pool/namespace'"
            )
        found |= {(name, ""): None, (name, namespace): None}
    return tuple(found)


def _features(names: list[str] | None, section: str) -> frozenset[str] | None:
    if not names:
        return None
    for name in names:
        if name not in FEATURES:
            raise sections.error(
                section,
                "file_store_features",
                f"{name!r} is none of the features there are: {', '.join(FEATURES)}",
            )
    if "layering" not in names:
        raise sections.error(section, "file_store_features", "clones need layering: add it")
    return frozenset(names)
