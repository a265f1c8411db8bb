# SPDX-License-Identifier: Apache-2.0
"""What is left in a pool is found, told of, and reclaimed; and nothing else is touched."""

import contextlib
import itertools
import os
import threading
import time

import commands
import killed
import pytest
import samples

from rbdstore import exceptions, lineage, records, spec
from rbdstore import store as stores
from rbdstore.driver import find_snap
from rbdstore.names import claims
from rbdstore.testing import faults

MiB = samples.MiB
DATA = samples.pattern("gc", MiB)
# Names that Cinder gives.
CINDERS = [f"volume-0000000{number}-0000-4000-8000-000000000000" for number in range(10)]
HOUR = 3600


@pytest.fixture
def store(place):
    return place.store("volumes")


@pytest.fixture
def hasty(place):
    """One that does not wait for long for who has something open, or is at work."""
    return place.store("volumes", rbd_lease_seconds=1)


@pytest.fixture
def pool(store):
    return store._open_pool()


def found(collected, kind=None):
    """What became of each item."""
    return {each.item: each.outcome for each in collected.findings if kind in (None, each.kind)}


def reason(collected, item):
    (each,) = [each for each in collected.findings if each.item == item]
    return each.reason


def collect(store):
    """Reclaim everything that there is, which is what is told first, and then nothing is."""
    told = store.gc()
    assert not told.applied
    done = store.gc(apply=True)
    assert done.applied
    assert not done.left
    told = {item for item, outcome in found(told).items() if outcome == "reclaimable"}
    assert told <= {each.item for each in done.reclaimed}
    assert store.gc(apply=True).findings == ()
    return done


def clone(pool, parent, snap, name):
    """As Cinder does it: a protected snapshot, and a clone of it."""
    with pool.open(parent, read_only=False) as image:
        image.create_snap(snap)
        image.protect_snap(snap)
    pool.clone(pool, parent, snap, name)


def snaps(pool, name):
    with pool.open(name) as image:
        return [snap.name for snap in image.snaps()]


@contextlib.contextmanager
def at_work(pool, name, content=b""):
    """Have somebody hold the lease on a name, and a journal there."""
    key = spec.lease_object(name)
    assert pool.lease(key, "another", HOUR, "host-2 pid 1")
    pool.write_leased(key, "another", content)
    yield
    pool.remove_leased(key, "another")


def journal(drafts, parents):
    """What a living one has written who makes clones."""
    return claims.Journal(
        ["create_cloned_volume"], "make", drafts=drafts, parents=parents
    ).to_bytes()


