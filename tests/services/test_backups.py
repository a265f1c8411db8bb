# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes: full ones and increments, restored and verified, as client.cinder-backup."""

import collections
import dataclasses
import itertools

import pytest
import samples

from rbdstore import exceptions, parallel, spec
from rbdstore.backup import changes, making, manifests, recorded, source_snaps
from rbdstore.backup.catalog import Entry
from rbdstore.backup.digests import BLOCK
from rbdstore.driver import find_snap

MiB = samples.MiB
SIZE = 20 * MiB + 5


@pytest.fixture
def source(volumes, raw, backups):
    """A volume with data here and there, deleted at the end with all backups."""
    volumes.create("source", SIZE)
    raw.write("volumes", "source", samples.pattern("before", 6 * MiB), 3 * MiB)
    raw.write("volumes", "source", b"x" * 5, 20 * MiB)
    yield "source"
    clear(volumes, backups)


def clear(volumes, backups):
    for volume in volumes.list():
        volumes.delete(volume.name)
    # Damaged ones, too, which are not listed; increments first.
    for backup_id in ("b4", "b3", "b2", "b1", "b0"):
        backups.delete(backup_id)
    assert backups.list() == []


def discard(volumes, name, offset, length):
    with volumes.pool.open(name, read_only=False) as image:
        image.discard(offset, length)
        image.flush()


def backed_up(volumes, backups, raw, name, backup_id, **how):
    """Back up a volume; give the backup, and what it must restore to."""
    made = backups.create(volumes, name, backup_id, **how)
    return made, raw.read("volumes", name)


def check(volumes, backups, raw, backup_id, expected):
    """See that a backup is whole, and restores to a new volume."""
    verified = backups.verify(backup_id)
    assert verified.sound, verified.damage
    volumes_made = backups.restore(backup_id, volumes, "restored")
    assert volumes_made.size == len(expected)
    assert raw.read("volumes", "restored") == expected
    volumes.delete("restored")


def three(volumes, backups, raw, source):
    """A full backup and two increments: with a write and a discard; after it grew."""
    points = {}
    _, points["b1"] = backed_up(volumes, backups, raw, source, "b1")
    raw.write("volumes", source, b"written", 1000)
    discard(volumes, source, 4 * MiB, 4 * MiB)
    _, points["b2"] = backed_up(volumes, backups, raw, source, "b2")
    volumes.extend(source, 30 * MiB)
    raw.write("volumes", source, b"at the end", 30 * MiB - 10)
    _, points["b3"] = backed_up(volumes, backups, raw, source, "b3")
    return points


def test_a_full_backup(volumes, backups, raw, source):
    seen = []
    made, data = backed_up(
        volumes, backups, raw, source, "b1", progress=lambda *done: seen.append(done)
    )
    assert (made.id, made.volume, made.size, made.kind) == ("b1", source, SIZE, "full")
    # Of six objects four have data, and no more is in the backup.
    assert made.stored == 4 * raw.object_size("volumes", source)
    assert raw.data_objects("backups", "source.backup.b1") == 4
    assert seen[-1] == (12 * MiB + 5, 12 * MiB + 5)
    assert backups.show("b1") == made
    assert backups.list() == backups.list(source) == [made]
    assert backups.list("another") == []
    check(volumes, backups, raw, "b1", data)


def test_increments_restore_to_every_point(volumes, backups, raw, source):
    points = three(volumes, backups, raw, source)
    assert [(each.id, each.kind, each.parent) for each in backups.list()] == [
        ("b1", "full", None),
        ("b2", "incremental", "b1"),
        ("b3", "incremental", "b2"),
    ]
    # Two objects were written to, one of them discarded; then one.
    assert [each.stored for each in backups.list()][1:] == [8 * MiB, 4 * MiB]
    for backup_id, data in points.items():
        check(volumes, backups, raw, backup_id, data)


