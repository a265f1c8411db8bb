# SPDX-License-Identifier: Apache-2.0
"""In a service that eventlet has patched, with many greenthreads at work on one store."""

import subprocess
import sys

_SERVICE = '''
import eventlet
import eventlet.tpool

eventlet.monkey_patch()

import sys

import rbdstore
from rbdstore import exceptions

MiB = 1 << 20
conf = sys.argv[1]


def open_store(pool):
    return rbdstore.connect(
        "rbd",
        rbd_ceph_conf=conf,
        rbd_user="admin",
        rbd_pool=pool,
        rbd_lease_seconds=3,
        # Several reads and writes in flight, and a window that is full at times.
        rbd_store_chunk_size=1,
        rbd_transfer_window=4,
    )


def body(turns):
    """As from a socket: others get their turn while it waits."""
    for _ in range(turns):
        yield b"x" * MiB
        eventlet.sleep(0.05)


def broken(turns):
    """The same, but it ends badly, with something in flight."""
    yield from body(turns)
    yield b"x" * 8 * MiB
    raise ConnectionResetError


def life(number):
    """Everything that may happen to a volume."""
    name = f"volume-{number}"
    try:
        images.add(f"image-{number}", broken(2))
    except ConnectionResetError:
        pass
    image = images.add(f"image-{number}", body(2))
    assert b"".join(images.get(image.uri)) == b"x" * 2 * MiB
    large = images.add(f"large-{number}", [b"x" * 21 * MiB])
    assert b"".join(images.get(large.uri)) == b"x" * 21 * MiB
    given_up = images.get(large.uri)
    next(given_up)
    given_up.close()
    images.delete(large.uri)
    volumes.clone(name, image.uri)
    volumes.create_snapshot(name, "snapshot")
    volumes.create_from_snapshot(f"{name}-a", name, "snapshot", 4 * MiB)
    volumes.create_cloned_volume(f"{name}-b", name)
    volumes.create_cloned_volume(f"{name}-shared-{number}", "shared")
    volumes.create_cloned_volumes([f"{name}-d", f"{name}-e"], "shared")
    volumes.flatten(f"{name}-a")
    volumes.delete_snapshot(name, "snapshot")
    volumes.rename(f"{name}-b", f"{name}-c")
    for suffix in ("-a", "-c", "-d", "-e", f"-shared-{number}", ""):
        volumes.delete(name + suffix)
    images.delete(image.uri)
    return number


def delete_slow():
    """Somebody waits for a name that another greenthread is at, and gets it."""
    try:
        images.delete("rbd://slow")
    except exceptions.ImageNotFound:
        return "not there"
    return "deleted"


def life_in_thread(number):
    """In a real thread, as services run what blocks."""
    return eventlet.tpool.execute(life, number)


with open_store("images") as image_store, open_store("volumes") as volume_store:
    images, volumes = image_store.images, volume_store.volumes
    volumes.create("shared", MiB)
    pool = eventlet.GreenPool(8)
    assert sorted(pool.imap(life, range(3))) == [0, 1, 2]
    assert sorted(pool.imap(life_in_thread, range(3))) == [0, 1, 2]
    upload = eventlet.spawn(images.add, "slow", body(8))
    eventlet.sleep(0.1)
    deletion = eventlet.spawn(delete_slow)
    assert upload.wait().size == 8 * MiB
    assert deletion.wait() == "deleted"
    volumes.delete("shared")
print("done")
'''


def test_the_main_verbs_in_a_patched_process(sandbox):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SERVICE, sandbox.conf_path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