class TestLeftovers:
    """What processes leave that die, or that know less."""

    def test_nothing(self, store):
        assert store.gc().findings == ()
        assert store.gc(apply=True).findings == ()

    def test_what_is_in_use_is_no_leftover(self, store, image, volumes):
        volumes.clone("volume-1", image.uri)
        volumes.create_snapshot("volume-1", "snapshot-1")
        volumes.create_from_snapshot("volume-2", "volume-1", "snapshot-1")
        volumes.create_cloned_volumes(["volume-3", "volume-4"], "volume-2")
        assert store.gc(apply=True).findings == ()
        for name in ("volume-3", "volume-4", "volume-2"):
            volumes.delete(name)
        volumes.delete_snapshot("volume-1", "snapshot-1")
        volumes.delete("volume-1")

    def test_a_killed_upload(self, place):
        killed.at(
            place,
            "images",
            "images.add",
            "image-1",
            killed.data(DATA[: 64 * 128]),
            before="Pool.rename",
        )
        store = place.store("images")
        assert not store.images.list()
        done = collect(store)
        assert "images/rbdstore.lease.image-1" in found(done, "journal")
        ((name, outcome),) = found(done, "draft").items()
        assert spec.made_as(name) == "images/image-1"
        assert outcome == "reclaimed"

    def test_a_killed_clone(self, place, store, volumes, raw):
        raw.create("volumes", "volume-1", data=DATA)
        killed.at(
            place,
            "volumes",
            "volumes.create_cloned_volume",
            "volume-2",
            "volume-1",
            before="Pool.rename",
        )
        done = collect(store)
        assert set(found(done).values()) == {"reclaimed"}
        assert raw.snaps("volumes", "volume-1") == []
        assert raw.images("volumes") == ["volume-1"]
        volumes.create_cloned_volume("volume-2", "volume-1")
        assert raw.read("volumes", "volume-2") == DATA
        volumes.delete("volume-2")
        volumes.delete("volume-1")

    def test_a_killed_deletion(self, place, store, volumes):
        volumes.create("volume-1", MiB)
        volumes.create_cloned_volume("volume-2", "volume-1")
        killed.at(place, "volumes", "volumes.delete", "volume-2", before="Pool.trash_remove")
        volumes.delete("volume-1")
        collect(store)

    def test_a_killed_export(self, place, store, volumes, raw):
        volumes.create("volume-1", MiB)
        killed.at(
            place,
            "volumes",
            "volumes.copy_to_image",
            "volume-1",
            killed.IMAGES,
            "image-1",
            before="Pool.clone",
        )
        # The image's own journal is in the images' pool, and names the snapshot, too.
        done = collect(place.store("images"))
        assert found(done) == {"images/rbdstore.lease.image-1": "reclaimed"}
        done = collect(store)
        assert found(done) == {"volumes/rbdstore.lease.export/image-1": "reclaimed"}
        assert raw.snaps("volumes", "volume-1") == []
        volumes.delete("volume-1")

    def test_what_was_done_but_reported_as_failed(self, place, store):
        plan = faults.Plan()
        plain = place.store("volumes", rbd_lease_seconds=2)
        cut_off = stores.Store(faults.FaultyCluster(plain._cluster, plan), plain._settings)
        for _ in range(2):
            plan.watch()
            cut_off.volumes.create("volume-1", MiB)
            at = 1 + plan.stop().index("Pool.remove_leased")
            cut_off.volumes.delete("volume-1")
        # One that cannot let go of the name says so in its log.
        plan.fail(at, exceptions.Timeout("injected"), lasting=True)
        cut_off.volumes.create("volume-1", MiB)
        plan.stop()
        assert [each.kind for each in collect(store).reclaimed] == ["journal"]
        store.volumes.delete("volume-1")

    def test_an_abandoned_lease(self, store, pool):
        assert pool.lease(spec.lease_object("volume-1"), "dead", 0.01, "host-2 pid 1")
        assert list(found(collect(store)).values()) == ["reclaimed"]

    def test_a_draft_that_no_journal_knows_of(self, store, pool):
        pool.create(spec.draft_name("volume-1"), MiB)
        assert len(found(collect(store), "draft")) == 1

    @pytest.mark.parametrize(
        "snap",
        [
            spec.CLONE_SNAP_PREFIX + 32 * "0",
            spec.EXPORT_SNAP_PREFIX + "01234567.image-1",
            f"{CINDERS[9]}.clone_snap",
        ],
    )
    def test_a_snapshot_without_clones(self, store, pool, snap, volumes):
        volumes.create("volume-1", MiB)
        clone(pool, "volume-1", snap, "volume-2")
        assert store.gc(apply=True).findings == ()
        pool.remove("volume-2")
        assert found(collect(store)) == {f"volumes/volume-1@{snap}": "reclaimed"}
        volumes.delete("volume-1")

    def test_a_hidden_snapshot_whose_clone_another_client_removed(self, store, volumes, raw):
        volumes.create("volume-1", MiB)
        volumes.create_snapshot("volume-1", "snapshot-1")
        volumes.create_from_snapshot("volume-2", "volume-1", "snapshot-1")
        volumes.delete_snapshot("volume-1", "snapshot-1")
        raw.remove("volumes", "volume-2")
        done = collect(store)
        assert [each.kind for each in done.findings] == ["snapshot", "record"]
        assert raw.snaps("volumes", "volume-1") == []
        volumes.delete("volume-1")

    def test_a_chain_of_deleted_volumes(self, store, pool):
        names = CINDERS[:5]
        pool.create(names[0], MiB)
        for parent, name in itertools.pairwise(names):
            clone(pool, parent, f"{name}.clone_snap", name)
        for name in names[:-1]:
            pool.rename(name, f"{name}.deleted")
        told = found(store.gc())
        assert set(told.values()) == {"left"}
        assert "was cloned from it" in reason(store.gc(), f"volumes/{CINDERS[3]}.deleted")
        pool.rename(names[-1], f"{names[-1]}.deleted")
        assert set(found(store.gc()).values()) == {"reclaimable"}
        assert found(collect(store)) == {f"volumes/{name}.deleted": "reclaimed" for name in names}

    def test_what_was_kept_for_a_clone_that_another_client_removed(self, store, volumes, raw):
        volumes.create("volume-1", MiB)
        volumes.create_cloned_volume("volume-2", "volume-1")
        volumes.delete("volume-1")
        assert list(found(store.gc(apply=True)).values()) == ["left"]
        raw.remove("volumes", "volume-2")
        assert found(collect(store), "trash") == {"volumes/volume-1": "reclaimed"}

    def test_deferred_deletion(self, place, store):
        later = {"enable_deferred_deletion": True, "deferred_deletion_purge_interval": HOUR}
        volumes = place.volumes(**later)
        volumes.create("volume-1", MiB)
        volumes.delete("volume-1")
        assert found(collect(store)) == {"volumes/volume-1": "reclaimed"}

    def test_records(self, store, volumes, raw, pool):
        volumes.create("volume-1", MiB)
        volumes.create_cloned_volumes(["volume-2", "volume-3"], "volume-1")
        pool.remove("volume-3")
        image_id = pool.id_of("volume-1")
        records.mark_deleted(pool, image_id, "volume-1")
        key = f"volumes/rbdstore.image.{image_id}"
        assert "was to be deleted" in reason(store.gc(), f"{key}: deleted")
        assert len(found(collect(store), "record")) == 2
        assert raw.images("volumes") == ["volume-1", "volume-2"]
        raw.remove("volumes", "volume-2")
        raw.remove("volumes", "volume-1")
        assert found(collect(store)) == {key: "reclaimed"}