@pytest.mark.parametrize("gone", [*itertools.permutations(["b1", "b2", "b3"])], ids="-".join)
def test_backups_go_in_any_order_and_the_others_stay(volumes, backups, raw, source, gone):
    points = three(volumes, backups, raw, source)
    for backup_id in gone:
        backups.delete(backup_id)
        del points[backup_id]
        for other, data in points.items():
            check(volumes, backups, raw, other, data)
    assert raw.images("backups") == []
    assert raw.snaps("volumes", source) == []


def test_they_are_pruned(volumes, backups, raw, source):
    points = three(volumes, backups, raw, source)
    assert backups.prune(source, 2) == ["b1"]
    assert backups.prune(source, 2) == []
    assert backups.prune(source, 1) == ["b2"]
    check(volumes, backups, raw, "b3", points["b3"])
    assert len(raw.snaps("volumes", source)) == 1
    assert backups.prune(source, 0) == ["b3"]
    assert raw.snaps("volumes", source) == []


def test_a_users_snapshot_is_backed_up(volumes, backups, raw, source):
    volumes.create_snapshot(source, "then")
    then = raw.read("volumes", source)
    raw.write("volumes", source, b"later", 4 * MiB)
    made = backups.create(volumes, source, "b1", snapshot="then")
    assert made.source.snap == "then"
    check(volumes, backups, raw, "b1", then)
    # It is what the next increment begins at.
    made, now = backed_up(volumes, backups, raw, source, "b2")
    assert (made.kind, made.stored) == ("incremental", 4 * MiB)
    check(volumes, backups, raw, "b2", now)
    backups.delete("b1")
    assert volumes.get(source).snapshots == ("then",)
    volumes.delete_snapshot(source, "then")


def test_why_it_is_a_full_one(volumes, backups, raw, source):
    assert "first" in backups.create(volumes, source, "b1").reason
    assert backups.create(volumes, source, "b2", incremental=False).reason == ""
    for snap in raw.snaps("volumes", source):
        raw.remove_snap("volumes", source, snap)
    made = backups.create(volumes, source, "b3")
    assert made.kind == "full"
    assert "none of the snapshots" in made.reason
    assert backups.show("b3").reason == made.reason


def test_few_snapshots_are_kept_on_the_volume(place, volumes, raw, source):
    few = place.backups(backup_ceph_max_snapshots=1)
    for number in range(4):
        assert few.create(volumes, source, f"b{number}").kind == (
            "incremental" if number else "full"
        )
        (snap,) = raw.snaps("volumes", source)
        assert snap.endswith(f"b{number}")


def test_a_backup_whose_older_snapshots_cannot_be_removed(
    place, volumes, raw, source, monkeypatch, caplog
):
    few = place.backups(backup_ceph_max_snapshots=1)
    few.create(volumes, source, "b1")

    def fails(*_args, **_kwargs):
        raise exceptions.Timeout("the cluster is slow")

    with monkeypatch.context() as patched:
        patched.setattr(source_snaps, "remove", fails)
        _, data = backed_up(volumes, few, raw, source, "b2")
    assert "until the volume's next backup: the cluster is slow" in caplog.text
    assert len(raw.snaps("volumes", source)) == 2
    check(volumes, few, raw, "b2", data)
    few.create(volumes, source, "b3")
    assert len(raw.snaps("volumes", source)) == 1


@pytest.fixture
def reads(volumes, source, monkeypatch):
    """How many bytes were read of each pool, from each call to the next."""
    with volumes.pool.open(source) as image:
        kind = type(image)
    aio_read, found = kind.aio_read, collections.Counter()

    def counted(image, offset, length):
        found[image.pool.name] += length
        return aio_read(image, offset, length)

    def told():
        try:
            return dict(found)
        finally:
            found.clear()

    monkeypatch.setattr(kind, "aio_read", counted)
    return told


