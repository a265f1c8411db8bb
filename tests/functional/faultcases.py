# SPDX-License-Identifier: Apache-2.0
"""Every operation that takes several steps, and a place to carry it out in.

A :class:`Case` says what is there before, and what is done. Both are carried out in a
:class:`World`: a pool of images and one of volumes, seen through drivers that can be made to fail.
"""

import contextlib
import dataclasses
import functools
import pathlib
import random
import tempfile
import threading
import time
from collections.abc import Callable

import containers

from rbdstore import backups, driver, exceptions, gc, images, settings, spec, volumes
from rbdstore.testing import faults
from rbdstore.trash import contents

KiB = 1024
MiB = 1024 * KiB
SIZE = 192 * KiB
# For how long a manager may be at a task.
PATIENCE = 60
CHUNK = 64 * KiB


def pattern(seed, size=SIZE):
    """Bytes that no other seed gives."""
    return random.Random(seed).randbytes(size)


@functools.cache
def _qcow2():
    with tempfile.TemporaryDirectory() as folder:
        return containers.make(pathlib.Path(folder), pattern("image"), "-O", "qcow2")


def qcow2():
    """A body: a container with a disk in it."""
    return iter([_qcow2()])


class World:
    """Stores over two pools of one cluster, whose driver's calls ``plan`` counts.

    :ivar done: what those of several at once have made who were told so
    :ivar failed: how many of them were told that they failed
    """

    def __init__(self, cluster, names, **options):
        """Open the pools of images and of volumes that ``names`` has."""
        self.plan = faults.Plan()
        wrapped = faults.FaultyCluster(cluster, self.plan)
        self.pools = [wrapped.open_pool(name) for name in names]
        self._settings = [settings.Settings(pool=name, **options) for name in names]
        self.images = images.ImageStore(self.pools[0], self._settings[0])
        # Nothing is purged in the background: each call is somebody's.
        self.volumes = volumes.VolumeStore(self.pools[1], self._settings[1])
        self.trash = contents.Trash(self.pools[1], self._settings[1])
        self.backups = backups.BackupStore(self.pools[0], self._settings[0])
        self.done = set()
        self.failed = 0

    def uri(self, image_id):
        pool = self.pools[0]
        return spec.Location(image_id, pool.cluster.fsid, pool.name, spec.IMAGE_SNAP).uri

    def add_image(self, image_id):
        return self.images.add(image_id, pattern(image_id), SIZE)

    def add_volume(self, name):
        """Make a volume that holds data."""
        self.volumes.create(name, SIZE)
        self.write(name, pattern(name))

    def write(self, name, data):
        with self.pools[1].open(name, read_only=False) as image:
            image.write(0, data)
            image.flush()

    def observe(self):
        """All that a user sees: each image and volume with its bytes and snapshots."""
        seen = self.look()
        hidden = [name for _pool, name in self.hidden(seen)]
        assert not hidden, f"{hidden} have names but cannot be opened"
        return seen

    def look(self):
        """The same where a process was killed in the middle of giving a name."""
        volumes_pool = self.pools[1]
        seen = {}
        for stored in self.images.list():
            name = spec.Location.parse(stored.uri).image
            seen[name] = b"".join(self.images.get(stored.uri))
        for volume in self.volumes.list():
            with volumes_pool.open(volume.name) as opened:
                seen[volume.name] = opened.read(0, opened.size())
                for name in volume.snapshots:
                    opened.set_snap(driver.find_snap(opened, name).id)
                    seen[f"{volume.name}@{name}"] = opened.read(0, opened.size())
        for backup in self.backups.list():
            with self.pools[0].open(backup.base.image) as opened:
                opened.set_snap(driver.find_snap(opened, backup.base.snap).id)
                seen[f"backup:{backup.id}"] = opened.read(0, opened.size())
                seen[backup.base.image] = b""
        return seen

    def hidden(self, seen):
        """Names that are taken, and not for anything that is seen, being made or deleted."""
        known = {name.partition("@")[0] for name in seen}
        return {
            (pool, name)
            for pool in self.pools
            for name in pool.list_images()
            # What is left of a backup has such a name until its id is used again.
            if not (name in known or spec.is_unfinished_or_deleted(name) or ".backup." in name)
        }

    def parents(self):
        """Which volumes share data with a parent."""
        return {volume.name for volume in self.volumes.list() if volume.parent is not None}

    def delete(self, name):
        """Delete what :meth:`observe` calls so, there or not."""
        volume, _at, snapshot = name.partition("@")
        if name.startswith("backup:"):
            self.backups.delete(name.removeprefix("backup:"))
        elif ".backup." in name:
            """It goes with the last backup that is in it."""
        elif snapshot:
            self.volumes.delete_snapshot(volume, snapshot)
        elif name in ("image", "exported"):
            with contextlib.suppress(exceptions.ImageNotFound):
                self.images.delete(self.uri(name))
        else:
            self.volumes.delete(name)

    def delete_everything(self, in_use="refuse"):
        for backup in self.backups.list():
            self.backups.delete(backup.id)
        for volume in self.volumes.list():
            for snapshot in volume.snapshots:
                self.volumes.delete_snapshot(volume.name, snapshot)
        for volume in self.volumes.list():
            self.volumes.delete(volume.name)
        for stored in self.images.list():
            self._delete_image(stored.uri, in_use)
        # What was deleted while deletion is deferred.
        self.volumes.purge_deleted()

    def _delete_image(self, uri, in_use):
        """Delete an image that a manager may have open, to flatten it."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return self.images.delete(uri, in_use=in_use)
            except exceptions.InUse as error:
                if not error.watchers or time.monotonic() > ends:
                    raise
            time.sleep(0.1)

    def collect(self):
        """Reclaim what was left, in one pass over each pool."""
        for pool, options in reversed(list(zip(self.pools, self._settings, strict=True))):
            gc.Collector(pool, options).reclaim()

    def close(self):
        self.volumes.close()


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation.

    :ivar prepare: makes what must be there
    :ivar act: what is cut off, and repeated
    :ivar options: settings of the stores
    :ivar makes: something new is there after it
    :ivar partly: of what it makes some may be there and others not
    :ivar costly: so that not every fault can be tried
    :ivar formats: of the clones that it can be done with
    """

    name: str
    prepare: Callable[[World], object]
    act: Callable[[World], object]
    options: dict
    makes: bool
    partly: bool
    costly: bool
    formats: tuple[int, ...]

    def __str__(self):
        return self.name


