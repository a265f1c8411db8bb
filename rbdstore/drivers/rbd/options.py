# SPDX-License-Identifier: Apache-2.0
"""The driver's own options, and the values they have in one section."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Final

from oslo_config import cfg, types

from rbdstore import exceptions, sections
from rbdstore.spec import ImageSpec

# The bits are part of the format on disk. The ones below the line are Ceph's to set, not ours.
FEATURES: Final[Mapping[str, int]] = {
    "layering": 1 << 0,
    "striping": 1 << 1,
    "exclusive-lock": 1 << 2,
    "object-map": 1 << 3,
    "fast-diff": 1 << 4,
    "deep-flatten": 1 << 5,
    "journaling": 1 << 6,
    # --
    "data-pool": 1 << 7,
    "operations": 1 << 8,
    "migrating": 1 << 9,
    "non-primary": 1 << 10,
    "dirty-cache": 1 << 11,
}
_SETTABLE: Final = tuple(FEATURES)[:7]
_NEEDS: Final = {
    "object-map": "exclusive-lock",
    "fast-diff": "object-map",
    "journaling": "exclusive-lock",
}

# More do not fit in an object map; and where there is none, a removal asks for each of them.
_MOST_OBJECTS: Final = 256_000_000
DEFAULT_ORDER: Final = 22
_UUID: Final = r"\A([0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})?\Z"

OPTIONS: Final[tuple[cfg.Opt, ...]] = (
    cfg.StrOpt(
        "rbd_user",
        deprecated_opts=[
            cfg.DeprecatedOpt("rbd_store_user"),
            cfg.DeprecatedOpt("backup_ceph_user"),
        ],
        help="The cluster's user to connect as, without 'client.'. Its key must be in a keyring "
        "that ceph.conf names and the service can read. Default: admin.",
    ),
    cfg.StrOpt(
        "rbd_ceph_conf",
        default="",
        deprecated_opts=[
            cfg.DeprecatedOpt("rbd_store_ceph_conf"),
            cfg.DeprecatedOpt("images_rbd_ceph_conf"),
            cfg.DeprecatedOpt("backup_ceph_conf"),
        ],
        help="Path of the cluster's ceph.conf. Empty: /etc/ceph/<rbd_cluster_name>.conf and the "
        "other places where Ceph looks.",
    ),
    cfg.StrOpt(
        "rbd_cluster_name",
        default="ceph",
        help="The cluster's name on this host, which its ceph.conf and keyrings are named after.",
    ),
    cfg.Opt(
        "rbd_secret_uuid",
        type=types.String(regex=_UUID, ignore_case=True, type_name="UUID"),
        help="The UUID by which libvirt, on the hosts that volumes and disks are attached to, "
        "knows the secret with the user's key. Default: the cluster's id, its fsid.",
    ),
    cfg.IntOpt(
        "rados_connect_timeout",
        default=30,
        min=-1,
        max=sections.MOST_SECONDS,
        deprecated_opts=[cfg.DeprecatedOpt("rbd_connect_timeout")],
        help="Seconds within which a monitor must answer when a connection is made; all of them "
        "are tried in that time. 0 or less: Ceph's own limit, client_mount_timeout (300). It does "
        "not limit anything that is done with the connection: see rbd_operation_timeout.",
    ),
    cfg.IntOpt(
        "rados_connection_retries",
        default=3,
        min=1,
        help="How often a connection is tried before an operation fails, while the monitors are "
        "silent. A refused key or a missing keyring fails at once.",
    ),
    cfg.IntOpt(
        "rados_connection_interval",
        default=5,
        min=0,
        max=sections.MOST_SECONDS,
        help="Seconds between two tries to connect.",
    ),
    cfg.IntOpt(
        "rbd_operation_timeout",
        default=300,
        min=0,
        max=sections.MOST_SECONDS,
        help="Seconds within which the cluster must answer each single request to an object or a "
        "monitor. A removal, a copy or a flatten is many requests and may take longer. What ran "
        "into the limit may still be done later. Keep it well above the time in which the cluster "
        "recovers from the loss of a host. Once a request had no answer, and no monitor answers "
        "either, further calls fail within seconds until one does. 0: wait for ever.",
    ),
    cfg.StrOpt(
        "rbd_clone_format",
        default="2",
        choices=[
            ("auto", "2 where the cluster requires clients of release mimic or newer, else 1"),
            ("1", "for clients older than mimic: parents are protected, snapshots one a clone"),
            ("2", "snapshots need no protection, and parents may be deleted before their clones"),
        ],
        help="The format of new clones. Clones of both formats are understood always.",
    ),
    cfg.ListOpt(
        "rbd_features",
        help="Features of new images and clones, by the names that the rbd command has for them: "
        f"{', '.join(_SETTABLE)}. Default: the cluster's for a new image (rbd_default_features "
        "in ceph.conf), the parent's for a clone.",
    ),
    cfg.StrOpt(
        "rbd_data_pool",
        help="A pool, erasure-coded as a rule, for the data of new images and clones; their "
        "headers stay in the backend's own pool. The user needs 'profile rbd' on both.",
    ),
)
"""What an operator may set. The common options are in :mod:`rbdstore.opts`."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClientSettings:
    """What distinguishes one client of a cluster from another: fixed once it is connected.

    :ivar keyring: the path of the file with the user's key; empty: the one that ceph.conf names
    """

    conf: str
    user: str
    cluster_name: str
    clone_format: str
    connect_timeout: int
    operation_timeout: int
    connection_retries: int
    connection_interval: int
    keyring: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RbdOptions:
    """One section's options, checked.

    :ivar section: its name, for the texts of errors
    :ivar features: the bits of a new image's features; None: librbd's choice
    :ivar order: of a new image's objects; None: librbd's choice
    :ivar secret_uuid: libvirt's name for the user's key; None: the fsid
    """

    section: str
    client: ClientSettings
    features: int | None
    order: int | None
    data_pool: str | None
    secret_uuid: str | None

    def where(self, option: str) -> str:
        """How an error's text names an option."""
        return f"[{self.section}] {option}" if self.section else option