def test_an_increment_reads_what_has_changed(volumes, backups, raw, source, reads):
    """Blocks of the volume, and what they were before in the backup."""
    backups.create(volumes, source, "b1")
    reads()
    raw.write("volumes", source, b"x", 4 * MiB + 5)
    raw.write("volumes", source, b"yz", 7 * MiB - 1)
    # In nothing but zeros, of which nothing has to be read.
    raw.write("volumes", source, b"n", 16 * MiB)
    _, data = backed_up(volumes, backups, raw, source, "b2")
    assert reads() == {"volumes": 4 * BLOCK, "backups": 3 * BLOCK}
    check(volumes, backups, raw, "b2", data)


def test_an_increment_of_a_clone_reads_what_has_changed(volumes, backups, raw, source, reads):
    volumes.create_cloned_volume("clone", source)
    # From here on it has an object of its own there.
    raw.write("volumes", "clone", b"copied up", 4 * MiB)
    backups.create(volumes, "clone", "b1")
    reads()
    raw.write("volumes", "clone", b"x", 5 * MiB)
    _, data = backed_up(volumes, backups, raw, "clone", "b2")
    assert reads() == {"volumes": BLOCK, "backups": BLOCK}
    check(volumes, backups, raw, "b2", data)
    # Its data are gone, its parent's do not show.
    discard(volumes, "clone", 4 * MiB, 4 * MiB)
    _, data = backed_up(volumes, backups, raw, "clone", "b3")
    check(volumes, backups, raw, "b3", data)


def test_what_a_diff_has_missed_in_a_chunk_is_found_where_it_is_not_believed(
    place, volumes, raw, source, monkeypatch
):
    paranoid = place.backups(backup_trust_fast_diff=False)
    paranoid.create(volumes, source, "b1")
    for offset in (5 * MiB, 6 * MiB):
        raw.write("volumes", source, b"x", offset)
    grouped = changes._grouped

    def missing(extents, chunk_size):
        yield from grouped((each for each in extents if each.offset < 6 * MiB), chunk_size)

    monkeypatch.setattr(changes, "_grouped", missing)
    paranoid.create(volumes, source, "b2")
    assert paranoid.verify("b1").sound
    assert [damage.offset for damage in paranoid.verify("b2").damage] == [4 * MiB]


def test_every_object_is_asked_for_where_the_map_is_not_trusted(place, volumes, raw, source):
    paranoid = place.backups(backup_trust_fast_diff=False)
    points = three(volumes, paranoid, raw, source)
    for backup_id, data in points.items():
        check(volumes, paranoid, raw, backup_id, data)


def test_who_writes_to_the_image_is_not_rolled_back(place, volumes, raw, source):
    """Such as `rbd import-diff`, which makes its snapshot last."""
    hasty = place.backups(rbd_lease_seconds=1)
    points = three(volumes, hasty, raw, source)
    base = f"{source}.backup.b1"
    with place.held_open("backups", base, data=b"theirs"):
        with pytest.raises(exceptions.InUse):
            hasty.delete("b3")
        assert raw.read("backups", base)[:6] == b"theirs"
    hasty.delete("b3")
    assert raw.read("backups", base) == points["b2"]
    check(volumes, hasty, raw, "b2", points["b2"])


def test_backups_are_in_nobodys_way(volumes, backups, raw, source):
    points = three(volumes, backups, raw, source)
    assert volumes.get(source).snapshots == ()
    with pytest.raises(exceptions.InvalidName):
        volumes.delete_snapshot(source, raw.snaps("volumes", source)[0])
    volumes.create_cloned_volume("clone", source)
    volumes.delete("clone")
    volumes.delete(source)
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}
    check(volumes, backups, raw, "b2", points["b2"])