CASES = []
# Those that are only killed: what managers and collectors do is not over with an error.
KILLED_CASES = []


def case(
    prepare,
    *,
    makes=False,
    partly=False,
    costly=False,
    only_killed=False,
    formats=(2, 1),
    **options,
):
    """Register the decorated function as the operation that follows ``prepare``."""

    def register(act):
        name = act.__name__.removeprefix("_").replace("_", "-")
        found = Case(name, prepare, act, options, makes, partly, costly, formats)
        assert name not in map(str, [*CASES, *KILLED_CASES])
        (KILLED_CASES if only_killed else CASES).append(found)
        return act

    return register


def nothing(world):
    """There is nothing before."""


def image(world):
    world.add_image("image")


def image_with_clones(world):
    image(world)
    for name in ("volume-1", "volume-2"):
        world.volumes.clone(name, world.uri("image"))


def volume(world):
    world.add_volume("volume")


def snapshot(world):
    volume(world)
    world.volumes.create_snapshot("volume", "snapshot")
    world.write("volume", pattern("written later", 8 * KiB))


def snapshot_with_clone(world):
    snapshot(world)
    world.volumes.create_from_snapshot("clone", "volume", "snapshot")


def deleted_snapshot(world):
    snapshot_with_clone(world)
    world.volumes.delete_snapshot("volume", "snapshot")


def volume_with_clone(world):
    volume(world)
    world.volumes.create_cloned_volume("clone", "volume")


def deleted_volume_with_clone(world):
    volume_with_clone(world)
    world.volumes.delete("volume")


def written_clone(world):
    """A clone of an image, with data of its own."""
    image(world)
    world.volumes.clone("volume", world.uri("image"))
    world.write("volume", pattern("written later", 8 * KiB))


def deep(world):
    """A clone's clone, which a limit of two does not allow to be cloned."""
    volume_with_clone(world)
    world.volumes.create_cloned_volume("clone's clone", "clone")


def deleted_parents(world):
    """A clone of a deleted clone of a deleted image."""
    image(world)
    world.volumes.clone("volume", world.uri("image"))
    world.volumes.create_cloned_volume("clone", "volume")
    world.images.delete(world.uri("image"), in_use="defer")
    world.volumes.delete("volume")


def litter(world):
    """What crashes leave: a deleted volume without clones, unfinished things, a snapshot."""
    images_pool, volumes_pool = world.pools
    world.add_volume("volume-1")
    world.volumes.create_cloned_volume("volume-2", "volume-1")
    world.volumes.delete("volume-1")
    volumes_pool.remove("volume-2")
    images_pool.create(spec.draft_name("image"), SIZE)
    volumes_pool.create(spec.draft_name("new"), SIZE)
    world.add_volume("kept")
    with volumes_pool.open("kept", read_only=False) as kept:
        kept.create_snap(spec.new_clone_snap())


