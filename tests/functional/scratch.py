# SPDX-License-Identifier: Apache-2.0
"""Images that the driver's tests need for a while, made through the driver itself.

::

    with scratch.an_image(pool, data=b"parent") as image:
        snap_id = scratch.new_snap(image, "s")
"""

import concurrent.futures
import contextlib
import struct
import threading

from rbdstore import driver

MiB, GiB = 1 << 20, 1 << 30


@contextlib.contextmanager
def an_image(pool, name="a", size=16 * MiB, data=b"", **options):
    """Give a new image, open for writing, and remove it after."""
    pool.create(name, size, **options)
    with pool.open(name, read_only=False) as image:
        if data:
            image.write(0, data)
            image.flush()
        yield image
    remove_all(pool, name)


def new_image(pool, name, data=b""):
    """Make a small image, and leave it there; its id."""
    pool.create(name, MiB)
    with pool.open(name, read_only=False) as image:
        if data:
            image.write(0, data)
        return image.id


def new_snap(image, name):
    """Make a snapshot; its id."""
    image.create_snap(name)
    return driver.find_snap(image, name).id


def remove_all(pool, name):
    """Remove an image with its snaps."""
    with pool.open(name, read_only=False) as image:
        for snap in image.snaps():
            image.unprotect_snap(snap.name)
            image.remove_snap(snap.id)
    pool.remove(name)


def together(count, do):
    """Call ``do(number)`` in that many threads at the same moment; what they return."""
    start = threading.Barrier(count)

    def turn(number):
        start.wait()
        return do(number)

    with concurrent.futures.ThreadPoolExecutor(count) as executor:
        return list(executor.map(turn, range(count)))


def as_listed(snap_id, pool_id, image_id):
    """A clone, as the header of its parent lists it: what is attached to that, or detached."""
    body = struct.pack("<q", pool_id) + _text(image_id) + _text("")
    return struct.pack("<QBBI", snap_id, 1, 1, len(body)) + body


def _text(value):
    return struct.pack("<I", len(value)) + value.encode()