def read(options: Mapping[str, Any]) -> RbdOptions:
    """Check what a section says, as far as that needs no cluster.

    :raises ConfigError: naming section and option
    """
    section = sections.name(options)
    values = {opt.name: sections.value(opt, options) for opt in OPTIONS}
    return RbdOptions(
        section=section,
        client=ClientSettings(
            conf=find_conf(values["rbd_ceph_conf"], values["rbd_cluster_name"], section),
            user=values["rbd_user"] or "admin",
            cluster_name=values["rbd_cluster_name"],
            clone_format=values["rbd_clone_format"],
            connect_timeout=values["rados_connect_timeout"],
            operation_timeout=values["rbd_operation_timeout"],
            connection_retries=values["rados_connection_retries"],
            connection_interval=values["rados_connection_interval"],
        ),
        features=_features(values["rbd_features"], section),
        order=sections.object_order(options),
        data_pool=values["rbd_data_pool"] or None,
        secret_uuid=values["rbd_secret_uuid"] or None,
    )


def check_size(size: int, object_size: int, spec: ImageSpec) -> None:
    """:raises InvalidSize: an image of that size has too many objects"""
    most = _MOST_OBJECTS * object_size
    if size > most:
        raise exceptions.InvalidSize(
            f"{size} bytes is beyond the {most} that images of such objects can have", spec=spec
        )


def feature_names(bits: int) -> frozenset[str]:
    """The names of features, by the names that the rbd command has for them."""
    return frozenset(name for name, bit in FEATURES.items() if bits & bit)


def find_conf(path: str, cluster_name: str, section: str) -> str:
    """The ceph.conf that a section means.

    :raises ConfigError: there is none, or it cannot be read
    """
    if path:
        path = os.path.expanduser(path)
        places = [path]
    elif os.environ.get("CEPH_CONF"):
        places = [os.environ["CEPH_CONF"]]
    else:
        file = f"{cluster_name}.conf"
        places = [f"/etc/ceph/{file}", os.path.expanduser(f"~/.ceph/{file}"), file]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.R_OK):
            return os.path.abspath(place)
    found = [place for place in places if os.path.exists(place)]
    if found:
        raise sections.error(
            section,
            "rbd_ceph_conf",
            f"{found[0]} cannot be read by user id {os.geteuid()}; set the file's mode or owner, "
            "or name another file",
        )
    raise sections.error(
        section,
        "rbd_ceph_conf",
        f"there is no {' nor '.join(places)}; copy the cluster's ceph.conf there, or name its "
        "path",
    )


def _features(names: list[str] | None, section: str) -> int | None:
    if not names:
        return None
    bits = 0
    for name in names:
        if name not in _SETTABLE:
            raise sections.error(
                section,
                "rbd_features",
                f"{name!r} is none of the features that can be set: {', '.join(_SETTABLE)}",
            )
        if name in _NEEDS and _NEEDS[name] not in names:
            raise sections.error(section, "rbd_features", f"{name} needs {_NEEDS[name]}: add it")
        bits |= FEATURES[name]
    if "layering" not in names:
        raise sections.error(section, "rbd_features", "clones need layering: add it")
    return bits