def test_a_clones_backup_has_its_parents_data(volumes, backups, raw, source):
    volumes.create_cloned_volume("clone", source)
    raw.write("volumes", "clone", b"its own", 10 * MiB)
    _, first = backed_up(volumes, backups, raw, "clone", "b1")
    discard(volumes, "clone", 3 * MiB, 2 * MiB)
    made, second = backed_up(volumes, backups, raw, "clone", "b2")
    assert made.kind == "incremental"
    check(volumes, backups, raw, "b1", first)
    check(volumes, backups, raw, "b2", second)


# Restoring to a volume that exists


def test_only_what_differs_is_written(volumes, backups, raw, source):
    points = three(volumes, backups, raw, source)
    raw.write("volumes", source, b"written since", 17 * MiB)
    seen = []
    backups.restore("b3", volumes, source, progress=lambda *done: seen.append(done))
    assert raw.read("volumes", source) == points["b3"]
    # One object, and the end.
    assert seen == [(20 * MiB, 30 * MiB), (30 * MiB, 30 * MiB)]
    backups.restore("b1", volumes, source)
    assert raw.read("volumes", source) == points["b1"].ljust(30 * MiB, b"\0")


@pytest.mark.parametrize("size", [5 * MiB + 3, SIZE, 40 * MiB])
def test_a_volume_of_any_size_is_overwritten(volumes, backups, raw, source, size):
    _, data = backed_up(volumes, backups, raw, source, "b1")
    volumes.create("other", size)
    raw.write("volumes", "other", samples.pattern("other", size))
    assert backups.restore("b1", volumes, "other").size == max(size, SIZE)
    assert raw.read("volumes", "other") == data.ljust(size, b"\0")


def test_what_is_beyond_a_backup_can_be_kept(place, volumes, raw, source):
    keeping = place.backups(restore_discard_excess_bytes=False)
    _, data = backed_up(volumes, keeping, raw, source, "b1")
    other = samples.pattern("other", 30 * MiB)
    volumes.create("other", 30 * MiB)
    raw.write("volumes", "other", other)
    keeping.restore("b1", volumes, "other")
    assert raw.read("volumes", "other") == data + other[SIZE:]


def test_a_volume_in_use_is_not_overwritten(volumes, backups, raw, place, source):
    backups.create(volumes, source, "b1")
    with place.held_open("volumes", source), pytest.raises(exceptions.InUse):
        backups.restore("b1", volumes, source)


def test_a_volume_that_went_back(volumes, backups, raw, source):
    """What was written before a snapshot, and before one before that, is there again."""
    for snapshot in ("older", "newer"):
        volumes.create_snapshot(source, snapshot)
    before = raw.read("volumes", source)
    raw.write("volumes", source, samples.pattern("after", 2 * MiB), 4 * MiB)
    _made, data = backed_up(volumes, backups, raw, source, "b1")
    volumes.revert_to_snapshot(source, "newer")
    assert raw.read("volumes", source) == before
    assert backups.create(volumes, source, "b2").kind == "incremental"
    check(volumes, backups, raw, "b2", before)
    backups.restore("b1", volumes, source)
    assert raw.read("volumes", source) == data
    volumes.revert_to_snapshot(source, "older")
    for snapshot in ("older", "newer"):
        volumes.delete_snapshot(source, snapshot)
    backups.restore("b1", volumes, source)
    assert raw.read("volumes", source) == data


@pytest.mark.parametrize("size", [4 * MiB, 5 * MiB + 7, 100])
def test_a_volume_that_was_made_smaller(volumes, backups, raw, source, size):
    _made, data = backed_up(volumes, backups, raw, source, "b1")
    with volumes.pool.open(source, read_only=False) as image:
        image.resize(size, allow_shrink=True)
    backups.restore("b1", volumes, source)
    assert raw.read("volumes", source) == data


# Beside others