class TestLeftAlone:
    """What is never touched, and why."""

    @pytest.fixture(autouse=True)
    def _untouched(self, place, hasty, pool):
        """See that a pass changes nothing but what it does not have to wait for."""
        yield
        before = place.leftovers()
        assert all(each.outcome == "left" for each in hasty.gc(apply=True).findings)
        assert place.leftovers() == before
        place.clear()

    def test_what_somebody_has_open(self, place, hasty, pool):
        pool.create(f"{CINDERS[1]}.deleted", MiB)
        draft = spec.draft_name("volume-2")
        pool.create(draft, MiB)
        pool.create("volume-3", MiB)
        with pool.open("volume-3", read_only=False) as image:
            image.create_snap(spec.new_clone_snap())
        with (
            place.held_open("volumes", f"{CINDERS[1]}.deleted"),
            place.held_open("volumes", draft),
            place.held_open("volumes", "volume-3"),
        ):
            before = place.leftovers()
            done = hasty.gc(apply=True)
            assert len(done.left) == len(done.findings) == 3
            assert all("open for writing by" in each.reason for each in done.left)
            assert place.leftovers() == before
        place.clear()

    def test_users_snapshots(self, hasty, pool):
        pool.create(f"{CINDERS[1]}.deleted", MiB)
        pool.create("volume-2", MiB)
        for name in (f"{CINDERS[1]}.deleted", "volume-2"):
            with pool.open(name, read_only=False) as image:
                image.create_snap("before the upgrade")
                image.create_snap(
                    f"{CINDERS[9]}.clone_snap" if name == f"{CINDERS[1]}.deleted" else "snap"
                )
        assert "the snapshot before the upgrade" in reason(
            hasty.gc(), f"volumes/{CINDERS[1]}.deleted"
        )
        assert len(hasty.gc().findings) == 1

    def test_clones(self, hasty, pool):
        pool.create("volume-1", MiB)
        clone(pool, "volume-1", f"{CINDERS[2]}.clone_snap", "volume-2")
        pool.rename("volume-1", f"{CINDERS[1]}.deleted")
        # Of another's making, deleted as it seems, and with a live clone of its own.
        clone(pool, "volume-2", spec.new_clone_snap(), "photos")
        pool.rename("volume-2", f"{CINDERS[2]}.deleted")
        told = hasty.gc()
        assert reason(told, f"volumes/{CINDERS[1]}.deleted").startswith(
            f"volumes/{CINDERS[2]}.deleted"
        )
        assert reason(told, f"volumes/{CINDERS[2]}.deleted").startswith("volumes/photos")

    def test_names_that_are_not_known(self, hasty, pool):
        for name in (
            "photos.deleted",
            "volume-photos.deleted",
            "photos.partial",
            "rbdstore.photos",
        ):
            pool.create(name, MiB)
        with pool.open("photos.partial", read_only=False) as image:
            image.create_snap("rbdstore.photos")
            image.create_snap("photos.clone_snap")
            # Nor does it become Cinder's by being protected.
            image.create_snap("golden.clone_snap")
            image.protect_snap("golden.clone_snap")
        pool.set_keys("rbdstore.photos", {"mine": b""})
        pool.set_keys("photos", {"mine": b""})
        assert found(hasty.gc()) == {
            "volumes/photos.deleted": "left",
            "volumes/volume-photos.deleted": "left",
            "volumes/photos.partial@rbdstore.photos": "left",
            "volumes/photos.partial@photos.clone_snap": "left",
            "volumes/photos.partial@golden.clone_snap": "left",
        }

    def test_what_somebody_is_at_work_on(self, hasty, pool):
        volume = "volume-1"
        pool.create(volume, MiB)
        snap, draft = spec.new_clone_snap(), spec.draft_name("volume-2")
        with pool.open(volume, read_only=False) as image:
            image.create_snap(snap)
            link = lineage.link(image, snap)
        pool.create(draft, MiB)
        with at_work(pool, "volume-2", journal([draft], [link])):
            done = hasty.gc(apply=True)
            assert found(done) == {
                "volumes/rbdstore.lease.volume-2": "left",
                f"volumes/{volume}@{snap}": "left",
                f"volumes/{draft}": "left",
            }
            assert "host-2 pid 1 is at work" in reason(done, f"volumes/{draft}")
            # Whose journal another release has written may be at anything.
            pool.write_leased(spec.lease_object("volume-2"), "another", b"{}")
            assert "cannot be read" in reason(hasty.gc(), f"volumes/{volume}@{snap}")
        pool.remove(draft)
        with pool.open(volume, read_only=False) as image:
            image.remove_snap(find_snap(image, snap).id)

    def test_a_journal_of_another_release(self, hasty, pool):
        key = spec.lease_object("volume-1")
        assert pool.lease(key, "dead", HOUR, "host-2 pid 1")
        pool.write_leased(key, "dead", b'{"version": 99}')
        assert pool.lease(key, "dead", 0.01, "host-2 pid 1")
        time.sleep(0.1)
        assert "cannot be read by this release" in reason(hasty.gc(), f"volumes/{key}")

    def test_what_others_put_into_the_trash(self, hasty, pool, volumes):
        for name in ("theirs", "again"):
            volumes.create(name, MiB)
        volumes.create_cloned_volume("clone", "again")
        pool.trash_move("theirs")
        volumes.delete("again")
        # Brought back, and deleted by somebody else: the mark was about the first time.
        (entry,) = [entry for entry in pool.trash_list() if entry.name == "again"]
        pool.trash_restore(entry.image_id, "again")
        volumes.delete("clone")
        with pool.open("again", read_only=False) as image:
            for snap in image.snaps():
                image.remove_snap(snap.id)
        time.sleep(1.1)
        pool.trash_move("again")
        told = hasty.gc()
        for name in ("theirs", "again"):
            assert reason(told, f"volumes/{name}") == "rbdstore did not put it there"

    def test_what_is_kept_for_longer(self, place, hasty):
        later = {"enable_deferred_deletion": True, "deferred_deletion_delay": HOUR}
        volumes = place.volumes(**later)
        volumes.create("volume-1", MiB)
        volumes.delete("volume-1")
        assert reason(hasty.gc(), "volumes/volume-1").startswith("it is kept until")

    def test_what_is_younger(self, hasty, pool):
        pool.create(f"{CINDERS[1]}.deleted", MiB)
        pool.lease(spec.lease_object("volume-1"), "dead", 0.01, "host-2 pid 1")
        time.sleep(0.1)
        assert set(found(hasty.gc(older_than=HOUR)).values()) == {"left"}
        done = hasty.gc(apply=True, older_than=HOUR)
        assert set(found(done).values()) == {"left"}
        assert len(hasty.gc(apply=True).reclaimed) == 2


