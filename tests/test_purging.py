# SPDX-License-Identifier: Apache-2.0
"""Purging: what was deleted goes for good, whatever happens meanwhile, and nothing else ever."""

import contextlib
import time

import memory
import pytest
import scenes
from scenes import SECONDS

from rbdstore import exceptions, leases, records, spec
from rbdstore.names import claims
from rbdstore.settings import Settings
from rbdstore.testing import faults
from rbdstore.trash import purging
from rbdstore.trash.purging import Purged, Purging
from rbdstore.volumes import VolumeStore

MiB = 1 << 20
NOTHING = Purged((), ())


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["volumes"])


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


def volumes(cluster, delay=0):
    """Volumes whose deletion is deferred, and no thread that purges them."""
    settings = Settings(
        pool="volumes",
        lease_seconds=SECONDS,
        enable_deferred_deletion=True,
        deferred_deletion_delay=delay,
    )
    return VolumeStore(cluster.open_pool("volumes"), settings)


def purge(pool, **more):
    return Purging(pool, Settings(lease_seconds=SECONDS)).run(**more)


def kept(found):
    return {one.name: one.why for one in found.kept}


def test_a_deleted_volume_waits_in_the_trash_and_its_name_is_free(cluster, pool):
    found = volumes(cluster)
    found.create("volume", MiB)
    found.delete("volume")
    assert (pool.list_images(), scenes.trash(pool)) == ([], ["volume"])
    found.create("volume", 2 * MiB)
    assert found.purge_deleted() == Purged(("volume",), ())
    assert found.get("volume").size == 2 * MiB
    found.delete("volume")
    found.delete("volume")
    assert found.purge_deleted() == Purged(("volume",), ())
    assert found.purge_deleted() == NOTHING
    assert scenes.contents(cluster) == {}


def test_what_is_to_be_kept_for_longer_is_kept(cluster, pool):
    found = volumes(cluster, delay=3600)
    found.create("volume", MiB)
    found.delete("volume")
    began = time.monotonic()
    left = purge(pool)
    # Nobody is waited for.
    assert time.monotonic() - began < SECONDS
    assert (left.purged, kept(left)) == ((), {"volume": "too early"})
    assert "until" in left.kept[0].reason
    # A volume of the same name is none of its business.
    found.create("volume", MiB)
    assert [one.name for one in found.list()] == ["volume"]


def test_its_time_ends(cluster, pool):
    found = volumes(cluster, delay=1)
    found.create("volume", MiB)
    found.delete("volume")
    purging = Purging(pool, Settings(lease_seconds=SECONDS))
    deadline = time.monotonic() + 60
    while (now := purging.run()).kept:
        assert kept(now) == {"volume": "too early"}
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert now.purged == ("volume",)
    assert scenes.contents(cluster) == {}


def test_what_others_put_there_stays(cluster, pool):
    found = volumes(cluster)
    for name in ("operators", "volume"):
        found.create(name, MiB)
    pool.trash_move("operators")
    found.delete("volume")
    for _ in range(2):
        now = found.purge_deleted()
        assert kept(now) == {"operators": "foreign"}
    (entry,) = pool.trash_list()
    pool.trash_restore(entry.image_id, "operators")


def test_what_was_brought_back_is_not_deleted_any_more(cluster, pool):
    found = volumes(cluster, delay=3600)
    found.create("volume", MiB)
    found.delete("volume")
    purging = Purging(pool, Settings(lease_seconds=SECONDS))
    assert kept(purging.run()) == {"volume": "too early"}
    (entry,) = pool.trash_list()
    pool.trash_restore(entry.image_id, "volume")
    assert purging.run() == NOTHING
    assert not records.is_deleted(pool, entry.image_id)
    pool.trash_move("volume")
    assert kept(purging.run()) == {"volume": "foreign"}


def test_a_volume_with_clones_waits_for_the_last_of_them(cluster, pool):
    found = volumes(cluster)
    found.create("source", MiB)
    for name in ("clone-1", "clone-2"):
        found.create_cloned_volume(name, "source")
    found.create_snapshot("clone-1", "snapshot")
    found.create_from_snapshot("deep", "clone-1", "snapshot")
    found.delete_snapshot("clone-1", "snapshot")
    for name in ("source", "clone-1", "clone-2"):
        found.delete(name)
    now = purge(pool)
    assert now.purged == ("clone-2",)
    assert kept(now) == {"source": "needed", "clone-1": "needed"}
    assert found.get("deep").depth == 2
    found.delete("deep")
    now = purge(pool)
    assert sorted(now.purged) == ["clone-1", "deep", "source"]
    assert scenes.contents(cluster) == {}


