# SPDX-License-Identifier: Apache-2.0
"""Removal: all checks before anything is changed, and a fresh look after a wait."""

import contextlib
import threading
import time

import memory
import pytest
import scenes
from rbdstore_memory.driver import MemoryCluster
from rbdstore_memory.image import MemoryImage
from rbdstore_memory.pool import MemoryPool
from scenes import SECONDS, noted

from rbdstore import exceptions, leases, lineage, records, spec
from rbdstore.names import removal
from rbdstore.names.claims import Claim
from rbdstore.testing import faults

WAIT = 10
MiB = 1 << 20


class OldCluster(MemoryCluster):
    """One that knows clones of format 1 only."""

    clone_format = 1


@pytest.fixture(params=[2, 1])
def cluster(request):
    made = memory.memory_cluster(pools=["volumes", "images"])
    return made if request.param == 2 else OldCluster(made._state, made.features)


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch):
    monkeypatch.setattr(removal, "_POLL_SECONDS", 0.02)


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


@pytest.fixture
def volumes(cluster):
    return memory.memory_store(cluster, pool="volumes", lease_seconds=SECONDS).volumes


@pytest.fixture
def images(cluster):
    return memory.memory_store(cluster, pool="images", lease_seconds=SECONDS).images


@contextlib.contextmanager
def opened(pool, name="volume", then=lambda image: None):
    """Somebody has an image open, does something, and closes it a little later."""
    image = pool.open(name, read_only=False)

    def end():
        time.sleep(0.1)
        then(image)
        image.close()

    ending = threading.Thread(target=end)
    ending.start()
    yield
    ending.join()


# The checks


def test_nobody_has_it_open(pool):
    scenes.make(pool, "volume")
    with pool.open("volume") as image, pool.open("volume"):
        removal.check_unwatched(image, 0)


@pytest.mark.parametrize("wait", [0, 0.1, -1])
def test_somebody_has_it_open(pool, wait):
    scenes.make(pool, "volume")
    with pool.open("volume") as image, pool.open("volume", read_only=False):
        with pytest.raises(exceptions.InUse, match="detach it there") as caught:
            removal.check_unwatched(image, wait)
        assert list(caught.value.watchers) == image.watchers()
        assert caught.value.spec == image.spec


def test_somebody_has_it_open_for_a_while(pool):
    scenes.make(pool, "volume")
    with pool.open("volume") as image, opened(pool):
        removal.check_unwatched(image, WAIT)
        assert image.watchers() == []


@pytest.mark.parametrize("wait", [0, 0.1])
def test_nobody_can_be_cut_off(pool, wait):
    """Who waits for it is asked to wait first."""
    scenes.make(pool, "volume")
    with pool.open("volume") as image, pool.open("volume", read_only=False):
        with pytest.raises(exceptions.NotSupported, match="cannot cut other clients off"):
            removal.check_unwatched(image, wait, fence=True)
        assert len(image.watchers()) == 1
    with pool.open("volume") as image:
        removal.check_unwatched(image, wait, fence=True)


def test_snapshots_that_are_not_ours(pool):
    scenes.make(pool, "volume")
    for snap in ("rbdstore.clone.1", "one", "two"):
        scenes.snapshot(pool, "volume", snap)
    with pool.open("volume") as image:
        with pytest.raises(exceptions.InUse, match="has snapshots one, two") as caught:
            removal.check_no_snaps(image, lambda name: name.startswith("rbdstore."))
        assert caught.value.snapshots == ("one", "two")
        removal.check_no_snaps(image, lambda name: True)


# Refusals change nothing


def with_snapshot(volumes, images):
    volumes.create_snapshot("volume", "snapshot")


def with_snapshot_and_clone(volumes, images):
    with_snapshot(volumes, images)
    volumes.create_from_snapshot("clone", "volume", "snapshot")


@pytest.mark.parametrize("prepare", [with_snapshot, with_snapshot_and_clone])
def test_a_volume_with_snapshots_is_unchanged(cluster, pool, volumes, images, prepare):
    """And it is refused before its users are waited for."""
    volumes.create("volume", MiB)
    prepare(volumes, images)
    before = scenes.contents(cluster)
    with pool.open("volume", read_only=False):
        with pytest.raises(exceptions.InUse, match="snapshots snapshot") as caught:
            volumes.delete("volume", wait=SECONDS)
        assert caught.value.watchers == ()
    assert scenes.contents(cluster) == before


def test_a_volume_that_is_open_is_unchanged(cluster, pool, volumes):
    volumes.create("volume", MiB)
    volumes.create_cloned_volume("clone", "volume")
    before = scenes.contents(cluster)
    with pool.open("volume", read_only=False):
        with pytest.raises(exceptions.InUse, match="opened by"):
            volumes.delete("volume", wait=SECONDS)
        assert scenes.contents(cluster) == before


