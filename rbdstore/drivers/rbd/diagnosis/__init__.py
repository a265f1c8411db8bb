# SPDX-License-Identifier: Apache-2.0
"""What is looked at of a Ceph cluster before a backend of it is used: the driver's checks.

From this host outwards: the bindings, ceph.conf, the keyring, the monitors, the pool, and what
only shows when it is too late. Nothing is changed. Nothing here imports the bindings before it is
known that they are there.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from rbdstore.checks import Check, Mend, Outcome, failed, passed


def checks(options: Mapping[str, Any], *, writes: bool) -> Iterator[Check]:
    """See :meth:`rbdstore.driver.Driver.checks`."""
    yield Check("bindings", bindings, vital=True)
    try:
        from rbdstore.drivers.rbd.diagnosis import case, cluster, files, pool, reaching
    except ImportError:
        return
    with case.Case(options, writes=writes) as found:
        for name, look, vital in (
            # Each of the vital ones is one without which there is nothing to see behind it.
            ("ceph.conf", files.ceph_conf, True),
            ("settings", files.settings, True),
            ("keyring", files.keyring, True),
            ("monitors", reaching.monitors, True),
            ("key", reaching.key, True),
            ("fsid", reaching.fsid, False),
            ("health", cluster.health, False),
            ("clocks", cluster.clocks, False),
            ("secret", cluster.secret, False),
            ("pool", pool.exists, True),
            ("application", pool.application, False),
            ("data pool", pool.data_pool, True),
            ("space", pool.space, False),
            ("clone format", pool.clone_format, False),
            ("objects", pool.objects, True),
            ("object maps", pool.object_maps, False),
            ("manager", cluster.manager, False),
        ):
            yield Check(name, found.bound(look), vital=vital)


def bindings() -> Outcome:
    """Whether Python's modules for Ceph are there, and which releases' libraries they have."""
    try:
        import rados
        import rbd
    except ImportError as error:
        return failed(
            f"{error}; Ceph's bindings come from Ceph's or the distribution's packages, and a "
            "virtual environment has to see those",
            Mend("apt-get install python3-rados python3-rbd  # dnf on distributions with RPMs"),
            Mend("python3 -m venv --system-site-packages --upgrade VENV  # that rbdstore is in"),
        )
    librados = rados.Rados().version()
    said = [
        f"librados {librados.major}.{librados.minor}.{librados.extra}",
        f"librbd {'.'.join(map(str, rbd.RBD().version()))}",
    ]
    for name in ("rados", "rbd"):
        try:
            said.append(f"module {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return passed(", ".join(said))