def test_what_somebody_has_open_is_left_and_the_others_go(cluster, pool):
    found = volumes(cluster)
    for name in ("busy", "volume"):
        found.create(name, MiB)
    with contextlib.ExitStack() as stack:
        found.delete("busy")
        (entry,) = pool.trash_list()
        stack.enter_context(pool.open(image_id=entry.image_id, read_only=False))
        found.delete("volume")
        began = time.monotonic()
        now = purge(pool)
        assert time.monotonic() - began < SECONDS
        assert (now.purged, kept(now)) == (("volume",), {"busy": "failed"})
        assert "opened by" in now.kept[0].reason
    assert purge(pool).purged == ("busy",)
    assert scenes.contents(cluster) == {}


def test_a_snapshot_made_in_the_moment_of_the_deletion_keeps_the_volume(cluster, pool):
    plan = faults.Plan()
    found = volumes(faults.FaultyCluster(cluster, plan))
    found.create("volume", MiB)
    trash_move = type(pool).trash_move

    class Snapshotting(type(pool)):
        def trash_move(self, name, *, delay=0):
            with self.open(name, read_only=False) as image:
                image.create_snap("snapshot")
            trash_move(self, name, delay=delay)

    found._pool._pool.__class__ = Snapshotting
    with pytest.raises(exceptions.InUse) as caught:
        found.delete("volume")
    assert caught.value.snapshots == ("snapshot",)
    assert (pool.list_images(), pool.trash_list()) == (["volume"], [])


def test_one_purges_at_a_time(cluster, pool):
    found = volumes(cluster)
    found.create("volume", MiB)
    found.delete("volume")
    with leases.held(pool, spec.PURGE_LEASE, SECONDS), pytest.raises(exceptions.InUse):
        purge(pool, wait=0)
    assert purge(pool, wait=0).purged == ("volume",)


def test_a_trash_in_which_nothing_changes_costs_one_look_at_it_and_one_at_the_journal(cluster):
    plan = faults.Plan()
    watched = faults.FaultyCluster(cluster, plan)
    found = volumes(watched, delay=3600)
    for number in range(20):
        found.create(f"volume-{number}", MiB)
        found.delete(f"volume-{number}")
    purging = Purging(watched.open_pool("volumes"), Settings(lease_seconds=SECONDS))
    purging.run()
    plan.watch()
    assert len(purging.run().kept) == 20
    assert plan.stop() == ("Pool.trash_list", "Pool.read_object")


def nobody_is_alive(pool):
    """Have every lease run out, as when all who had one were killed a while ago."""
    with pool.cluster.locked():
        for found in pool._found.objects.values():
            found.until = 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("work", ["delete", "purge"])
def test_cut_off_at_any_call_it_is_finished_by_the_next_one(cluster, pool, work, after):
    """The cluster is gone from some call on, or from its answer on."""
    plan = faults.Plan()
    found = volumes(faults.FaultyCluster(cluster, plan))

    def prepare():
        found.create("source", MiB)
        found.create_cloned_volume("clone", "source")
        if work == "purge":
            delete()

    def delete():
        found.delete("source")
        found.delete("clone")

    cut_off = delete if work == "delete" else found.purge_deleted
    prepare()
    plan.watch()
    cut_off()
    calls = plan.stop()
    assert "Pool.trash_move" in calls or "Pool.trash_remove" in calls
    found.purge_deleted()
    for n in range(1, len(calls) + 1):
        prepare()
        plan.fail(n, exceptions.Unreachable("gone"), after=after, lasting=True)
        with contextlib.suppress(exceptions.Unreachable):
            cut_off()
        plan.stop()
        nobody_is_alive(pool)
        delete()
        assert purge(pool).kept == ()
        assert scenes.contents(cluster) == {}, (n, calls[n - 1])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_fails_once_is_done_by_the_next_look(cluster, pool, after):
    """Also what a removed image was the last to need, though that one is not listed any more."""
    plan = faults.Plan()
    found = volumes(faults.FaultyCluster(cluster, plan))
    found.create("source", MiB)

    def prepare():
        found.create_cloned_volume("clone", "source")
        found.delete("clone")

    prepare()
    plan.watch()
    found.purge_deleted()
    calls = plan.stop()
    for n in range(1, len(calls) + 1):
        prepare()
        plan.fail(n, exceptions.ClusterError("injected"), after=after)
        with contextlib.suppress(exceptions.ClusterError):
            found.purge_deleted()
        plan.stop()
        nobody_is_alive(pool)
        assert purge(pool).kept == ()
        with pool.open("source") as source:
            assert source.snaps() == [], (n, calls[n - 1])
    found.delete("source")
    purge(pool)
    assert scenes.contents(cluster) == {}