def test_an_image_with_clones_is_unchanged(cluster, volumes, images):
    uri = images.add("image", b"data").uri
    volumes.clone("volume", uri)
    before = scenes.contents(cluster)
    with pytest.raises(exceptions.InUse, match="cloned by volumes/volume"):
        images.delete(uri)
    assert scenes.contents(cluster) == before


def test_a_volume_whose_clones_cannot_be_listed_is_unchanged(cluster):
    """There may be some in pools that this user may not look into."""
    plan = faults.Plan()
    volumes = memory.memory_store(
        faults.FaultyCluster(cluster, plan), pool="volumes", lease_seconds=SECONDS
    ).volumes
    volumes.create("volume", MiB)
    volumes.create_cloned_volume("clone", "volume")
    volumes.create("rehearsal", MiB)
    volumes.create_cloned_volume("rehearsed", "rehearsal")
    plan.watch()
    volumes.delete("rehearsal")
    number = plan.stop().index("Image.children") + 1
    before = scenes.contents(cluster)
    plan.fail(number, exceptions.PermissionDenied("injected"))
    with pytest.raises(exceptions.PermissionDenied):
        volumes.delete("volume")
    plan.stop()
    assert scenes.contents(cluster) == before


# A wait, and what came of it


def test_a_volume_that_is_closed_in_time(cluster, pool, volumes):
    volumes.create("volume", MiB)
    with opened(pool):
        volumes.delete("volume", wait=WAIT)
    assert scenes.contents(cluster) == {}


def test_who_removes_what_a_clone_needed_is_waited_for(cluster, pool, volumes):
    """As long as it takes, for he is one of us, and knows that he has it open."""
    volumes.create("volume", MiB)
    lease = leases.acquire(pool, spec.reclaim_lease(pool.id_of("volume")), SECONDS, wait=0)
    at_work = pool.open("volume", read_only=False)

    def end():
        time.sleep(0.2)
        at_work.close()
        lease.release()

    ending = threading.Thread(target=end)
    ending.start()
    volumes.delete("volume")
    ending.join()
    assert scenes.contents(cluster) == {}


def test_a_volume_that_got_a_snapshot_before_it_was_closed(pool, volumes):
    volumes.create("volume", MiB)
    refused = pytest.raises(exceptions.InUse, match="snapshots snapshot")
    with opened(pool, then=lambda image: image.create_snap("snapshot")), refused:
        volumes.delete("volume", wait=WAIT)
    assert volumes.get("volume").snapshots == ("snapshot",)


def test_a_volume_that_was_cloned_before_it_was_closed(cluster, pool, volumes):
    volumes.create("volume", MiB)
    data = b"written at last"

    def write_and_clone(image):
        image.write(0, data)
        volumes.create_cloned_volume("clone", "volume")

    with opened(pool, then=write_and_clone):
        volumes.delete("volume", wait=WAIT)
    assert [volume.name for volume in volumes.list()] == ["clone"]
    assert scenes.read(pool, "clone").startswith(data)
    volumes.delete("clone")
    assert scenes.contents(cluster) == {}


# The deletion


def delete(pool, name="volume", meanwhile=lambda: None):
    """Take a name away, with all that its holder does."""
    with Claim(pool, name, ["delete"], SECONDS, effect="remove") as claim:
        image = pool.open(name)
        clones = lineage.children(image)
        meanwhile()
        removal.take_name_away(claim, image, clones)


def test_what_nothing_needs_is_gone(cluster, pool):
    scenes.make(pool, "volume", b"data")
    scenes.snapshot(pool, "volume", "rbdstore.clone.1")
    delete(pool)
    assert scenes.contents(cluster) == {}


def test_what_clones_need_is_kept_for_them(cluster, pool, volumes):
    volumes.create("volume", MiB)
    volumes.create_cloned_volume("clone", "volume")
    with pool.open("volume") as image:
        image_id = image.id
    delete(pool)
    if cluster.clone_format == 2:
        assert scenes.trash(pool) == ["volume"]
        assert records.is_deleted(pool, image_id)
    else:
        assert "volume.deleted" in pool.list_images()
    assert [volume.name for volume in volumes.list()] == ["clone"]
    volumes.delete("clone")
    assert scenes.contents(cluster) == {}


def test_a_name_can_be_used_and_deleted_again_and_again(cluster, pool, volumes):
    """While the clones of each that had it live on."""
    for number in range(3):
        volumes.create("volume", MiB)
        with pool.open("volume", read_only=False) as image:
            image.write(0, b"%d" % number)
        volumes.create_cloned_volume(f"clone-{number}", "volume")
        volumes.delete("volume")
    assert [scenes.read(pool, f"clone-{number}")[:1] for number in range(3)] == [b"0", b"1", b"2"]
    for number in range(3):
        volumes.delete(f"clone-{number}")
    assert scenes.contents(cluster) == {}


