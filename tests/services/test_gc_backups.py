# SPDX-License-Identifier: Apache-2.0
"""What killed backups leave is found and reclaimed; of what may be a backup nothing is."""

import uuid

import killed
import pytest
import racers
import samples

from rbdstore import spec
from rbdstore.backup import source_snaps

MiB = samples.MiB
SIZE = 8 * MiB


@pytest.fixture
def source(volumes, raw, vault):
    """A volume with data, deleted at the end with all backups."""
    volumes.create("source", SIZE)
    raw.write("volumes", "source", samples.pattern("source", MiB), MiB)
    yield "source"
    for backup in reversed(vault.backups.list()):
        vault.backups.delete(backup.id)
    for volume in volumes.list():
        volumes.delete(volume.name)


@pytest.fixture
def vault(place):
    return place.store("backups")


@pytest.fixture
def stores(place, vault):
    """Those of the pools that backups are of, and in."""
    return place.store("volumes"), vault


@pytest.fixture
def pool(vault):
    return vault._open_pool()


def collect(stores):
    """Reclaim all that there is, by one pass over each pool."""
    found = [store.gc(apply=True) for store in stores]
    assert [each.left for each in found] == [(), ()]
    assert [store.gc(apply=True).findings for store in stores] == [(), ()]
    return {each.item: each.kind for done in found for each in done.reclaimed}


def left(store):
    """Why each thing is left alone; nothing else is found."""
    done = store.gc(apply=True)
    assert done.reclaimed == ()
    return {each.item: each.reason for each in done.left}


def watchers(pool, name):
    with pool.open(name) as image:
        return image.watchers()


def bring_back(pool, backup_id, entry):
    pool.set_keys(spec.BACKUP_INDEX, {backup_id: entry})


def lose(pool, backup_id):
    """Take a backup out of the catalog behind its back; give its entry."""
    entry = pool.get_key(spec.BACKUP_INDEX, backup_id)
    pool.remove_keys(spec.BACKUP_INDEX, [backup_id])
    return entry


class TestKilled:
    @pytest.mark.parametrize(
        "call", ["Pool.create", "Image.flush", "Image.create_snap", "Pool.rename"]
    )
    def test_a_full_backup(self, place, volumes, vault, stores, raw, source, call):
        killed.at(place, "backups", "backups.create", killed.VOLUMES, source, "b1", before=call)
        reclaimed = collect(stores)
        assert reclaimed["backups/rbdstore.lease.backup/b1"] == "journal"
        assert raw.images("backups") == []
        assert raw.snaps("volumes", source) == []
        vault.backups.create(volumes, source, "b1")
        assert vault.backups.verify("b1").sound
        assert collect(stores) == {}

    @pytest.mark.parametrize("call", ["Image.aio_write", "Image.create_snap"])
    def test_an_increment(self, place, volumes, vault, stores, raw, source, pool, call):
        base = vault.backups.create(volumes, source, "b1").base
        raw.write("volumes", source, b"changed", 1000)
        killed.at(place, "backups", "backups.create", killed.VOLUMES, source, "b2", before=call)
        # A dead client's lock lasts for as long as its watch.
        racers.until(lambda: not watchers(pool, base.image))
        assert "backups/rbdstore.lease.backup/b2" in collect(stores)
        vault.backups.create(volumes, source, "b2")
        assert vault.backups.show("b2").kind == "incremental"
        assert vault.backups.verify("b2").sound
        assert vault.backups.verify("b1").sound

    @pytest.mark.parametrize("call", ["Pool.remove_keys", "Image.remove_snap"])
    def test_a_deletion(self, place, volumes, vault, stores, raw, source, call):
        vault.backups.create(volumes, source, "b1")
        raw.write("volumes", source, b"changed", 1000)
        vault.backups.create(volumes, source, "b2")
        killed.at(place, "backups", "backups.delete", "b1", before=call)
        collect(stores)
        assert vault.backups.verify("b2").sound
        vault.backups.delete("b1")
        assert [backup.id for backup in vault.backups.list()] == ["b2"]
        assert collect(stores) == {}


