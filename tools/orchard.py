# SPDX-License-Identifier: Apache-2.0
"""A pool worth looking at: 300 images, among them three chains of clones beyond the limit.

It is made by the library's own verbs, on whatever driver; only bytes are written beside it. Each
kind of thing that a picture shows is in it.
"""

import contextlib
import random

import rbdstore

GiB = 1 << 30
# MiB. A byte written is an object used: large ones make much of little.
OBJECT_SIZE = 32

COUNT = 300
LIMIT = 5
# The last clone's depth in each of the chains.
CHAINS = {"db": 8, "mail": 7, "wiki": 6}

_IMAGES = {
    "alpine-3.22": ("edge", 14),
    "debian-13": ("web", 26),
    "fedora-43": ("desk", 17),
    "rocky-10": ("app", 22),
    "ubuntu-24.04": ("ci", 31),
}


class Orchard:
    """What is planted, with a number of images in all that is told beforehand."""

    def __init__(self, store, *, count=COUNT, seed=7):
        self.store = store
        self.count = count
        self._random = random.Random(seed)
        self._planted = 0

    def plant(self):
        for image, (stem, count) in _IMAGES.items():
            self._fan(image, stem, count)
        for stem, depth in CHAINS.items():
            self._chain(stem, depth)
        self._nightly()
        self._kept()
        self._unfinished()
        self._trashed()
        number = 0
        while self._planted < self.count:
            number += 1
            self._volume(f"{('data', 'logs', 'scratch')[number % 3]}-{number:03}")

    # Trees

    def _fan(self, image, stem, count):
        uri = self._image(image)
        for number in range(1, count + 1):
            name = f"{stem}-{number:03}"
            self.store.volumes.clone(name, uri, self._size())
            self._grown(name)
            if number % 9 == 0:
                self.store.volumes.create_snapshot(name, f"before-upgrade-{number}")

    def _image(self, image):
        """As Glance's own driver makes it; for that no bytes need be read and hashed."""
        pool = self.store.volumes.pool
        pool.create(image, GiB, order=OBJECT_SIZE.bit_length() + 19)
        self._grown(image)
        with pool.open(image, read_only=False) as opened:
            opened.create_snap("snap")
            opened.protect_snap("snap")
        return self.store.images.uri(image)

    def _chain(self, stem, depth):
        above = f"{stem}-0"
        self._volume(above)
        for number in range(1, depth + 1):
            name = f"{stem}-{number}"
            self.store.volumes.create_cloned_volume(name, above)
            self._grown(name)
            above = name
            if number == 3:
                names = [f"{stem}-{number}-test-{letter}" for letter in "abc"]
                self.store.volumes.create_cloned_volumes(names, name)
                for each in names:
                    self._grown(each)

    def _nightly(self):
        """Clones of the snapshots of one volume."""
        self._volume("erp")
        for day in ("mon", "tue", "wed"):
            self.store.volumes.create_snapshot("erp", f"nightly-{day}")
            for number in range(1, 4):
                name = f"erp-{day}-{number}"
                self.store.volumes.create_from_snapshot(name, "erp", f"nightly-{day}")
                self._grown(name)

    def _kept(self):
        """Clones of a deleted volume."""
        self._volume("golden")
        names = [f"lab-{number:02}" for number in range(1, 11)]
        self.store.volumes.create_cloned_volumes(names, "golden")
        for name in names:
            self._grown(name)
        self.store.volumes.delete("golden")

    # Alone

    def _unfinished(self):
        self.store.volumes.pool.create("upload.0123456789abcdef.partial", 2 * GiB)
        self._planted += 1

    def _trashed(self):
        """By somebody else."""
        self._volume("old-backup")
        self.store.volumes.pool.trash_move("old-backup")

    def _volume(self, name):
        self.store.volumes.create(name, self._size())
        self._grown(name)

    def _grown(self, name):
        self._planted += 1
        with self.store.volumes.pool.open(name, read_only=False) as image:
            objects = image.size() // image.object_size
            few = min(objects, 1 + int(self._random.expovariate(1 / 9)))
            for number in self._random.sample(range(objects), few):
                image.write(number * image.object_size, b"\x17")
            image.flush()

    def _size(self):
        return self._random.choice((1, 1, 2, 2, 4, 8, 16)) * GiB


@contextlib.contextmanager
def planted(driver, **options):
    """A store over such a pool, with one image in use."""
    options |= {"rbd_store_chunk_size": OBJECT_SIZE}
    with rbdstore.connect(driver, rbd_max_clone_depth=100, **options) as grower:
        Orchard(grower).plant()
    with (
        rbdstore.connect(driver, rbd_max_clone_depth=LIMIT, **options) as store,
        store.volumes.pool.open("web-007", read_only=False),
        store.volumes.pool.open("db-8", read_only=False),
    ):
        yield store
