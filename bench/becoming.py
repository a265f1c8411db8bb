# SPDX-License-Identifier: Apache-2.0
"""How long an image takes to become a disk, and the disk to become an image, by their size.

``python bench/becoming.py`` starts a one-node Ceph whose monitors batch their proposals as those
of production do. Each image holds as much data, 64 MiB; its virtual size grows. What does not grow
with that is the clone and, with a flatten in the background, the direct snapshot; a flatten does.
"""

import os
import time

import rbdstore
from rbdstore.testing.sandbox import CephSandbox

MiB, GiB = 1 << 20, 1 << 30
SIZES = (1, 16)
DATA = 64 * MiB
INSTANCE = "0f5f9e2e"


def connect(ceph, user, pool):
    return rbdstore.connect("rbd", rbd_ceph_conf=ceph.conf_path, rbd_user=user, rbd_pool=pool)


def timed(what, do, *args, **how):
    begun = time.perf_counter()
    done = do(*args, **how)
    print(f"  {what:50} {time.perf_counter() - begun:6.2f} s", flush=True)
    return done


def measure(images, disks, size):
    print(f"{size // GiB} GiB, of which {DATA // MiB} MiB are data:")
    body = (part for part in (os.urandom(DATA), *[bytes(16 * MiB)] * ((size - DATA) // 16 // MiB)))
    image = timed("upload", images.add, "image", body, size)
    disk = disks.name(INSTANCE)
    timed("image to disk, cloned", disks.clone, disk, [image.uri], size)
    later = timed(
        "disk to image, flattened in the background",
        disks.snapshot_to_image, disk, images, "later", method="cow", flatten="task",
    )  # fmt: skip
    now = timed(
        "disk to image, flattened", disks.snapshot_to_image, disk, images, "now", method="cow"
    )
    copy = timed(
        "disk to image, copied", disks.snapshot_to_image, disk, images, "copy", method="copy"
    )
    timed("cleanup", disks.cleanup, INSTANCE)
    for made in (later, now, copy, image):
        images.delete(made.uri)


def main():
    with (
        CephSandbox(paxos_propose_interval=None) as ceph,
        connect(ceph, "glance", "images") as images,
        connect(ceph, "nova", "vms") as nova,
    ):
        for size in SIZES:
            measure(images.images, nova.disks, size * GiB)


if __name__ == "__main__":
    main()