def test_a_snapshot_that_is_deleted_while_a_diff_is_made(volumes, source, raw):
    """Nobody can tell any more what has changed since, and librbd says that nothing has."""
    volumes.create_snapshot(source, "snapshot")
    raw.write("volumes", source, b"written", 0)
    with volumes.pool.open(source) as image:
        snap = find_snap(image, "snapshot")
        found = changes.since(image, snap.id, snap.size, image.object_size)
        assert [change.number for change in itertools.islice(found, 1)] == [0]
        volumes.delete_snapshot(source, "snapshot")
        with pytest.raises(exceptions.Vanished):
            next(found)
    with volumes.pool.open(source) as image, pytest.raises(exceptions.Vanished):
        next(changes.since(image, snap.id, snap.size, image.object_size))


def once_chosen(monkeypatch, do):
    """Do something to the chain that an increment was about to begin at."""
    choose = making._chain

    def choose_too_late(*arguments):
        found = choose(*arguments)
        do(found[0])
        return found

    monkeypatch.setattr(making, "_chain", choose_too_late)


@pytest.mark.parametrize(
    ("deleted", "parent"), [(["b1"], "b2"), (["b2"], "b1"), (["b2", "b1"], None)]
)
def test_a_chain_that_loses_some_before_an_increment_is_begun(
    volumes, backups, raw, source, monkeypatch, deleted, parent
):
    """What only the first one had is the second one's when that is gone."""
    raw.write("volumes", source, b"of the first one", 5 * MiB)
    backups.create(volumes, source, "b1")
    raw.write("volumes", source, b"written", 1000)
    backups.create(volumes, source, "b2")

    def delete(chain):
        if len(chain) == 2:
            for backup_id in deleted:
                backups.delete(backup_id)

    once_chosen(monkeypatch, delete)
    for offset in (2000, 5 * MiB + 2000, 13 * MiB):
        raw.write("volumes", source, b"written", offset)
    made, data = backed_up(volumes, backups, raw, source, "b3")
    assert made.parent == parent
    check(volumes, backups, raw, "b3", data)


def test_an_increment_whose_beginning_is_removed_before_it_is_begun(
    volumes, backups, raw, source, monkeypatch
):
    """Its backup is still there; the next one that has a snapshot serves as well."""
    backups.create(volumes, source, "b1")
    raw.write("volumes", source, b"written", 1000)
    backups.create(volumes, source, "b2")

    def remove_snap(_chain):
        for snap in raw.snaps("volumes", source):
            if snap.endswith("b2"):
                raw.remove_snap("volumes", source, snap)

    once_chosen(monkeypatch, remove_snap)
    raw.write("volumes", source, b"written", 2000)
    made, data = backed_up(volumes, backups, raw, source, "b3")
    assert made.parent == "b1"
    check(volumes, backups, raw, "b3", data)


def test_one_that_another_overtakes_still_begins_at_what_it_could(
    place, volumes, raw, source, monkeypatch
):
    few = place.backups(backup_ceph_max_snapshots=1)
    few.create(volumes, source, "b1")
    raw.write("volumes", source, b"written", 1000)
    choose = making._chain

    def choose_later(*arguments):
        monkeypatch.setattr(making, "_chain", choose)
        few.create(volumes, source, "b3")
        return choose(*arguments)

    monkeypatch.setattr(making, "_chain", choose_later)
    made, data = backed_up(volumes, few, raw, source, "b2")
    assert made.parent == "b1"
    (snap,) = raw.snaps("volumes", source)
    assert snap.endswith("b3")
    for backup_id in ("b2", "b3"):
        check(volumes, few, raw, backup_id, data)


def test_two_at_once_of_one_volume_that_keeps_one_snapshot(place, volumes, raw, source):
    """What both begin at stays until the second one has done so."""
    few = place.backups(backup_ceph_max_snapshots=1)
    few.create(volumes, source, "b1")
    for offset in range(0, 16 * MiB, 4 * MiB):
        raw.write("volumes", source, b"written", offset)
    data = raw.read("volumes", source)
    both = parallel.each(lambda key: few.create(volumes, source, key), ["b2", "b3"])
    assert {made.kind for made in both} == {"incremental"}
    for made in both:
        check(volumes, few, raw, made.id, data)
    few.create(volumes, source, "b4")
    assert len(raw.snaps("volumes", source)) == 1


