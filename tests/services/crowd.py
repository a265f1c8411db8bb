# SPDX-License-Identifier: Apache-2.0
"""Those who do things at random, many at once, for :mod:`test_crowd`.

Each member of the crowd has names that are only its own, and knows what is there: whatever it was
told is done must be there, to the byte, whatever the others do meanwhile. With the names that all
share it only may meet the errors that a race explains (:data:`RACES`).

Whatever is written is a whole block of one stamp: what a volume holds is a list of stamps, and a
torn block can be told from a whole one.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import pickle
import random
import threading
import time

import pytest
import samples

from rbdstore import exceptions

MiB = samples.MiB
BLOCK = MiB // 4
LARGEST = 16
MOST_VOLUMES = 6
ZEROS = bytes(8)

VOLUMES = [f"shared-{number}" for number in range(4)]
IMAGES = [f"shared-image-{number}" for number in range(3)]
SNAPSHOTS = ["early", "late"]

GONE = "renamed, replaced or deleted by another"
TAKEN = "made, or given the name, by another"
HELD = "another has it open, made a snapshot or a clone, or is at work on the name"

# What an operation on shared names may end with, and what another has done then.
RACES = {
    "create": {"Duplicate": TAKEN},
    "write": {"ImageNotFound": GONE, "InvalidSize": "reverted to when it was smaller"},
    "extend": {"ImageNotFound": GONE, "InvalidSize": "made larger by another"},
    "snapshot": {"ImageNotFound": GONE, "Duplicate": TAKEN},
    "delete_snapshot": {},
    "revert": {"ImageNotFound": GONE, "SnapshotNotFound": GONE, "InUse": HELD},
    "clone_image": {"ImageNotFound": GONE, "SnapshotNotFound": GONE, "Vanished": GONE},
    "clone_snapshot": {"ImageNotFound": GONE, "SnapshotNotFound": GONE, "Vanished": GONE},
    "clone_volume": {"ImageNotFound": GONE, "SnapshotNotFound": GONE, "Vanished": GONE},
    "flatten": {"ImageNotFound": GONE},
    "rename": {"ImageNotFound": GONE, "Duplicate": TAKEN},
    "give": {"Duplicate": TAKEN},
    "delete": {"InUse": HELD},
    "upload": {"Duplicate": TAKEN},
    "download": {"ImageNotFound": GONE, "SnapshotNotFound": GONE, "Vanished": GONE},
    "delete_image": {"ImageNotFound": GONE, "InUse": HELD},
    "look": {"ImageNotFound": GONE},
}

OWN = [
    "create",
    "write",
    "extend",
    "snapshot",
    "delete_snapshot",
    "revert",
    "clone_image",
    "clone_snapshot",
    "clone_volumes",
    "flatten",
    "rename",
    "delete",
    "upload",
    "delete_image",
    "compare",
]


@dataclasses.dataclass
class Known:
    """What a volume must hold: a stamp for each block, now and at each of its snapshots."""

    stamps: list
    snapshots: dict = dataclasses.field(default_factory=dict)

    @property
    def size(self):
        return len(self.stamps) * BLOCK

    def is_seen(self, stamps, snapshots):
        return stamps == self.stamps and snapshots == self.snapshots


def content(stamps):
    return b"".join(stamp * (BLOCK // 8) for stamp in stamps)


def stamps_of(data):
    """The stamp of each block; ``AssertionError``: one is torn."""
    blocks = list(samples.pieces(data, BLOCK))
    for number, block in enumerate(blocks):
        assert block == block[:8] * (BLOCK // 8), f"block {number} is torn"
    return [block[:8] for block in blocks]


def see(pool, name):
    """What a volume holds, and each of its snapshots."""
    with pool.open(name) as image:
        stamps = stamps_of(image.read(0, image.size()))
        snapshots = {}
        for snap in image.snaps():
            if snap.name in SNAPSHOTS:
                image.set_snap(snap.id)
                snapshots[snap.name] = stamps_of(image.read(0, image.size()))
    return stamps, snapshots


class Member:
    """One of the crowd, with a thread of its own."""

    def __init__(self, stores, number):
        self.name = f"member-{number}"
        self.volumes = {}
        self.images = {}
        self.done = collections.Counter()
        self.recent = collections.deque(maxlen=12)
        self._all = stores.volumes
        self._pool = stores.volumes._pool
        self._all_images = stores.images
        self._dice = random.Random(number)
        # A stamp tells whose it is.
        self._stamps = itertools.count((number << 32) + 1)
        self._names = itertools.count()

    def work(self, end, stop):
        """Do everything once, in any order; again and again until the clock says ``end``."""
        while True:
            for kind, verb in self._shuffled():
                if stop.is_set():
                    return
                getattr(self, f"_{kind}")(verb)
            if time.monotonic() > end:
                return

    def _shuffled(self):
        entries = [("own", verb) for verb in OWN] + [("shared", verb) for verb in RACES]
        self._dice.shuffle(entries)
        return entries

    def _own(self, verb):
        while len(self.volumes) > MOST_VOLUMES:
            self.own_delete()
        self.recent.append(f"own {verb}")
        getattr(self, f"own_{verb}")()
        self.done[f"own {verb}"] += 1

    def _shared(self, verb):
        self.recent.append(f"shared {verb}")
        try:
            getattr(self, f"shared_{verb}")()
        except exceptions.RbdStoreError as error:
            end = type(error).__name__
            if end not in RACES[verb]:
                raise
        else:
            end = "ok"
        self.recent[-1] += f": {end}"
        self.done[f"shared {verb}"] += 1
        self.done[f"shared {verb}: {end}"] += 1

    # Names and stamps

    def _new(self, what):
        return f"{self.name}-{what}-{next(self._names)}"

    def _stamp(self):
        return next(self._stamps).to_bytes(8)

    def _any(self):
        """A volume of one's own."""
        if not self.volumes:
            self.own_create()
        return self._pick(self.volumes)

    def _any_snapshot(self):
        """A volume of one's own that has a snapshot, and that."""
        having = [name for name, known in self.volumes.items() if known.snapshots]
        name = self._pick(having) if having else self.own_snapshot()
        return name, self._pick(self.volumes[name].snapshots)

    def _any_image(self):
        return self._pick(self.images) if self.images else self.own_upload()

    def _pick(self, things):
        return self._dice.choice(sorted(things))

    def _write(self, image):
        """Write a stamp over a few blocks; where it went, and the stamp."""
        blocks = image.size() // BLOCK
        first = self._dice.randrange(blocks)
        count = min(self._dice.randint(1, 3), blocks - first)
        stamp = self._stamp()
        # One by one: who clones it meanwhile may see some of the blocks, but no part of one.
        for block in range(first, first + count):
            image.write(block * BLOCK, content([stamp]))
        image.flush()
        return first, count, stamp

    def _check(self, name):
        known = self.volumes[name]
        stamps, snapshots = see(self._pool, name)
        assert known.is_seen(stamps, snapshots), f"{name}: {(stamps, snapshots)}, not {known}"

    def _adopt(self, name):
        """Know from here on what a clone of something shared holds."""
        stamps, snapshots = see(self._pool, name)
        assert snapshots == {}
        self.volumes[name] = Known(stamps)

    # On its own names nothing may fail, but where an operation says why.

    def own_create(self):
        name, blocks = self._new("volume"), self._dice.randint(1, LARGEST // 2)
        assert self._all.create(name, blocks * BLOCK).size == blocks * BLOCK
        self.volumes[name] = Known([ZEROS] * blocks)
        self.own_write(name)

    def own_write(self, name=None):
        name = name or self._any()
        with self._pool.open(name, read_only=False) as image:
            first, count, stamp = self._write(image)
        self.volumes[name].stamps[first : first + count] = [stamp] * count

    def own_extend(self):
        name = self._any()
        known = self.volumes[name]
        more = min(4, LARGEST - len(known.stamps))
        known.stamps += [ZEROS] * more
        assert self._all.extend(name, known.size).size == known.size

    def own_snapshot(self):
        name = self._any()
        known = self.volumes[name]
        snapshot = self._dice.choice(SNAPSHOTS)
        if snapshot in known.snapshots:
            with pytest.raises(exceptions.Duplicate):
                self._all.create_snapshot(name, snapshot)
        else:
            self._all.create_snapshot(name, snapshot)
            known.snapshots[snapshot] = list(known.stamps)
        return name

    def own_delete_snapshot(self):
        name, snapshot = self._any_snapshot()
        self._all.delete_snapshot(name, snapshot)
        del self.volumes[name].snapshots[snapshot]

    def own_revert(self):
        name, snapshot = self._any_snapshot()
        with self._unless_flattened():
            self._all.revert_to_snapshot(name, snapshot)
            self.volumes[name].stamps = list(self.volumes[name].snapshots[snapshot])

    def own_clone_image(self):
        image, name = self._any_image(), self._new("volume")
        stamps = self.images[image]
        uri = self._uri(image)
        self._all.clone(name, uri, (len(stamps) + 1) * BLOCK)
        self.volumes[name] = Known([*stamps, ZEROS])

    def own_clone_snapshot(self):
        source, snapshot = self._any_snapshot()
        name = self._new("volume")
        self._all.create_from_snapshot(name, source, snapshot)
        self.volumes[name] = Known(list(self.volumes[source].snapshots[snapshot]))

    def own_clone_volumes(self):
        source = self._any()
        names = [self._new("volume") for _ in range(self._dice.randint(1, 2))]
        self._all.create_cloned_volumes(names, source)
        for name in names:
            self.volumes[name] = Known(list(self.volumes[source].stamps))

    def own_flatten(self):
        name = self._any()
        assert self._all.flatten(name).parent is None
        self._check(name)

    def own_rename(self):
        name, new_name = self._any(), self._new("volume")
        self._all.rename(name, new_name)
        self.volumes[new_name] = self.volumes.pop(name)

    def own_delete(self):
        name = self._any()
        snapshots = self.volumes[name].snapshots
        with self._unless_flattened():
            if snapshots:
                with pytest.raises(exceptions.InUse) as caught:
                    self._all.delete(name)
                assert set(caught.value.snapshots) == set(snapshots)
            while snapshots:
                snapshot = self._pick(snapshots)
                self._all.delete_snapshot(name, snapshot)
                del snapshots[snapshot]
            self._all.delete(name)
            del self.volumes[name]

    @contextlib.contextmanager
    def _unless_flattened(self):
        """Who deletes a shared image may be flattening its clones, and has them open."""
        try:
            yield
        except exceptions.InUse as error:
            if not error.watchers or error.snapshots or error.children:
                raise

    def own_upload(self):
        name = self._new("image")
        self.images[name] = stamps = [self._stamp()] * self._dice.randint(1, LARGEST // 2)
        data = content(stamps)
        stored = self._all_images.add(name, data, self._dice.choice([None, len(data)]))
        assert stored.uri == self._uri(name)
        return name

    def own_delete_image(self):
        name = self._any_image()
        in_use = self._dice.choice(["refuse", "flatten", "defer"])
        try:
            self._all_images.delete(self._uri(name), in_use=in_use)
        except exceptions.InUse as error:
            if in_use != "refuse" or not error.children:
                raise
        else:
            del self.images[name]

    def own_compare(self):
        for name in self.volumes:
            self._check(name)
        for name, stamps in self.images.items():
            assert b"".join(self._all_images.get(self._uri(name))) == content(stamps), name
        listed = {each.name for each in self._all.list() if each.name.startswith(f"{self.name}-")}
        assert listed == set(self.volumes)

    # On shared names

    def shared_create(self):
        self._all.create(self._dice.choice(VOLUMES), self._dice.randint(1, 8) * BLOCK)

    def shared_write(self):
        with self._pool.open(self._dice.choice(VOLUMES), read_only=False) as image:
            self._write(image)

    def shared_extend(self):
        self._all.extend(self._dice.choice(VOLUMES), self._dice.randint(1, LARGEST) * BLOCK)

    def shared_snapshot(self):
        self._all.create_snapshot(self._dice.choice(VOLUMES), self._dice.choice(SNAPSHOTS))

    def shared_delete_snapshot(self):
        self._all.delete_snapshot(self._dice.choice(VOLUMES), self._dice.choice(SNAPSHOTS))

    def shared_revert(self):
        self._all.revert_to_snapshot(self._dice.choice(VOLUMES), self._dice.choice(SNAPSHOTS))

    def shared_clone_image(self):
        name = self._new("volume")
        self._all.clone(name, self._uri(self._dice.choice(IMAGES)))
        self._adopt(name)
        assert len(set(self.volumes[name].stamps)) == 1, f"{name} is of more than one image"

    def shared_clone_snapshot(self):
        name = self._new("volume")
        volume, snapshot = self._dice.choice(VOLUMES), self._dice.choice(SNAPSHOTS)
        self._all.create_from_snapshot(name, volume, snapshot)
        self._adopt(name)

    def shared_clone_volume(self):
        name = self._new("volume")
        self._all.create_cloned_volume(name, self._dice.choice(VOLUMES))
        self._adopt(name)

    def shared_flatten(self):
        self._all.flatten(self._dice.choice(VOLUMES))

    def shared_rename(self):
        self._all.rename(*self._dice.sample(VOLUMES, 2))

    def shared_give(self):
        """Let all have what was its own until now."""
        name = self._any()
        self._all.rename(name, self._dice.choice(VOLUMES))
        del self.volumes[name]

    def shared_delete(self):
        self._all.delete(self._dice.choice(VOLUMES))

    def shared_upload(self):
        data = content([self._stamp()] * self._dice.randint(1, 8))
        self._all_images.add(self._dice.choice(IMAGES), data)

    def shared_download(self):
        uri = self._uri(self._dice.choice(IMAGES))
        assert len(set(stamps_of(b"".join(self._all_images.get(uri))))) == 1, "of two images"

    def shared_delete_image(self):
        in_use = self._dice.choice(["refuse", "flatten", "defer"])
        self._all_images.delete(self._uri(self._dice.choice(IMAGES)), in_use=in_use)

    def shared_look(self):
        self._all.list()
        self._all.stats()
        assert self._all.get(self._dice.choice(VOLUMES)).size > 0

    def _uri(self, image):
        return self._all_images._uri(image)


# What a racer does (racers.py)


def work(stores, path, seconds, numbers):
    """Be as many members of the crowd; write down what they know and what they have done."""
    members = [Member(stores, number) for number in numbers]
    end, stop = time.monotonic() + seconds, threading.Event()

    def live(member):
        try:
            member.work(end, stop)
        except Exception as error:
            stop.set()
            # Not as an error of the store: a racer tells no more of one than its name.
            raise AssertionError(f"{member.name} did: {', '.join(member.recent)}") from error

    with concurrent.futures.ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(live, members))
    known = [(member.volumes, member.images, member.done) for member in members]
    path.write_bytes(pickle.dumps(known))


def clear(stores, seed):
    """Delete whatever can be deleted, in any order."""
    dice = random.Random(seed)
    uris = [image.uri for image in stores.images.list()]
    for uri in dice.sample(uris, len(uris)):
        with contextlib.suppress(exceptions.ImageNotFound, exceptions.InUse):
            stores.images.delete(uri, in_use=dice.choice(["refuse", "flatten", "defer"]))
    volumes = stores.volumes.list()
    for volume in dice.sample(volumes, len(volumes)):
        for snapshot in volume.snapshots:
            stores.volumes.delete_snapshot(volume.name, snapshot)
        with contextlib.suppress(exceptions.InUse):
            stores.volumes.delete(volume.name)
