# SPDX-License-Identifier: Apache-2.0
"""How long an operator waits for the forest of a pool, and for the list of its volumes.

``python bench/forest.py [--images N] [--runs N]`` fills the pools of a one-node Ceph, which it
starts, and prints the medians of several runs, each with a connection of its own.
"""

import argparse
import concurrent.futures
import io
import os
import platform
import statistics
import time

import rbdstore
from rbdstore.cli import trees
from rbdstore.testing.sandbox import CephSandbox

MiB, GiB = 1 << 20, 1 << 30
SIZE = 10 * GiB
LIMIT = 5
CHAINS = 3


def connect(ceph, pool, limit=LIMIT):
    return rbdstore.connect(
        "rbd",
        rbd_ceph_conf=ceph.conf_path,
        rbd_user="admin",
        rbd_pool=pool,
        rbd_max_clone_depth=limit,
    )


def fill(store, name):
    """Give a volume some bytes of its own."""
    with store._open_pool().open(name, read_only=False) as image:
        image.write(0, os.urandom(MiB))
        image.flush()


def standalone(store, name):
    store.volumes.create(name, SIZE)
    fill(store, name)


def chain(store, name):
    """Clones of clones, two deeper than the limit."""
    standalone(store, f"{name}-0")
    for depth in range(LIMIT + 2):
        store.volumes.create_cloned_volume(f"{name}-{depth + 1}", f"{name}-{depth}")
        fill(store, f"{name}-{depth + 1}")


def plant(ceph, count):
    """Three pools: volumes that stand alone beside chains, Glance's images, and clones of one."""
    with (
        connect(ceph, "volumes", limit=100) as volumes,
        connect(ceph, "images") as images,
        connect(ceph, "vms") as vms,
        concurrent.futures.ThreadPoolExecutor(4) as executor,
    ):
        uri = images.images.add("image-0", os.urandom(MiB)).uri
        waiting = [
            *(executor.submit(chain, volumes, f"chain-{n}") for n in range(CHAINS)),
            *(executor.submit(standalone, volumes, f"volume-{n}") for n in range(count)),
            *(executor.submit(images.images.add, f"image-{n}", b"data") for n in range(1, count)),
            *(executor.submit(vms.volumes.clone, f"disk-{n}", uri, SIZE) for n in range(count)),
        ]
        for each in waiting:
            each.result()


def measure(ceph, runs, look):
    """Seconds that it takes, and seconds of a processor that this process needs for it."""
    found = []
    for _ in range(runs):
        begun = time.perf_counter(), time.process_time()
        look(ceph)
        found.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    return [statistics.median(each) for each in zip(*found, strict=True)]


def forest_of(*pools):
    def look(ceph):
        stores = [connect(ceph, pool) for pool in pools]
        try:
            forest = stores[0].forest(*stores[1:])
            trees.show(forest, io.StringIO())
            return forest
        finally:
            for store in stores:
                store.close()

    return look


def list_of(pool):
    def look(ceph):
        with connect(ceph, pool) as store:
            return store.volumes.list()

    return look


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300, help="how many there are of each kind")
    parser.add_argument("--runs", type=int, default=5, help="of which the median is told")
    arguments = parser.parse_args()
    count = arguments.images
    with CephSandbox() as ceph:
        plant(ceph, count)
        too_deep = sum(tree.is_too_deep for tree in forest_of("volumes")(ceph))
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
            f"{platform.python_version()}, {ceph.ceph('--version').split(' (')[0]}\n"
            f"volumes: {count} that stand alone, {CHAINS} chains of {LIMIT + 3}, {too_deep} of "
            f"them beyond the limit of {LIMIT}\n"
            f"images: {count} of Glance's; vms: {count} clones of one of these\n"
        )
        for what, look in (
            ("volumes.list(), volumes", list_of("volumes")),
            ("forest, volumes", forest_of("volumes")),
            ("forest, images", forest_of("images")),
            ("forest, vms", forest_of("vms")),
            ("forest, all three", forest_of("volumes", "images", "vms")),
        ):
            took, processor = measure(ceph, arguments.runs, look)
            print(f"{what:24} {took:5.2f} s, {processor:5.2f} s of a processor", flush=True)


if __name__ == "__main__":
    main()
