# SPDX-License-Identifier: Apache-2.0
"""Reclaiming that is cut off at any call of the driver, and repeated."""

import concurrent.futures

import memory
import pytest
import scenes
from rbdstore_memory.image import MemoryImage

from rbdstore import exceptions, reclaim, spec
from rbdstore.testing import faults

SECONDS = 1.5
SNAP = "rbdstore.clone.1"
DRAFT = "volume.1.partial"


class Interrupt(BaseException):
    """As Ctrl-C is: no error that anybody should handle."""


class World:
    """Two pools, seen through drivers that can be made to fail."""

    def __init__(self):
        self.cluster = memory.memory_cluster(pools=["volumes", "images"])
        self.plan = faults.Plan()
        self.pool = faults.FaultyCluster(self.cluster, self.plan).open_pool("volumes")
        images, volumes = (self.cluster.open_pool(name) for name in ("images", "volumes"))
        # A draft of a deleted volume, itself a clone of a deleted image.
        scenes.make(images, "image", b"data")
        links = [scenes.snapshot(images, "image", SNAP)]
        scenes.clone(volumes, links[0], "old")
        links.append(scenes.snapshot(volumes, "old", "volume.clone_snap"))
        with volumes.open("old", read_only=False) as old:
            old.protect_snap("volume.clone_snap")
        self.draft_id = scenes.clone(volumes, links[1], DRAFT)
        scenes.snapshot(volumes, DRAFT, "snap")
        self.link = links[1]
        # What is in the journal.
        self.parents = []
        scenes.delete(images, "image")
        scenes.delete(volumes, "old")

    def remember(self, parents):
        self.parents += parents

    def unused_snaps(self):
        """As a claim does with what its journal names."""
        for link in list(self.parents):
            reclaim.unused_snap(self.pool, link, SECONDS, self.remember)


def remove_draft(world):
    reclaim.draft(world.pool, DRAFT, SECONDS, world.remember)
    world.unused_snaps()


def purge(world):
    reclaim.purge(world.pool, world.draft_id, SECONDS, world.remember)
    world.unused_snaps()


def purge_renamed(world):
    """Under clone format 1 a deleted volume has a name, which says so."""
    if DRAFT in world.cluster.open_pool("volumes").list_images():
        world.cluster.open_pool("volumes").rename(DRAFT, "volume.deleted")
    purge(world)


def purge_trashed(world):
    pool = world.cluster.open_pool("volumes")
    if DRAFT in pool.list_images():
        scenes.delete(pool, DRAFT)
    purge(world)


def take_back(world):
    """The clone is gone; only what it was cloned from is left."""
    pool = world.cluster.open_pool("volumes")
    if DRAFT in pool.list_images():
        with pool.open(DRAFT, read_only=False) as image:
            image.remove_snap(image.snaps()[0].id)
        pool.remove(DRAFT)
        world.parents.append(world.link)
    for link in list(world.parents):
        reclaim.unused_snap(world.pool, link, SECONDS, world.remember, freed_by=world.draft_id)


WAYS = [remove_draft, purge_renamed, purge_trashed, take_back]


def calls_of(way):
    world = World()
    world.plan.watch()
    way(world)
    assert scenes.contents(world.cluster) == {}
    return dict(enumerate(world.plan.stop(), 1))


def left_after(calls, try_one):
    """What is left in the worlds in which ``try_one`` was cut off, by the call where it was.

    Many at once, for what takes time is to wait until the leases of the interrupted run out.
    """

    def contents_after(number):
        world = World()
        try_one(world, number)
        return scenes.contents(world.cluster)

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        found = zip(calls.items(), threads.map(contents_after, calls), strict=True)
        return {call: left for call, left in found if left}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [exceptions.Timeout, Interrupt])
@pytest.mark.parametrize("way", WAYS)
def test_cut_off_anywhere_and_repeated(way, error, after):
    def try_one(world, number):
        world.plan.fail(number, error("injected"), after=after)
        try:
            way(world)
        except error:
            world.plan.stop()
            way(world)

    calls = calls_of(way)
    assert len(calls) > 40
    assert left_after(calls, try_one) == {}


@pytest.mark.parametrize("way", WAYS)
def test_an_outage_from_anywhere_on(way):
    def try_one(world, number):
        world.plan.fail(number, exceptions.Unreachable("injected"), lasting=True)
        with pytest.raises(exceptions.Unreachable):
            way(world)
        world.plan.stop()
        way(world)

    some = {number: call for number, call in calls_of(way).items() if number % 3 == 1}
    assert left_after(some, try_one) == {}


def test_a_missing_right_anywhere_is_no_error():
    """Whoever has the right does it; until then nothing is half done that could not be."""

    def try_one(world, number):
        world.plan.fail(number, exceptions.PermissionDenied("injected"))
        take_back(world)
        world.plan.stop()
        take_back(world)

    calls = calls_of(take_back)
    # Who may take a lease may remove it.
    refused = {number: call for number, call in calls.items() if call != "Pool.remove_leased"}
    assert left_after(refused, try_one) == {}


@pytest.mark.parametrize("way", WAYS)
def test_killed_in_the_flatten_of_another_clone(way, monkeypatch):
    """The other is off the list of children and needs the snap still, whatever is cut off."""
    for number in list(calls_of(way))[::4]:
        world = World()
        volumes = world.cluster.open_pool("volumes")
        entry = next(entry for entry in volumes.trash_list() if entry.name == "old")
        volumes.trash_restore(entry.image_id, "old")
        clone_id = scenes.clone(volumes, world.link, "another")
        volumes.trash_move("old")
        with monkeypatch.context() as patch:
            patch.setattr(MemoryImage, "children", lambda image, snap_id: [])
            world.plan.fail(number, exceptions.Timeout("injected"))
            try:
                way(world)
            except exceptions.Timeout:
                world.plan.stop()
                way(world)
            world.plan.stop()
        assert volumes.list_images() == ["another"]
        assert scenes.read(volumes, image_id=clone_id) == b"data"
        with volumes.open("another") as another:
            assert another.parent().image_id == entry.image_id
            assert spec.is_reserved_snap(another.parent().snap)
