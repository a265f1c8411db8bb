# SPDX-License-Identifier: Apache-2.0
"""What a sandbox cluster is made of: packages, users with their capabilities, ceph.conf."""

import base64
import importlib.util
import os
import pathlib
import shutil
import struct
import time
from collections.abc import Mapping, Sequence

from rbdstore import exceptions
from rbdstore.provision import roles
from rbdstore.provision.roles import Role

_PROGRAMS = {
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph-mgr": "ceph-mgr",
    "ceph": "ceph-common",
    "rbd": "ceph-common",
    "setpriv": "util-linux",
}
_MANAGER_MODULE = pathlib.Path("/usr/share/ceph/mgr/rbd_support")
_BINDINGS = {"rados": "python3-rados", "rbd": "python3-rbd"}


class SandboxError(exceptions.RbdStoreError):
    """The sandbox cannot be started, or does not do what it was asked to."""


def check_installed() -> None:
    """Raise :class:`SandboxError` naming the Debian packages that are missing."""
    missing = {package for name, package in _PROGRAMS.items() if shutil.which(name) is None}
    missing |= {
        package for name, package in _BINDINGS.items() if importlib.util.find_spec(name) is None
    }
    if not _MANAGER_MODULE.is_dir():
        missing.add("ceph-mgr-modules-core")
    if missing:
        raise SandboxError(
            "a Ceph sandbox needs these Debian packages, in a Python environment that sees the"
            f" system's: {' '.join(sorted(missing))}"
        )


ADMIN = Role("admin", osd=("allow *",), mgr=("allow *",), mon=("allow *",))

ROLES = roles.all_roles()

_MON_CAPS = {"mon": "allow *"}
_MGR_CAPS = {"mon": "allow profile mgr", "osd": "allow *"}
_OSD_CAPS = {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}


def write_keyrings(path: pathlib.Path, users: Sequence[Role], osds: Sequence[str]) -> None:
    """Write ``keyring`` (the users), ``keyring.daemons``, and ``keyring.mon`` (both of them).

    The monitor made from the last one knows every user and daemon from its first moment.
    """
    clients = {f"client.{role.name}": role.caps for role in (ADMIN, *users)}
    daemons = {"mon.": _MON_CAPS, "mgr.x": _MGR_CAPS, **dict.fromkeys(osds, _OSD_CAPS)}
    texts = {"keyring": _keyring(clients), "keyring.daemons": _keyring(daemons)}
    texts["keyring.mon"] = "".join(texts.values())
    for name, text in texts.items():
        file = path / name
        file.touch(0o600)
        file.write_text(text)


def _keyring(entities: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for entity, caps in entities.items():
        lines += [f"[{entity}]", f"\tkey = {_new_key()}"]
        lines += [f'\tcaps {service} = "{text}"' for service, text in caps.items()]
    return "\n".join(lines) + "\n"


def _new_key() -> str:
    # type 1 (AES), when made (seconds, nanoseconds), length, secret
    secret = os.urandom(16)
    return base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secret).decode()


def write_conf(
    path: pathlib.Path, fsid: str, ports: Sequence[int], settings: Mapping[str, object]
) -> None:
    """Write ``ceph.conf``; ``settings`` go to [global], and win over what is set here."""
    defaults = {
        "fsid": fsid,
        "mon host": f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]",
        "auth cluster required": "cephx",
        "auth service required": "cephx",
        "auth client required": "cephx",
        "auth allow insecure global id reclaim": "false",
        "run dir": path / "run",
        "osd crush chooseleaf type": 0,
        "osd pool default pg num": 8,
        "osd pool default pg autoscale mode": "off",
        "mon allow pool size one": "true",
        "mon allow pool delete": "true",
        "mon warn on pool no redundancy": "false",
        # A test machine's disk may be rather full: a monitor ends itself with 5 % left, and
        # is unhealthy with 30 %.
        "mon data avail warn": 2,
        "mon data avail crit": 1,
        # Where a port is taken, another one is tried, not the same one for 15 seconds.
        "ms bind retry count": 1,
        # Statistics, hundreds of lines of them, would hide what matters at a log's end.
        "debug rocksdb": "1/5",
        # Modules nobody asked for here cost most of a manager's start, and devicehealth makes
        # a pool of its own.
        "mgr initial modules": "",
        "mgr disabled modules": _UNUSED_MODULES,
        # How old what the manager tells of placement groups and pool usage may be.
        "mgr stats period": 1,
        "memstore device bytes": 8 << 30,
        "bluestore block size": 10 << 30,
        "osd memory target": 1 << 30,
        # An OSD in memory passes for a rotating disk, which would wait 5 s between two steps of
        # trimming, and the objects of removed snapshots would be listed for as long.
        "osd snap trim sleep": 0.001,
    }
    if settings.get("osd objectstore") == "memstore":
        defaults |= _ONE_THREAD
    daemon = {
        "public addr": "127.0.0.1",
        "cluster addr": "127.0.0.1",
        "keyring": path / "keyring.daemons",
    }
    everyone = {
        "log file": path / "log/$name.log",
        "pid file": path / "run/$name.pid",
        "admin socket": path / "run/$name.asok",
    }
    sections: dict[str, Mapping[str, object]] = {
        "global": {**defaults, **{key.replace("_", " "): v for key, v in settings.items()}},
        "mon": {**everyone, "mon data": path / "$name", "keyring": path / "keyring.daemons"},
        "osd": {**everyone, **daemon, "osd data": path / "$name"},
        "mgr": {**everyone, **daemon, "mgr data": path / "$name"},
        "client": {"keyring": path / "keyring"},
    }
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items()), ""]
    (path / "ceph.conf").write_text("\n".join(lines))


# Two threads of an OSD that change what it has in memory lose count of it: it comes to have less
# than nothing in use, which passes for a full disk, and then every write waits for ever.
_ONE_THREAD = {"osd op num shards": 1, "osd op num threads per shard": 1}

_UNUSED_MODULES = " ".join(
    (
        "balancer",
        "crash",
        "devicehealth",
        "orchestrator",
        "pg_autoscaler",
        "progress",
        "status",
        "telemetry",
        "volumes",
    )
)