def test_one_that_was_held_up_for_too_long(volumes, backups, raw, source):
    """While it slept, somebody else may have begun to write to the same image."""
    backups.create(volumes, source, "b1")
    raw.write("volumes", source, b"written", 1000)
    with backups._pool.open("source.backup.b1") as image:
        lease = spec.lease_object(spec.chain_lease(image.id))
        snaps = image.snaps()

    def lose_it(_done, _total):
        backups._pool.remove_object(lease)

    with pytest.raises(exceptions.LeaseLost):
        backups.create(volumes, source, "b2", progress=lose_it)
    assert [backup.id for backup in backups.list()] == ["b1"]
    with backups._pool.open("source.backup.b1") as image:
        assert image.snaps() == snaps


def test_one_in_the_middle_is_deleted_while_another_is_read(volumes, backups, raw, source):
    points = three(volumes, backups, raw, source)
    backup = recorded.Recorded(backups._catalog, "b3")
    before = list(backup.chunks())
    backups.delete("b2")
    backup.check()
    assert list(backup.chunks()) == before
    check(volumes, backups, raw, "b3", points["b3"])
    backups.delete("b3")
    with pytest.raises(exceptions.Vanished):
        backup.check()


def test_one_that_is_deleted_while_it_is_restored(volumes, backups, raw, source):
    """It is not called damaged."""
    volumes.extend(source, 160 * MiB)
    for offset in range(0, 160 * MiB, 4 * MiB):
        raw.write("volumes", source, b"written", offset)
    backups.create(volumes, source, "b1")
    with pytest.raises(exceptions.Vanished):
        backups.restore(
            "b1", volumes, "restored", progress=lambda _done, _total: backups.delete("b1")
        )
    assert [volume.name for volume in volumes.list()] == [source]


# What is wrong


def test_what_is_not_there(volumes, backups, unchanged):
    for call in (backups.show, backups.verify, lambda key: backups.restore(key, volumes, "new")):
        with pytest.raises(exceptions.BackupNotFound):
            call("b1")
    with pytest.raises(exceptions.ImageNotFound):
        backups.create(volumes, "source", "b1")
    backups.delete("b1")
    assert backups.list() == []


def test_an_id_that_is_taken(volumes, backups, source):
    backups.create(volumes, source, "b1")
    with pytest.raises(exceptions.Duplicate):
        backups.create(volumes, source, "b1")
    assert [backup.id for backup in backups.list()] == ["b1"]


@pytest.mark.parametrize(
    "arguments",
    [("", "b1"), ("source", "b/1"), ("source", "x" * 215), (7, "b1"), ("source", None)],
)
def test_wrong_names(volumes, backups, arguments):
    with pytest.raises(exceptions.InvalidName):
        backups.create(volumes, *arguments)


@pytest.mark.parametrize(
    "how", [{"incremental": "perhaps"}, {"progress": 7}, {"snapshot": "rbdstore.backup.x"}]
)
def test_wrong_arguments(volumes, backups, source, how):
    with pytest.raises(exceptions.InvalidInput):
        backups.create(volumes, source, "b1", **how)
    with pytest.raises(exceptions.InvalidInput):
        backups.prune(source, -1)


# Damage


def broken(volumes, backups, text, backup_id="b2"):
    """See that a backup is found to be damaged, and is not restored."""
    verified = backups.verify(backup_id)
    assert not verified.sound
    assert text in verified.damage[0].text
    with pytest.raises(exceptions.BrokenBackup, match=backup_id):
        backups.restore(backup_id, volumes, "restored")
    assert [volume.name for volume in volumes.list()] == ["source"]


@pytest.fixture
def kept(volumes, backups, raw, source):
    """A full backup and two increments; what is damaged is removed by hand."""
    return three(volumes, backups, raw, source)