@pytest.mark.parametrize("older_than", [-1, float("nan"), float("inf"), "1", None, True])
def test_ages_that_are_none(store, older_than):
    with pytest.raises(exceptions.InvalidInput, match="older_than is a number of seconds"):
        store.gc(older_than=older_than)


class TestTogether:
    def test_a_second_one_is_told(self, hasty, pool):
        with at_work(pool, spec.GC_LEASE):
            with pytest.raises(exceptions.InUse, match="host-2 pid 1 is at work"):
                hasty.gc(apply=True)
            # Who only looks is in nobody's way.
            assert hasty.gc().findings == ()

    def test_a_dead_one_is_waited_for(self, store, pool):
        assert pool.lease(spec.lease_object(spec.GC_LEASE), "dead", 1, "host-2 pid 1")
        assert store.gc(apply=True).findings == ()

    def test_two_at_once(self, place, pool):
        for number in range(10):
            pool.create(f"{CINDERS[number]}.deleted", MiB)
        done = []
        each = [place.store("volumes") for _ in range(2)]
        threads = [
            threading.Thread(target=lambda store=store: done.append(store.gc(apply=True)))
            for store in each
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(len(collected.reclaimed) for collected in done) == 10
        assert not any(collected.left for collected in done)

    def test_beside_those_who_work(self, place, store, image):
        """No live one's things are taken for a dead one's."""
        ended = threading.Event()
        errors = []

        def work(number):
            volumes = place.volumes()
            try:
                for turn in range(3):
                    name = f"volume-{number}-{turn}"
                    volumes.clone(name, image.uri)
                    volumes.create_snapshot(name, "s")
                    volumes.create_from_snapshot(f"{name}-a", name, "s")
                    volumes.create_cloned_volumes([f"{name}-b", f"{name}-c"], name)
                    volumes.delete_snapshot(name, "s")
                    volumes.delete(name)
                    for letter in "abc":
                        with volumes._pool.open(f"{name}-{letter}") as opened:
                            assert opened.read(0, MiB) == samples.pattern("image", 9 * MiB)[:MiB]
                        volumes.delete(f"{name}-{letter}")
            except BaseException as error:
                errors.append(error)

        def sweep():
            try:
                while not ended.is_set():
                    assert not [
                        each
                        for each in place.store("volumes", rbd_lease_seconds=1)
                        .gc(apply=True)
                        .reclaimed
                        if each.kind not in ("trash", "snapshot", "record")
                    ]
            except BaseException as error:
                errors.append(error)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        sweeper = threading.Thread(target=sweep)
        for thread in (*workers, sweeper):
            thread.start()
        for thread in workers:
            thread.join()
        ended.set()
        sweeper.join()
        assert errors == []
        assert not store.gc(apply=True).left


class TestCutOff:
    """It is killed itself, and the next one does the rest."""

    def scene(self, pool):
        """One of each kind that a pass comes to in its own way."""
        pool.create("volume-1", MiB)
        clone(pool, "volume-1", f"{CINDERS[2]}.clone_snap", "volume-2")
        for number in (1, 2):
            pool.rename(f"volume-{number}", f"{CINDERS[number]}.deleted")
        pool.create(spec.draft_name("volume-3"), MiB)
        pool.lease(spec.lease_object("volume-4"), "dead", 0.01, "host-2 pid 1")
        records.mark_deleted(pool, "abcdef", "volume-5")

    def test_before_any_call(self, place, pool):
        plan = faults.Plan()
        plain = place.store("volumes", rbd_lease_seconds=1)
        cut_off = stores.Store(faults.FaultyCluster(plain._cluster, plan), plain._settings)
        self.scene(pool)
        time.sleep(0.1)
        plan.watch()
        assert not cut_off.gc(apply=True).left
        calls = len(plan.stop())
        assert place.leftovers() == []
        points = range(1, calls)
        if not os.environ.get("RBDSTORE_ALL_FAULTS"):
            points = range(1, calls, max(1, calls // 4))
        print(f"{len(points)} of {calls} points")
        for point in points:
            self.scene(pool)
            plan.fail(point, exceptions.Unreachable("killed"), lasting=True)
            with contextlib.suppress(exceptions.RbdStoreError):
                cut_off.gc(apply=True)
            plan.stop()
            assert not plain.gc(apply=True).left, point
            assert place.leftovers() == [], point


class TestCommand:
    @pytest.fixture
    def shell(self, place, tmp_path):
        return commands.Shell(place, tmp_path / "rbdstore.conf")

    def rows(self, shell):
        """Without those of pools that the user may not look into."""
        return [row for row in shell.json("gc") if row["kind"] != "pool"]

    def test_a_dry_run_and_a_wet_one(self, shell, pool):
        pool.create(f"{CINDERS[1]}.deleted", MiB)
        (row,) = self.rows(shell)
        assert row == {
            "item": f"volumes/{CINDERS[1]}.deleted",
            "kind": "deleted",
            "bytes": 0,
            "outcome": "reclaimable",
            "reason": "it was deleted, and no clone needs it any more",
        }
        shown = shell.ok("gc")
        assert f"volumes/{CINDERS[1]}.deleted" in shown
        assert "reclaimable" in shown
        assert '"left"' in shell.ok("gc", "--older-than", "1h", "--json")
        assert "reclaimed" in shell.ok("gc", "--apply")
        assert self.rows(shell) == []

    def test_ages_that_are_none(self, shell):
        assert "no age" in shell.run("gc", "--older-than", "soon").err