class TestWithoutAJournal:
    def test_the_rest_of_an_increment(self, volumes, vault, stores, raw, source, pool):
        """One who was held up wrote it, after others had taken back what was its own."""
        made = vault.backups.create(volumes, source, "b1")
        vault.backups.create(volumes, source, "b2")
        lose(pool, "b2")
        reclaimed = collect(stores)
        assert reclaimed.pop("backups/rbdstore.backup.b2") == "backup"
        assert raw.snaps("backups", made.base.image) == [made.base.snap]
        assert len(raw.snaps("volumes", source)) == 1
        assert vault.backups.verify("b1").sound

    def test_a_manifest_without_a_head(self, volumes, vault, stores, source, pool):
        vault.backups.create(volumes, source, "b1")
        pool.set_keys(spec.backup_object("b0"), {"part/00000000": b""})
        assert collect(stores) == {"backups/rbdstore.backup.b0": "backup"}
        assert vault.backups.verify("b1").sound

    def test_an_empty_catalog(self, stores, pool):
        bring_back(pool, "b1", b"")
        lose(pool, "b1")
        assert collect(stores) == {"backups/rbdstore.backups": "backup"}

    def test_an_empty_catalog_that_somebody_is_removing(self, place, pool):
        hasty = place.store("backups", rbd_lease_seconds=1)
        bring_back(pool, "b1", b"")
        lose(pool, "b1")
        assert pool.lease(spec.BACKUP_INDEX, "another", 3600, "host-2 pid 1")
        assert "somebody is removing it" in left(hasty)["backups/rbdstore.backups"]
        pool.remove_leased(spec.BACKUP_INDEX, "another")

    def test_a_snapshot_of_a_volume(self, volumes, vault, stores, raw, source, pool):
        vault.backups.create(volumes, source, "b1")
        (needed,) = raw.snaps("volumes", source)
        gone = source_snaps.prefix(pool) + "gone"
        another_clusters = spec.source_snaps("another") + "b1"
        with volumes.pool.open(source, read_only=False) as image:
            image.create_snap(gone)
            image.create_snap(another_clusters)
        assert collect(stores) == {f"volumes/{source}@{gone}": "backup"}
        assert raw.snaps("volumes", source) == [needed, another_clusters]

    def test_a_snapshot_of_a_volume_in_use(self, place, volumes, raw, source, pool):
        hasty = place.store("volumes", rbd_lease_seconds=1)
        gone = source_snaps.prefix(pool) + "gone"
        with volumes.pool.open(source, read_only=False) as image:
            image.create_snap(gone)
        with place.held_open("volumes", source):
            assert "open for writing" in left(hasty)[f"volumes/{source}@{gone}"]

    def test_a_deleted_volume_goes_with_them(self, volumes, stores, raw, source, pool):
        name = f"volume-{uuid.uuid4()}"
        volumes.create(name, MiB)
        with volumes.pool.open(name, read_only=False) as image:
            image.create_snap(spec.source_snaps("another") + "b1")
        raw.rename("volumes", name, f"{name}.deleted")
        assert collect(stores) == {f"volumes/{name}.deleted": "deleted"}


class TestLeftAlone:
    def test_a_catalog_that_is_lost(self, volumes, vault, raw, source, pool):
        for backup_id in ("b1", "b2"):
            vault.backups.create(volumes, source, backup_id)
        entries = {backup_id: lose(pool, backup_id) for backup_id in ("b1", "b2")}
        pool.remove_object(spec.BACKUP_INDEX)
        reasons = left(vault)
        assert set(reasons) == {f"backups/rbdstore.backup.{each}" for each in entries}
        assert all("whole but not in the catalog" in reason for reason in reasons.values())
        for each, entry in entries.items():
            bring_back(pool, each, entry)
            assert vault.backups.verify(each).sound

    def test_a_backup_whose_entry_is_lost_and_that_an_increment_needs(
        self, volumes, vault, source, pool
    ):
        for backup_id in ("b1", "b2"):
            vault.backups.create(volumes, source, backup_id)
        entry = lose(pool, "b1")
        (reason,) = left(vault).values()
        assert "b2 is an increment of it" in reason
        bring_back(pool, "b1", entry)
        assert vault.backups.verify("b2").sound

    def test_a_manifest_of_another_release(self, volumes, vault, source, pool):
        vault.backups.create(volumes, source, "b1")
        key = spec.backup_object("b0")
        pool.set_keys(key, {"head": b"from elsewhere"})
        (reason,) = left(vault).values()
        assert "cannot be used" in reason
        pool.remove_object(key)

    def test_backups_of_cinders_own(self, place, vault, raw):
        base = spec.backup_base("volume-1", "b1")
        raw.create("backups", base, data=b"data")
        raw.snap("backups", base, spec.backup_snap("b1", 1_700_000_000), protect=False)
        assert vault.gc(apply=True).findings == ()
        assert raw.read("backups", base) == b"data"
        raw.remove_snaps("backups", base)
        raw.remove("backups", base)

    def test_one_that_is_being_made(self, place, volumes, vault, source):
        hasty = (
            place.store("backups", rbd_lease_seconds=1),
            place.store("volumes", rbd_lease_seconds=1),
        )
        seen = []

        def progress(_done, _total):
            if not seen:
                seen.extend(left(store) for store in hasty)

        vault.backups.create(volumes, source, "b1", progress=progress)
        assert vault.backups.verify("b1").sound
        in_backups, in_volumes = seen
        (draft,) = [item for item in in_backups if spec.is_draft(item)]
        assert f"is at work on {source}.backup.b1" in in_backups[draft]
        assert all("at work" in reason for reason in [*in_backups.values(), *in_volumes.values()])