@pytest.mark.parametrize("damaged", [b"damaged", b"", None], ids=["all", "lost", "a byte"])
def test_an_entry_that_is_damaged(volumes, backups, raw, kept, caplog, damaged):
    """The manifest says the same."""
    pool = backups._pool
    if damaged is None:
        damaged = pool.get_key(spec.BACKUP_INDEX, "b2").replace(b"source", b"sourbe")
    pool.set_keys(spec.BACKUP_INDEX, {"b2": damaged})
    assert [backup.id for backup in backups.list()] == ["b1", "b2", "b3"]
    assert "b2 in pool backups: its entry in rbdstore.backups cannot be used" in caplog.text
    check(volumes, backups, raw, "b2", kept["b2"])
    backups.delete("b2")
    check(volumes, backups, raw, "b3", kept["b3"])


def test_an_entry_that_names_another_image(volumes, backups, raw, kept):
    """What is in the image is not removed with the last backup that the catalog has in there."""
    pool = backups._pool
    entries = {key: pool.get_key(spec.BACKUP_INDEX, key) for key in ("b2", "b3")}
    wrong = {
        key: dataclasses.replace(Entry.from_bytes(data), base_id="f").to_bytes()
        for key, data in entries.items()
    }
    pool.set_keys(spec.BACKUP_INDEX, wrong)
    backups.delete("b1")
    pool.set_keys(spec.BACKUP_INDEX, entries)
    assert len(raw.snaps("backups", "source.backup.b1")) == 2


def test_an_entry_that_is_lost_with_its_manifest(volumes, backups, raw, source, kept):
    """The others are listed, restored and increments of one another; it may need what they do."""
    pool, key = backups._pool, spec.backup_object("b3")
    entry, manifest = pool.get_key(spec.BACKUP_INDEX, "b3"), pool.get_keys(key)
    pool.set_keys(spec.BACKUP_INDEX, {"b3": b"damaged"})
    pool.remove_object(key)
    assert [backup.id for backup in backups.list()] == ["b1", "b2"]
    made, data = backed_up(volumes, backups, raw, source, "b4")
    assert made.parent == "b2"
    check(volumes, backups, raw, "b2", kept["b2"])
    check(volumes, backups, raw, "b4", data)
    volumes.create("other", MiB)
    backups.restore("b2", volumes, "other")
    assert raw.read("volumes", "other") == kept["b2"]
    for _ in range(2):
        with pytest.raises(exceptions.Duplicate):
            backups.create(volumes, source, "b3")
    assert [each.what for each in backups.verify("b3").damage] == ["manifest"]
    for refused in (backups.show, backups.delete):
        with pytest.raises(exceptions.BrokenBackup, match="b3"):
            refused("b3")
    with pytest.raises(exceptions.BrokenBackup, match="b3"):
        backups.delete("b2")
    check(volumes, backups, raw, "b2", kept["b2"])
    check(volumes, backups, raw, "b4", data)
    pool.set_keys(key, manifest)
    pool.set_keys(spec.BACKUP_INDEX, {"b3": entry})


def test_a_part_of_a_manifest_that_increments_would_need(volumes, backups, raw, source, kept):
    """They are full ones, and say why."""
    pool, key = backups._pool, spec.backup_object("b1")
    (part,) = [entry for entry in pool.get_keys(key) if entry.startswith("part/")]
    pool.set_keys(key, {part: b"damaged"})
    raw.write("volumes", source, b"something", 2 * MiB)
    made, data = backed_up(volumes, backups, raw, source, "b4")
    assert (made.kind, made.parent) == ("full", None)
    assert "is damaged: backup b1 in pool backups: part 0 of its manifest" in made.reason
    check(volumes, backups, raw, "b4", data)
    raw.write("volumes", source, b"more", MiB)
    made, data = backed_up(volumes, backups, raw, source, "b0")
    assert (made.kind, made.parent, made.reason) == ("incremental", "b4", "")
    check(volumes, backups, raw, "b0", data)
    backups.delete("b0")


