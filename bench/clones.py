# SPDX-License-Identifier: Apache-2.0
"""How long 50 clones of one volume take, and their deletion, beside Cinder's RBD driver.

``python bench/clones.py [--count N] [--cinder PYTHON]`` starts a one-node Ceph whose monitors
batch their proposals as those of production do, which is where the time goes. ``--cinder`` names
a Python that Cinder is installed for (``pip install cinder``, where rados and rbd can be
imported); without it only this library is timed.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import platform
import subprocess
import time

import rados
import rbd

import rbdstore
from rbdstore.testing.sandbox import CephSandbox

GiB = 1 << 30
THREADS = (20, 50)
CINDER = pathlib.Path(__file__).with_name("cinder_clones.py")


def connect(ceph):
    return rbdstore.connect(
        "rbd", rbd_ceph_conf=ceph.conf_path, rbd_user="admin", rbd_pool="volumes"
    )


def seconds(do, *args):
    begun = time.perf_counter()
    do(*args)
    return time.perf_counter() - begun


def in_threads(threads, do, things):
    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        list(executor.map(do, things))


def clone(volumes, name):
    volumes.create_cloned_volume(name, "source")


def one_by_one(ceph, count, threads):
    """Call ``create_cloned_volume`` from many threads, then ``delete``."""
    names = [f"clone-{number}" for number in range(count)]
    with connect(ceph) as store:
        volumes = store.volumes
        volumes.create("source", GiB)
        took = [
            seconds(in_threads, threads, functools.partial(clone, volumes), names),
            seconds(in_threads, threads, volumes.delete, names),
        ]
        volumes.delete("source")
    return took


def all_at_once(ceph, count, threads):
    """Call ``create_cloned_volumes``, then ``delete`` from many threads."""
    names = [f"clone-{number}" for number in range(count)]
    with connect(ceph) as store:
        volumes = store.volumes
        volumes.create("source", GiB)
        took = [
            seconds(volumes.create_cloned_volumes, names, "source"),
            seconds(in_threads, threads, volumes.delete, names),
        ]
        volumes.delete("source")
    return took


def cinder(python):
    """Have Cinder's driver do the same, in a process of its own."""

    def run(ceph, count, threads):
        done = subprocess.run(
            [python, "-W", "ignore", CINDER, ceph.conf_path, str(count), str(threads)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
        return json.loads(done.stdout.splitlines()[-1])

    return run


def remove_leftovers(ceph):
    """Remove all images, and tell how many there were, with how many snapshots."""
    images = snaps = 0
    with (
        rados.Rados(conffile=ceph.conf_path, rados_id="admin") as client,
        client.open_ioctx("volumes") as ioctx,
    ):
        for name in rbd.RBD().list(ioctx):
            images += 1
            with rbd.Image(ioctx, name) as image:
                for snap in list(image.list_snaps()):
                    snaps += 1
                    if image.is_protected_snap(snap["name"]):
                        image.unprotect_snap(snap["name"])
                    image.remove_snap(snap["name"])
            rbd.RBD().remove(ioctx, name)
        ours = [found.key for found in ioctx.list_objects() if found.key.startswith("rbdstore.")]
        in_trash = list(rbd.RBD().trash_list(ioctx))
    assert not ours, ours
    assert not in_trash, in_trash
    return images, snaps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50, help="how many clones")
    parser.add_argument("--cinder", help="a Python that has Cinder")
    arguments = parser.parse_args()
    sides = [("rbdstore", one_by_one, threads) for threads in THREADS]
    sides.append(("rbdstore, create_cloned_volumes", all_at_once, THREADS[-1]))
    if arguments.cinder:
        sides += [("Cinder", cinder(arguments.cinder), threads) for threads in (*THREADS, 1)]
    with CephSandbox(paxos_propose_interval=1.0) as ceph:
        version = ceph.ceph("--version").split(" (")[0]
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
            f"{platform.python_version()}, {version}; {arguments.count} clones",
            flush=True,
        )
        for name, run, threads in sides:
            made, deleted = run(ceph, arguments.count, threads)
            begun = time.perf_counter()
            images, snaps = remove_leftovers(ceph)
            cleared = time.perf_counter() - begun
            print(
                f"{name:31} {threads:2} threads: made {made:5.1f} s, deleted {deleted:5.1f} s, "
                f"together {made + deleted:5.1f} s; left {images} images, {snaps} snapshots",
                *([f"(to remove these: {cleared:.1f} s)"] if images else []),
                flush=True,
            )


if __name__ == "__main__":
    main()