def test_what_was_half_way_into_the_trash_is_no_others(cluster, pool):
    """Where moving takes more than one step the image has its name still when it is listed."""
    found = volumes(cluster)
    found.create("volume", MiB)
    found.delete("volume")

    class Moving(type(pool)):
        def trash_get(self, image_id):
            return None

    look = Purging(pool, Settings(lease_seconds=SECONDS)).run
    kind, pool.__class__ = type(pool), Moving
    assert look().purged == ()
    pool.__class__ = kind
    assert look().purged == ("volume",)


def test_the_journal_does_not_grow_with_the_trash(cluster, pool, monkeypatch):
    monkeypatch.setattr(purging, "_MOST_IN_A_JOURNAL", 2)
    found = volumes(cluster)
    for number in range(20):
        found.create(f"source-{number}", MiB)
        found.create_cloned_volume(f"clone-{number}", f"source-{number}")
        found.delete(f"clone-{number}")
    longest = 0

    class Watched(type(pool)):
        def write_leased(self, key, cookie, data):
            nonlocal longest
            if key == spec.lease_object(spec.PURGE_LEASE):
                longest = max(longest, len(claims.Journal.from_bytes(data).parents))
            super().write_leased(key, cookie, data)

    pool.__class__ = Watched
    assert len(purge(pool).purged) == 20
    assert 0 < longest <= 2


def test_what_was_in_use_and_was_put_there_again_by_an_operator_is_his(cluster, pool):
    """The deletion ended while somebody had it open; then it was brought back."""
    found = VolumeStore(cluster.open_pool("volumes"), Settings(pool="volumes", lease_seconds=0.5))
    found.create("volume", MiB)

    class Opened(type(pool)):
        def trash_move(self, name, *, delay=0):
            opened.enter_context(self.open(name, read_only=False))
            super().trash_move(name, delay=delay)

    with contextlib.ExitStack() as opened:
        kind, found._pool.__class__ = type(pool), Opened
        found.delete("volume")
        found._pool.__class__ = kind
    (entry,) = pool.trash_list()
    pool.trash_restore(entry.image_id, "volume")
    time.sleep(0.01)
    pool.trash_move("volume")
    assert kept(purge(pool)) == {"volume": "foreign"}
    # Nor by who finishes that deletion.
    found.delete("volume")
    assert scenes.trash(pool) == ["volume"]


def test_what_can_never_be_removed_does_not_keep_the_others(cluster, pool):
    """Nor where one was killed at it, whose journal has it."""
    found = volumes(cluster)
    for name in ("broken", "volume"):
        found.create(name, MiB)
        found.delete(name)
    broken, _volume = pool.trash_list()

    class Broken(type(pool)):
        def trash_remove(self, image_id, *, progress=None):
            if image_id == broken.image_id:
                raise exceptions.ClusterError("the cluster failed")
            super().trash_remove(image_id, progress=progress)

    journal = claims.Journal(["purge"], "none", deleted=[broken.image_id])
    scenes.die(pool, spec.PURGE_LEASE, journal)
    kind, pool.__class__ = type(pool), Broken
    now = purge(pool)
    assert (now.purged, kept(now)) == (("volume",), {"broken": "failed"})
    pool.__class__ = kind
    assert purge(pool).purged == ("broken",)
    assert scenes.contents(cluster) == {}
