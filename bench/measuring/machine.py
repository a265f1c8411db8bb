# SPDX-License-Identifier: Apache-2.0
"""What was measured on: the machine, the versions, and how busy it was."""

import os
import pathlib
import platform
import re
import shutil
import subprocess
from importlib import metadata

GiB = 1 << 30


def describe():
    """Return ``{what: text}``."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = [f"{name} {_version(name)}" for name in ("rbdstore", "glance_store", "cinder")]
    return {
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory / GiB:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Ceph": _ceph(),
        "versions": ", ".join(versions),
    }


def load():
    """How many processes wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def _ceph():
    if shutil.which("ceph") is None:
        return "(not installed)"
    said = subprocess.run(["ceph", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.removeprefix("ceph version ").split(" ")[0]


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"
