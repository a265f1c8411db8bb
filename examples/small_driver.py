# SPDX-License-Identifier: Apache-2.0
"""A whole driver in one file: clusters in the memory of one process, by name.

It is as small as the interface lets it be: no locks, no background tasks, clones of format 2. It
passes the suite that ships (tests/test_small_driver.py); doc/source/developer/drivers.rst walks
through it.
"""

import dataclasses
import itertools
import time

from oslo_config import cfg

from rbdstore import driver, exceptions, threads

LOCK = threads.threading.RLock()
NUMBERS = itertools.count(1)
CLUSTERS = {}


@dataclasses.dataclass(eq=False)
class Data:
    """What an image is, or was at a snap: objects, by number, each as long as all of them.

    A clone begins with its parent's objects, the very same; what differs later is its own.
    """

    size: int
    step: int
    objects: dict = dataclasses.field(default_factory=dict)
    parent: "tuple[Record, Snapshot] | None" = None

    def copy(self):
        return dataclasses.replace(self, objects=dict(self.objects))

    def pieces(self, offset, length):
        while length > 0:
            number, start = divmod(offset, self.step)
            part = min(length, self.step - start)
            yield number, start, part
            offset, length = offset + part, length - part

    def read(self, offset, length):
        zeros, length = bytes(self.step), min(length, self.size - offset)
        pieces = self.pieces(offset, length)
        return b"".join(self.objects.get(n, zeros)[at : at + part] for n, at, part in pieces)

    def write(self, offset, data):
        for number, start, part in self.pieces(offset, len(data)):
            content = bytearray(self.objects.get(number, bytes(self.step)))
            content[start : start + part], data = data[:part], data[part:]
            self.objects[number] = bytes(content)

    def zero(self, offset, length):
        for number, start, part in self.pieces(offset, min(length, self.size - offset)):
            if part == self.step:
                self.objects.pop(number, None)
            elif number in self.objects:
                self.write(number * self.step + start, bytes(part))

    def resize(self, size):
        end = -(-self.size // self.step) * self.step
        self.size = max(end, size)
        self.zero(size, self.size - size)
        self.size = size


@dataclasses.dataclass(eq=False)
class Snapshot:
    id: int
    name: str
    data: Data
    protected: bool = False


@dataclasses.dataclass(eq=False)
class Record:
    """An image; in the trash where it has a time until which it is kept there."""

    id: str
    pool: "Pool"
    name: str
    data: Data
    metadata: dict
    snaps: list = dataclasses.field(default_factory=list)
    writers: list = dataclasses.field(default_factory=list)
    kept_until: float | None = None


@dataclasses.dataclass
class Small:
    """A small object, with a lease."""

    content: bytes = b""
    entries: dict = dataclasses.field(default_factory=dict)
    owner: str | None = None
    cookie: str = ""
    until: float = 0.0


class SmallDriver(driver.Driver):
    API_VERSION = 1
    OPTIONS = (cfg.StrOpt("small_cluster", default="small", help="The cluster's name."),)

    def open(self, options):
        name = options["small_cluster"]
        with LOCK:
            pools = CLUSTERS.setdefault(name, {each: ({}, {}) for each in ("images", "volumes")})
        return Cluster(name, pools)


class Cluster(driver.Cluster):
    def __init__(self, name, pools):
        self.name, self.pools = name, pools

    @property
    def fsid(self):
        return f"small-{self.name}"

    def found(self):
        if self.pools is None:
            raise exceptions.ClusterError("the connection was closed")
        return self.pools

    def list_pools(self):
        return list(self.found())

    def open_pool(self, name, namespace=""):
        if namespace or name not in self.found():
            raise exceptions.PoolNotFound(f"there is no pool {'/'.join([name, namespace])}")
        return Pool(self, name)

    def close(self):
        self.pools = None


class Pool(driver.Pool):
    namespace = ""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def close(self):
        """Nothing to let go of."""

    @property
    def images(self):
        return self.cluster.found()[self.name][0]

    @property
    def objects(self):
        return self.cluster.found()[self.name][1]

    def live(self):
        return {each.name: each for each in list(self.images.values()) if each.kept_until is None}

    def find(self, name=None, image_id=None):
        found = self.live().get(name) if name is not None else self.images.get(image_id)
        if found is None:
            spec = self.spec(name if name is not None else f"<{image_id}>")
            raise exceptions.ImageNotFound("no such image", spec=spec)
        return found

    def check_free(self, name):
        if name in self.live():
            raise exceptions.Duplicate("the name is taken", spec=self.spec(name))

    def check_unused(self, image):
        if image.snaps or image.writers:
            snaps = [snap.name for snap in image.snaps]
            spec = self.spec(image.name)
            raise exceptions.InUse(spec=spec, snapshots=snaps, watchers=image.writers)

    def add(self, name, data, metadata):
        with LOCK:
            self.check_free(name)
            image_id = f"{next(NUMBERS):x}"
            self.images[image_id] = Record(image_id, self, name, data, metadata)

    def stats(self):
        live = self.live().values()
        return driver.PoolStats(
            total=1 << 60,
            free=1 << 60,
            used=sum(len(each.data.objects) * each.data.step for each in live),
            provisioned=sum(each.data.size for each in live),
            images=len(live),
            snapshots=sum(len(each.snaps) for each in live),
        )

    def list_images(self):
        return list(self.live())

    def create(self, name, size, *, order=None):
        self.add(name, Data(size, 1 << (order or 22)), {})

    def clone(self, parent, image, snap, name):
        spec = parent.spec(image, snap)
        with LOCK:
            found = parent.live().get(image)
            snaps = [each for each in found.snaps if each.name == snap] if found else []
            if not snaps:
                raise exceptions.SnapshotNotFound("no such image or snapshot", spec=spec)
            if not snaps[0].data.size:
                raise exceptions.NotCloneable("its size is 0", spec=spec)
            data = dataclasses.replace(snaps[0].data.copy(), parent=(found, snaps[0]))
            self.add(name, data, dict(found.metadata))

    def open(self, name=None, *, image_id=None, read_only=True):
        if (name is None) is (image_id is None):
            raise exceptions.InvalidInput("an image is opened by its name or by its id")
        return Image(self, self.find(name, image_id), read_only)

    def clear_debris(self, name):
        return False

    def rename(self, name, new_name):
        with LOCK:
            image = self.find(name)
            self.check_free(new_name)
            image.name = new_name

    def remove(self, name, *, progress=None):
        with LOCK:
            image = self.find(name)
            self.check_unused(image)
            del self.images[image.id]

    def trash_move(self, name, *, delay=0):
        self.find(name).kept_until = time.time() + delay

    def trash_list(self):
        images = [each for each in list(self.images.values()) if each.kept_until is not None]
        return [driver.TrashEntry(each.id, each.name, each.kept_until) for each in images]

    def trash_get(self, image_id):
        return next((each for each in self.trash_list() if each.image_id == image_id), None)

    def trashed(self, image_id):
        if self.trash_get(image_id) is None:
            spec = self.spec(f"<{image_id}>")
            raise exceptions.ImageNotFound("no such image in the trash", spec=spec)
        return self.images[image_id]

    def trash_restore(self, image_id, name):
        with LOCK:
            image = self.trashed(image_id)
            self.check_free(name)
            image.name, image.kept_until = name, None

    def trash_remove(self, image_id, *, progress=None):
        with LOCK:
            image = self.trashed(image_id)
            self.check_unused(image)
            if time.time() < image.kept_until:
                raise exceptions.InUse("it is kept for longer", spec=self.spec(image.name))
            del self.images[image_id]

    def lease(self, key, cookie, seconds, owner, *, renew=False):
        with LOCK:
            now, found = time.monotonic(), self.objects.get(key, Small())
            if now < found.until and found.cookie != cookie:
                return False
            if renew and (now >= found.until or found.cookie != cookie):
                return False
            found.owner, found.cookie, found.until = owner, cookie, now + seconds
            self.objects[key] = found
            return True

    def lease_owner(self, key):
        return self.objects.get(key, Small()).owner

    def leased(self, key, cookie):
        found = self.objects.get(key, Small())
        if found.cookie != cookie or time.monotonic() >= found.until:
            raise exceptions.LeaseLost(f"the lease on {key} ran out")
        return found

    def write_leased(self, key, cookie, data):
        with LOCK:
            self.leased(key, cookie).content = bytes(data)

    def remove_leased(self, key, cookie):
        with LOCK:
            self.leased(key, cookie)
            del self.objects[key]

    def read_object(self, key):
        return self.objects.get(key, Small()).content

    def remove_object(self, key):
        self.objects.pop(key, None)

    def set_keys(self, key, entries):
        self.objects.setdefault(key, Small()).entries.update(entries)

    def get_keys(self, key):
        return dict(self.objects.get(key, Small()).entries)

    def remove_keys(self, key, names):
        for name in names:
            self.objects.get(key, Small()).entries.pop(name, None)


class Image(driver.Image):
    def __init__(self, pool, record, read_only):
        self.pool, self.name, self.id, self.read_only = pool, record.name, record.id, read_only
        self.record, self.snap = record, None
        self.address = f"small:{next(NUMBERS)}"
        if not read_only:
            record.writers.append(self.address)

    def close(self):
        if self.record and not self.read_only:
            self.record.writers.remove(self.address)
        self.record = None

    @property
    def image(self):
        if self.record is None:
            raise exceptions.ClusterError("it was closed", spec=self.spec)
        return self.record

    def changing(self):
        if self.read_only and self.image:
            raise exceptions.ReadOnly("it was opened read-only", spec=self.spec)
        return self.image

    @property
    def data(self):
        return self.snap.data if self.snap and self.image else self.image.data

    def size(self):
        return self.data.size

    @property
    def object_size(self):
        return self.data.step

    def features(self):
        return frozenset({"layering", "deep-flatten"})

    def read(self, offset, length):
        return self.data.read(offset, length)

    def write(self, offset, data):
        with LOCK:
            if offset + len(data) > self.data.size:
                raise exceptions.InvalidSize("that is beyond its end", spec=self.spec)
            self.changing().data.write(offset, data)

    def discard(self, offset, length):
        with LOCK:
            self.changing().data.zero(offset, length)

    def flush(self):
        """Nothing to wait for."""

    def resize(self, size, *, allow_shrink=False):
        with LOCK:
            if size < self.data.size and not allow_shrink:
                raise exceptions.InvalidSize("that is less than it has", spec=self.spec)
            self.changing().data.resize(size)

    def extents(self, offset, length, *, from_snap=None, include_parent=True, whole_object=False):
        data, before = self.data, {}
        if from_snap is not None:
            before = self.find(from_snap).data.objects
        elif data.parent and not include_parent:
            before = data.parent[1].data.objects
        for number, start, part in data.pieces(offset, min(length, data.size - offset)):
            there = data.objects.get(number)
            if there is not before.get(number):
                yield driver.Extent(number * data.step + start, part, there is not None)

    def flatten(self, *, progress=None):
        image = self.changing()
        if progress is not None:
            progress(0, 1)
        for each in (image, *image.snaps):
            each.data.parent = None

    def parent(self):
        if self.data.parent is None:
            return None
        image, snap = self.data.parent
        return driver.Parent(image.pool.name, "", image.name, image.id, snap.name)

    def set_snap(self, snap_id):
        self.snap = None if snap_id is None else self.by_id(snap_id)

    def children(self, snap_id):
        snap = self.by_id(snap_id)
        return [
            driver.Child(name, "", each.name, each.id, each.kept_until is not None)
            for name, (images, _objects) in self.pool.cluster.found().items()
            for each in list(images.values())
            if any(one.data.parent and one.data.parent[1] is snap for one in (each, *each.snaps))
        ]

    def snaps(self):
        snaps = self.image.snaps
        return [driver.Snap(each.id, each.name, each.data.size, each.protected) for each in snaps]

    def by_id(self, snap_id):
        for snap in self.image.snaps:
            if snap.id == snap_id:
                return snap
        raise exceptions.SnapshotNotFound("no such snapshot", spec=self.spec)

    def find(self, name):
        return self.by_id(driver.find_snap(self, name).id)

    def check_free(self, name):
        if name in [snap.name for snap in self.image.snaps]:
            raise exceptions.Duplicate("it is taken", spec=self.pool.spec(self.name, name))

    def create_snap(self, name):
        with LOCK:
            image = self.changing()
            self.check_free(name)
            image.snaps.append(Snapshot(next(NUMBERS), name, image.data.copy()))

    def rename_snap(self, name, new_name):
        with LOCK:
            self.changing()
            snap = self.find(name)
            self.check_free(new_name)
            snap.name = new_name

    def remove_snap(self, snap_id):
        with LOCK:
            image, snap = self.changing(), self.by_id(snap_id)
            children = [child.spec for child in self.children(snap_id)]
            if children or snap.protected:
                reason = "it is protected" if snap.protected else "in use"
                spec = self.pool.spec(self.name, snap.name)
                raise exceptions.InUse(reason, spec=spec, children=children)
            image.snaps.remove(snap)

    def protect_snap(self, name):
        self.changing()
        self.find(name).protected = True

    def unprotect_snap(self, name):
        self.changing()
        self.find(name).protected = False

    def rollback(self, snap, *, progress=None):
        with LOCK:
            self.changing().data = self.find(snap).data.copy()
        if progress is not None:
            progress(1, 1)

    def watchers(self):
        return list(self.image.writers)

    def lock(self):
        """Without the feature exclusive-lock there is none."""

    def set_metadata(self, key, value):
        self.changing().metadata[key] = value

    def metadata(self):
        return dict(self.image.metadata)
