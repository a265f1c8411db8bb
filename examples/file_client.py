# SPDX-License-Identifier: Apache-2.0
"""What the ``rbd`` command is to Ceph, for a data directory: reads and writes images as they are.

It uses the driver alone, none of the services that the main job is about. ::

    file_client.py DATADIR export POOL/IMAGE[@SNAP] FILE|-
    file_client.py DATADIR scribble POOL/IMAGE
"""

import argparse
import random
import sys

from rbdstore import driver
from rbdstore.drivers.file.driver import FileDriver

CHUNK = 4 << 20
BLOCK = 64 << 10


def export(pool, image, snap, target):
    """Write the bytes of an image, or of a snap, to a file or to stdout."""
    with (
        pool.open(image) as source,
        open(sys.stdout.fileno() if target == "-" else target, "wb") as stream,
    ):
        if snap:
            source.set_snap(driver.find_snap(source, snap).id)
        size = source.size()
        for offset in range(0, size, CHUNK):
            stream.write(source.read(offset, min(CHUNK, size - offset)))


def scribble(pool, image):
    """Write 8 MiB of random bytes, 64 KiB at a time, all over an image."""
    with pool.open(image, read_only=False) as target:
        blocks = target.size() // BLOCK
        for number in random.choices(range(blocks), k=(8 << 20) // BLOCK):
            target.write(number * BLOCK, random.randbytes(BLOCK))
        target.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datadir")
    parser.add_argument("command", choices=("export", "scribble"))
    parser.add_argument("spec")
    parser.add_argument("target", nargs="?", default="-")
    args = parser.parse_args()
    place, _at, snap = args.spec.partition("@")
    name, _slash, image = place.partition("/")
    cluster = FileDriver().open({"file_store_datadir": args.datadir})
    pool = cluster.open_pool(name)
    if args.command == "export":
        export(pool, image, snap, args.target)
    else:
        scribble(pool, image)
    pool.close()
    cluster.close()


if __name__ == "__main__":
    main()