def test_a_flipped_byte(volumes, backups, raw, kept):
    raw.flip("backups", "source.backup.b1", 8 * MiB + 100)
    broken(volumes, backups, "chunk at 8388608 of source.backup.b1")
    verified = backups.verify("b2")
    assert [(each.what, each.offset) for each in verified.damage] == [("chunk", 8 * MiB)]
    assert "is damaged" in verified.damage[0].text


def test_a_missing_chunk(volumes, backups, raw, kept):
    raw.lose("backups", "source.backup.b1", 8 * MiB)
    broken(volumes, backups, "chunk at 8388608 of source.backup.b1")
    assert "is missing" in backups.verify("b2").damage[0].text


def test_a_missing_image(volumes, backups, raw, kept):
    raw.remove("backups", "source.backup.b1")
    broken(volumes, backups, "the image source.backup.b1 is missing")


def test_a_missing_snapshot(volumes, backups, raw, kept):
    raw.remove_snap("backups", "source.backup.b1", backups.show("b2").base.snap)
    broken(volumes, backups, "of source.backup.b1 is missing")
    # The others are whole.
    assert backups.verify("b1").sound
    assert backups.verify("b3").sound


def test_another_ones_manifest(volumes, backups, raw, kept):
    """What is wrong with one in the same image keeps no other from being restored in place."""
    backups._pool.set_keys(spec.backup_object("b3"), {"part/00000000": b"damaged"})
    backups.restore("b2", volumes, "source")
    assert raw.read("volumes", "source").startswith(kept["b2"])
    backups._pool.set_keys(spec.backup_object("b3"), {"head": b"damaged"})
    backups.restore("b1", volumes, "source")
    assert raw.read("volumes", "source").startswith(kept["b1"])


def test_a_missing_manifest(volumes, backups, kept):
    backups._pool.remove_object(spec.backup_object("b1"))
    broken(volumes, backups, "backup b1 in pool backups: its manifest is missing")
    assert [backup.id for backup in backups.list()] == ["b2", "b3"]


@pytest.mark.parametrize("entry", ["head", "part/00000000"])
@pytest.mark.parametrize("length", [0, 10, -1])
def test_a_truncated_manifest(volumes, backups, kept, entry, length):
    key = spec.backup_object("b2")
    whole = backups._pool.get_key(key, entry)
    backups._pool.set_keys(key, {entry: whole[:length]})
    broken(volumes, backups, "backup b2 in pool backups")
    # Nothing of a volume that exists is written.
    with pytest.raises(exceptions.BrokenBackup):
        backups.restore("b2", volumes, "source")
    assert volumes.get("source").size == 30 * MiB
    backups._pool.set_keys(key, {entry: whole})
    assert backups.verify("b2").sound


def test_a_manifest_of_another_release(volumes, backups, kept, monkeypatch):
    manifest = manifests.read(backups._pool, "b2")
    monkeypatch.setattr(manifests, "_VERSION", 2)
    manifests.write(backups._pool, manifest)
    monkeypatch.undo()
    broken(volumes, backups, "version 2")
    with pytest.raises(exceptions.BrokenBackup, match="version 2"):
        backups.show("b2")


def test_an_increment_after_a_client_was_killed_while_it_wrote_there(
    place, volumes, backups, raw, source
):
    """Its lock lasts for a while; what it wrote is no part of any backup."""
    backups.create(volumes, source, "b1")
    base = backups.show("b1").base
    with place.held_open(base.pool, base.image, data=b"of a dead client") as client:
        client.kill()
        client.wait()
        raw.write("volumes", source, b"after", MiB)
        made, expected = backed_up(volumes, backups, raw, source, "b2")
    assert made.parent == "b1"
    check(volumes, backups, raw, "b2", expected)
