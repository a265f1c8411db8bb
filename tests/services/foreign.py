# SPDX-License-Identifier: Apache-2.0
"""A client that goes past the services, to the driver, and looks at what they did.

It has the methods of :class:`stores.Foreign`, which does the same with librbd alone.
"""

import contextlib
from pathlib import Path

from rbdstore import driver, spec


class SeamClient:
    def __init__(self, cluster):
        self._cluster = cluster

    @contextlib.contextmanager
    def _open(self, pool, name, *, read_only=True):
        with (
            contextlib.closing(self._cluster.open_pool(pool)) as opened,
            opened.open(name, read_only=read_only) as image,
        ):
            yield image

    def _pool(self, pool):
        return contextlib.closing(self._cluster.open_pool(pool))

    # Images

    def create(self, pool, name, size=None, *, data=b""):
        """Make an image that holds ``data``."""
        with self._pool(pool) as opened:
            opened.create(name, len(data) if size is None else size)
        if data:
            self.write(pool, name, data)

    def remove(self, pool, name):
        """Remove an image with its snapshots, protected or not."""
        self.remove_snaps(pool, name)
        with self._pool(pool) as opened:
            opened.remove(name)

    def rename(self, pool, name, new_name):
        with self._pool(pool) as opened:
            opened.rename(name, new_name)

    def images(self, pool):
        with self._pool(pool) as opened:
            return sorted(opened.list_images())

    def trash(self, pool):
        """The names that the images in the trash had, by id."""
        with self._pool(pool) as opened:
            return {entry.image_id: entry.name for entry in opened.trash_list()}

    def is_claimed(self, pool, name):
        """Whether somebody is at work on a name."""
        with self._pool(pool) as opened:
            return opened.lease_owner(spec.lease_object(name)) is not None

    def state(self):
        """Everything that an operation which failed must have left as it was, but the bytes."""
        found = {}
        for pool in ("images", "volumes"):
            found[pool, "trash"] = self.trash(pool)
            for name in self.images(pool):
                with self._open(pool, name) as image:
                    found[pool, name] = (image.id, image.size(), image.snaps(), image.parent())
        leases = [left for left in self._cluster.leftovers() if spec.LEASE_PREFIX in left]
        return {**found, "leases": leases}

    # One image

    def write(self, pool, name, data, offset=0):
        with self._open(pool, name, read_only=False) as image:
            image.write(offset, data)
            image.flush()

    def read(self, pool, name, snap=None):
        """All of an image, as it is or at a snapshot."""
        with self.reader(pool, name) as image:
            if snap is not None:
                image.set_snap(driver.find_snap(image, snap).id)
            return image.read(0, image.size())

    def reader(self, pool, name):
        """Have an image open for reading."""
        return self._open(pool, name)

    def size(self, pool, name):
        with self._open(pool, name) as image:
            return image.size()

    def object_size(self, pool, name):
        with self._open(pool, name) as image:
            return image.object_size

    def features(self, pool, name):
        with self._open(pool, name) as image:
            return set(image.features())

    def data_objects(self, pool, name):
        """How many objects hold an image's own data, and not its parent's."""
        with self._open(pool, name) as image:
            return sum(1 for found in Path(image.folder).glob("*/*") if found.stat().st_size)

    def flip(self, pool, name, offset):
        """Damage a byte where an image and its snapshots have it."""
        for path in self._files(pool, name, offset):
            data = bytearray(path.read_bytes())
            data[offset % self.object_size(pool, name)] ^= 1
            path.write_bytes(data)

    def lose(self, pool, name, offset):
        """Have an object of an image, and of its snapshots, be no more."""
        for path in self._files(pool, name, offset):
            path.unlink()

    def _files(self, pool, name, offset):
        with self._open(pool, name) as image:
            number = offset // image.object_size
            return list(Path(image.folder).glob(f"*/{number:x}"))

    def parent(self, pool, name):
        """Pool, image and snapshot that an image was cloned from; None where it has no parent."""
        with self._open(pool, name) as image:
            found = image.parent()
            return found and (found.pool, found.image, found.snap)

    def flatten(self, pool, name):
        with self._open(pool, name, read_only=False) as image:
            image.flatten()

    # Snapshots

    def snap(self, pool, name, snap, *, protect=True):
        with self._open(pool, name, read_only=False) as image:
            image.create_snap(snap)
            if protect:
                image.protect_snap(snap)

    def snaps(self, pool, name):
        """The names of an image's snapshots, those in the trash not among them."""
        with self._open(pool, name) as image:
            return [snap.name for snap in image.snaps() if not snap.trashed]

    def is_protected(self, pool, name, snap):
        with self._open(pool, name) as image:
            return driver.find_snap(image, snap).protected

    def children(self, pool, name, snap):
        """The names of a snapshot's clones, those in the trash among them."""
        with self._open(pool, name) as image:
            return [child.image for child in image.children(driver.find_snap(image, snap).id)]

    def remove_snap(self, pool, name, snap):
        with self._open(pool, name, read_only=False) as image:
            image.unprotect_snap(snap)
            image.remove_snap(driver.find_snap(image, snap).id)

    def remove_snaps(self, pool, name):
        for snap in self.snaps(pool, name):
            self.remove_snap(pool, name, snap)
