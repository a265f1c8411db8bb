# SPDX-License-Identifier: Apache-2.0
"""Closing images in a process with many threads: librbd may still be at work on what it closes.

In a process of its own, which one mistake would abort, and in which freed memory is overwritten at
once, so that the first use of it is a mistake.
"""

import os
import subprocess
import sys

import samples
import stores

POISON = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165"}

PROGRAM = """
import concurrent.futures, sys
import rbdstore

store = rbdstore.connect("rbd", rbd_ceph_conf=sys.argv[1], rbd_user="admin", rbd_pool="volumes")
pool = store._cluster.open_pool("volumes")

def look(_number):
    with pool.open("clone") as image:
        {look}

with concurrent.futures.ThreadPoolExecutor(8) as threads:
    for _ in threads.map(look, range(600)):
        pass
print("survived")
"""


def end_of(sandbox, look):
    """How a process ends whose threads all open the clone, look at it and close it."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(look=look), sandbox.conf_path],
        env={**os.environ, "PYTHONPATH": str(stores.ROOT), **POISON},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_clone_may_be_closed_as_soon_as_it_is_open(sandbox, raw):
    volumes = stores.admin_volume_store(sandbox)
    raw.create("volumes", "source", data=b"data")
    volumes.create_cloned_volume("clone", "source")
    ended = end_of(sandbox, "pass")
    for name in ("clone", "source"):
        volumes.delete(name)
    assert ended.stdout == "survived\n", ended.stderr


def test_an_image_without_a_parent_may_be_too(sandbox, raw):
    """Where no parent was opened, none is waited for."""
    raw.create("volumes", "clone", data=b"data")
    assert end_of(sandbox, "pass").stdout == "survived\n"
    stores.admin_volume_store(sandbox).delete("clone")


def test_what_is_in_flight_when_an_image_is_closed(sandbox, raw):
    raw.create("volumes", "source", data=b"data" * (1 << 20))
    volumes = stores.admin_volume_store(sandbox)
    volumes.create_cloned_volume("clone", "source")
    ended = end_of(sandbox, "reads = [image.aio_read(n << 18, 1 << 18) for n in range(8)]")
    for name in ("clone", "source"):
        volumes.delete(name)
    assert ended.stdout == "survived\n", ended.stderr


def test_what_has_just_ended_when_an_image_is_closed(sandbox, raw):
    raw.create("volumes", "source", data=b"data" * (1 << 20))
    volumes = stores.admin_volume_store(sandbox)
    volumes.create_cloned_volume("clone", "source")
    ended = end_of(
        sandbox, "assert image.aio_read(1 << 20, 1 << 18).result() == b'data' * (1 << 16)"
    )
    for name in ("clone", "source"):
        volumes.delete(name)
    assert ended.stdout == "survived\n", ended.stderr


def test_a_snap_whose_parent_the_image_has_not_may_be_left_at_once(sandbox, raw):
    raw.create("volumes", "source", data=b"data")
    volumes = stores.admin_volume_store(sandbox, features=samples.OLD_FEATURES)
    volumes.create_cloned_volume("clone", "source")
    volumes.create_snapshot("clone", "snapshot")
    volumes.flatten("clone")
    ended = end_of(sandbox, "image.set_snap(image.snaps()[0].id); image.set_snap(None)")
    volumes.delete_snapshot("clone", "snapshot")
    for name in ("clone", "source"):
        volumes.delete(name)
    assert ended.stdout == "survived\n", ended.stderr