def test_the_last_clone_goes_after_the_clones_were_listed(cluster, pool, volumes):
    volumes.create("volume", MiB)
    volumes.create_cloned_volume("clone", "volume")
    delete(pool, meanwhile=lambda: volumes.delete("clone"))
    assert scenes.contents(cluster) == {}


def test_the_first_clone_comes_after_the_clones_were_listed(cluster, pool, volumes):
    volumes.create("volume", MiB)
    delete(pool, meanwhile=lambda: volumes.create_cloned_volume("clone", "volume"))
    assert [volume.name for volume in volumes.list()] == ["clone"]
    volumes.delete("clone")
    assert scenes.contents(cluster) == {}


def test_a_users_snapshot_comes_after_the_snapshots_were_listed(cluster, pool, volumes):
    volumes.create("volume", MiB)
    with pytest.raises(exceptions.InUse, match="snapshots snapshot"):
        delete(pool, meanwhile=lambda: volumes.create_snapshot("volume", "snapshot"))
    assert volumes.get("volume").snapshots == ("snapshot",)
    volumes.delete_snapshot("volume", "snapshot")
    volumes.delete("volume")
    assert scenes.contents(cluster) == {}


@pytest.mark.parametrize("name_is_taken", [False, True])
def test_a_volume_is_deleted_before_a_snapshot_of_it_is_made(
    cluster, pool, volumes, monkeypatch, name_is_taken
):
    """By one who had opened it by then, and is not told of a snapshot that nobody can reach."""
    volumes.create("volume", MiB)
    volumes.create_cloned_volume("clone", "volume")

    def create_late(image, name):
        monkeypatch.undo()
        delete(pool)
        if name_is_taken:
            volumes.create("volume", 2 * MiB)
        image.create_snap(name)

    monkeypatch.setattr(MemoryImage, "create_snap", create_late)
    with pytest.raises(exceptions.ImageNotFound):
        volumes.create_snapshot("volume", "snapshot")
    volumes.delete("clone")
    assert [volume.size for volume in volumes.list()] == [2 * MiB] * name_is_taken
    volumes.delete("volume")
    assert scenes.contents(cluster) == {}


class RacingPool(MemoryPool):
    """Another client gives the name to another image just before it is taken away."""

    def trash_move(self, name, *, delay=0):
        self.rename(name, "renamed")
        self.rename("other", name)
        super().trash_move(name, delay=delay)


def test_another_image_went_to_the_trash(pool):
    scenes.make(pool, "volume", b"data")
    scenes.make(pool, "other", b"other data")
    with pytest.raises(exceptions.ClusterError, match="`rbd trash restore` brings it back"):
        delete(RacingPool(pool.cluster, pool._found))
    # It is there yet, and what was to be deleted is somebody's.
    (entry,) = pool.trash_list()
    assert scenes.read(pool, image_id=entry.image_id) == b"other data"
    assert pool.list_images() == ["renamed"]
    with pool.open("renamed") as image:
        assert not records.is_deleted(pool, image.id)
        assert image.read(0, 4) == b"data"


def test_what_is_still_open_goes_later(cluster, pool):
    scenes.make(pool, "volume", b"data")
    with pool.open("volume", read_only=False):
        delete(pool)
        assert pool.list_images() == []
        assert noted(pool).deleted
    delete_again = Claim(pool, "volume", ["delete"], SECONDS, effect="remove")
    with delete_again:
        assert delete_again.adopted
    assert scenes.contents(cluster) == {}


# Debris


def clear(pool):
    with Claim(pool, "volume", ["delete"], SECONDS, effect="remove") as claim:
        return removal.clear_debris(claim)


def test_a_name_that_nothing_has(cluster, pool):
    assert not clear(pool)
    assert scenes.contents(cluster) == {}


def test_a_name_that_cannot_be_opened_though_it_is_there(pool, volumes):
    """As a child whose parent is gone: there may be data in it."""
    with pool.cluster.locked():
        pool._found.names["volume"] = "an id of nothing"
    for delete in (clear, lambda pool: volumes.delete("volume")):
        with pytest.raises(exceptions.ClusterError, match="its parent is missing; nothing was"):
            delete(pool)
        assert pool.list_images() == ["volume"]


class DebrisPool(MemoryPool):
    """Knows of a name that is taken by something without data."""

    debris = frozenset({"volume"})

    def clear_debris(self, name):
        found = name in self.debris
        self.debris = self.debris - {name}
        return found


def test_a_name_that_debris_has(pool):
    littered = DebrisPool(pool.cluster, pool._found)
    assert clear(littered)
    assert not clear(littered)
