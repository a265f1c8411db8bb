# SPDX-License-Identifier: Apache-2.0
"""A real Ceph cluster of one node. The other client is Ceph's own commands, as client.admin."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ground import POOLS, Ground
from steps import check, out, say

from rbdstore.testing import sandbox

TRIM_LIMIT = 120

# What a pool that was once used for RBD keeps. None of them may name an image any more.
BOOKKEEPING = {
    "rbd_children": "children of version 1 snapshots",
    "rbd_directory": "names and ids of images",
    "rbd_info": "mark of a pool made for RBD",
    "rbd_task": "background tasks of the manager",
    "rbd_trash": "images in the trash",
}


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[CephGround]:
    """Run a cluster in ``folder`` for as long as the ``with`` statement."""
    begun = time.monotonic()
    out.print("A Ceph cluster: one monitor, one OSD (in memory), one manager, on loopback")
    # The monitors' own pace, as in production: tests make it faster.
    with sandbox.CephSandbox(paxos_propose_interval=None, base_dir=_base(folder)) as ceph:
        version = ceph.ceph("--version").strip()
        out.print(f"  {time.monotonic() - begun:6.2f} s  {version}")
        yield CephGround(ceph)


def _base(folder: Path) -> Path | None:
    """Where the cluster lives: with the rest, unless that path is too long."""
    # A unix socket's path has 107 bytes at most.
    return None if len(os.fsencode(folder)) > 60 else folder


class CephGround(Ground):
    driver = "rbd"
    exporter = "rbd export"
    scribbler = "rbd bench"
    witness = "Ceph's own commands tell"

    def __init__(self, ceph: sandbox.CephSandbox) -> None:
        self._conf_path = ceph.conf_path
        self.env = ceph.env()

    def access(self, user: str) -> str:
        return f"rbd_user = {user}\nrbd_ceph_conf = {self._conf_path}"

    def as_user(self, user: str) -> str:
        return f", as user {user}"

    def export(self, spec: str, target: str) -> Sequence[str]:
        return ("rbd", "export", "--no-progress", spec, target)

    def scribble(self, spec: str) -> None:
        self.run("rbd", "bench", spec, "--io-type", "write", "--io-size", "64K",
                 "--io-total", "8M", "--io-pattern", "rand")  # fmt: skip

    def check_empty(self) -> None:
        for pool in POOLS:
            for what, args in (
                ("images", ("rbd", "ls", pool)),
                ("trash", ("rbd", "trash", "ls", "--all", pool)),
            ):
                left = self._lines(*args)
                check(not left, f"left in pool {pool} ({what}): {', '.join(left)}")
            names = self._objects_left(pool)
            strange = [name for name in names if name not in BOOKKEEPING]
            check(not strange, f"left in pool {pool} (objects): {', '.join(strange)}")
            for name in names:
                if name != "rbd_info":
                    keys = self._lines("rados", "--pool", pool, "listomapkeys", name)
                    check(not keys, f"left in pool {pool}, in {name}: {', '.join(keys)}")
            kept = ", ".join(f"{name} ({BOOKKEEPING[name]})" for name in names)
            say(f"{pool}: no image, no trash; Ceph's own bookkeeping stays: {kept}")

    def _objects_left(self, pool: str) -> list[str]:
        """Return the pool's objects, once the OSDs have dropped the data of deleted snapshots."""
        begun, waiting = time.monotonic(), False
        while True:
            names = [line.strip() for line in self._lines("rados", "-p", pool, "--all", "ls")]
            seconds = time.monotonic() - begun
            # They do that in the background, after the deletion was acknowledged.
            if BOOKKEEPING.keys() >= set(names) or seconds > TRIM_LIMIT:
                break
            waiting = True
            time.sleep(0.2)
        if waiting:
            say(f"{pool}: {seconds:.1f} s until the OSDs had trimmed deleted snapshots")
        return names

    def _lines(self, *args: str) -> list[str]:
        return sorted(self.run(*args).splitlines())