def by_three_at_once(world, source):
    """Clone a volume thrice, in threads that share a snapshot; each ends on its own.

    When it is repeated, those that were done are not.
    """
    errors = []

    def clone(name):
        try:
            world.volumes.create_cloned_volume(name, source)
            world.done.add(name)
        except BaseException as error:
            errors.append(error)

    names = {"new-1", "new-2", "new-3"} - world.done
    threads = [threading.Thread(target=clone, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.failed = len(errors)
    if errors:
        # Those who shared a failure have copies of it.
        raise errors[0].__cause__ or errors[0]


# Backups


def backed_up(world):
    """A volume with data of three objects, written since it was backed up."""
    volume(world)
    world.backups.create(world.volumes, "volume", "full")
    world.write("volume", pattern("written later", 8 * KiB))


def backed_up_thrice(world):
    """A full backup and two increments."""
    backed_up(world)
    for backup_id in ("first", "second"):
        world.backups.create(world.volumes, "volume", backup_id)
        world.write("volume", pattern(backup_id, 8 * KiB))


@case(volume, makes=True, chunk_size=CHUNK)
def _back_up(world):
    world.backups.create(world.volumes, "volume", "full")


@case(snapshot, makes=True, chunk_size=CHUNK)
def _back_up_a_snapshot(world):
    world.backups.create(world.volumes, "volume", "full", snapshot="snapshot")


@case(backed_up, makes=True, chunk_size=CHUNK)
def _back_up_what_changed(world):
    world.backups.create(world.volumes, "volume", "first")


@case(backed_up, makes=True, chunk_size=CHUNK)
def _restore(world):
    world.backups.restore("full", world.volumes, "new")


@case(backed_up, chunk_size=CHUNK)
def _restore_in_place(world):
    world.backups.restore("full", world.volumes, "volume")


@case(backed_up, chunk_size=CHUNK)
def _delete_the_only_backup(world):
    world.backups.delete("full")


@case(backed_up_thrice, chunk_size=CHUNK)
def _delete_a_full_backup_with_increments(world):
    world.backups.delete("full")


@case(backed_up_thrice, chunk_size=CHUNK)
def _delete_an_increment_with_increments(world):
    world.backups.delete("first")


@case(backed_up_thrice, chunk_size=CHUNK)
def _delete_the_last_increment(world):
    world.backups.delete("second")


# Images


@case(nothing, makes=True)
def _add_image(world):
    world.add_image("image")


@case(nothing, makes=True)
def _add_image_of_unknown_size(world):
    world.images.add("image", pattern("image"))


@case(image)
def _delete_image(world):
    world.images.delete(world.uri("image"))


@case(image_with_clones)
def _delete_image_with_clones_later(world):
    world.images.delete(world.uri("image"), in_use="defer")


@case(image_with_clones)
def _delete_image_flattening_its_clones(world):
    world.images.delete(world.uri("image"), in_use="flatten")


# Volumes


@case(nothing, makes=True)
def _create_volume(world):
    world.volumes.create("new", SIZE)


@case(image, makes=True)
def _clone_image(world):
    world.volumes.clone("new", world.uri("image"), 2 * SIZE)


@case(image, makes=True)
def _create_from_image_by_clone(world):
    tried = [world.uri("nowhere"), world.uri("image")]
    world.volumes.create_from_image("new", tried, 2 * SIZE, disk_format="raw")


@case(nothing, makes=True)
def _create_from_image_by_copy(world):
    world.volumes.create_from_image(
        "new", [], 2 * SIZE, disk_format="raw", open_image=lambda: iter([pattern("image")])
    )


@case(nothing, makes=True, costly=True)
def _create_from_image_by_conversion(world):
    world.volumes.create_from_image("new", [], 2 * SIZE, disk_format="qcow2", open_image=qcow2)


@case(snapshot, makes=True)
def _create_from_snapshot(world):
    world.volumes.create_from_snapshot("new", "volume", "snapshot", 2 * SIZE)


@case(snapshot, makes=True, flatten_volume_from_snapshot=True)
def _create_from_snapshot_flattened(world):
    world.volumes.create_from_snapshot("new", "volume", "snapshot")


@case(volume, makes=True)
def _clone_volume(world):
    world.volumes.create_cloned_volume("new", "volume", 2 * SIZE)


@case(deep, makes=True, max_clone_depth=2, flatten_target="source")
def _clone_volume_flattening_it(world):
    world.volumes.create_cloned_volume("new", "clone's clone")


@case(deep, makes=True, max_clone_depth=2, flatten_target="destination")
def _clone_volume_flattening_the_clone(world):
    world.volumes.create_cloned_volume("new", "clone's clone")


@case(volume, makes=True, max_clone_depth=0)
def _copy_volume(world):
    world.volumes.create_cloned_volume("new", "volume", 2 * SIZE)


@case(volume, makes=True, partly=True)
def _clone_volume_thrice(world):
    world.volumes.create_cloned_volumes(["new-1", "new-2", "new-3"], "volume")


@case(volume, makes=True, partly=True, clone_gather_time=0.1)
def _clone_volume_by_three_at_once(world):
    by_three_at_once(world, "volume")


@case(deep, makes=True, partly=True, clone_gather_time=0.1, max_clone_depth=2)
def _clone_volume_by_three_flattening_it(world):
    by_three_at_once(world, "clone's clone")


@case(volume_with_clone)
def _rename_volume(world):
    world.volumes.rename("volume", "a new name")


@case(volume)
def _delete_volume(world):
    world.volumes.delete("volume")


@case(volume_with_clone)
def _delete_volume_with_clone(world):
    world.volumes.delete("volume")


@case(volume_with_clone)
def _delete_clone(world):
    world.volumes.delete("clone")


@case(deleted_parents)
def _delete_last_clone_of_deleted_ones(world):
    world.volumes.delete("clone")


@case(volume, enable_deferred_deletion=True)
def _delete_volume_later(world):
    world.volumes.delete("volume")
    world.volumes.purge_deleted()


@case(deleted_parents, enable_deferred_deletion=True)
def _delete_last_clone_of_deleted_ones_later(world):
    world.volumes.delete("clone")
    world.volumes.purge_deleted()


@case(deep)
def _flatten_volume(world):
    world.volumes.flatten("clone's clone")


@case(deep, only_killed=True, flatten_mode="task")
def _flatten_volume_by_a_task(world):
    world.volumes.flatten("clone's clone")


@case(deleted_parents)
def _flatten_last_clone_of_deleted_ones(world):
    world.volumes.flatten("clone")


@case(volume)
def _extend_volume(world):
    world.volumes.extend("volume", 2 * SIZE)


# Images from volumes


@case(written_clone, makes=True)
def _export_volume(world):
    world.volumes.copy_to_image("volume", world.images, "exported")


@case(written_clone, makes=True)
def _export_volume_within_the_cluster(world):
    world.volumes.copy_to_image(
        "volume", world.images, "exported", method="cow", hashing_algo="sha256"
    )


@case(written_clone, makes=True, only_killed=True)
def _export_volume_within_the_cluster_by_a_task(world):
    world.volumes.copy_to_image("volume", world.images, "exported", method="cow", flatten="task")


@case(written_clone, makes=True)
def _export_volume_by_a_copy(world):
    world.volumes.copy_to_image("volume", world.images, "exported", method="copy")


# Snapshots


@case(volume, makes=True)
def _create_snapshot(world):
    world.volumes.create_snapshot("volume", "snapshot")


@case(snapshot)
def _delete_snapshot(world):
    world.volumes.delete_snapshot("volume", "snapshot")


@case(snapshot_with_clone)
def _delete_snapshot_with_clone(world):
    world.volumes.delete_snapshot("volume", "snapshot")


@case(deleted_snapshot)
def _delete_clone_of_deleted_snapshot(world):
    world.volumes.delete("clone")


@case(snapshot)
def _revert_to_snapshot(world):
    world.volumes.revert_to_snapshot("volume", "snapshot")


@case(snapshot)
def _rename_snapshot(world):
    world.volumes.rename_snapshot("volume", "snapshot", "renamed")


# The trash


# A deleted parent of clones of format 1 has another name, and is in no trash.
@case(deleted_volume_with_clone, makes=True, formats=(2,))
def _restore_from_the_trash(world):
    world.trash.restore("volume")


# What passes between pools


# A reader that was cut off leaves a lease on what nobody asks for again: it is gc's.
@case(volume, only_killed=True)
def _read_volume(world):
    with world.volumes.reading("volume") as data:
        assert b"".join(data) == pattern("volume")


@case(volume, makes=True, only_killed=True)
def _copy_volume_from_a_pool(world):
    world.volumes.copy_from(world.volumes, "volume", "new")


# What is left of others


@case(litter, only_killed=True)
def _collect(world):
    world.collect()


EVERY_CASE = [*CASES, *KILLED_CASES]
