# SPDX-License-Identifier: Apache-2.0
"""Snapshots of volumes and volumes made from them: every verb, as client.cinder."""

import pytest
import samples

from rbdstore import exceptions, leases, spec
from rbdstore.spec import ImageSpec
from rbdstore.volumes import Volume

MiB = samples.MiB
SIZE = 9 * MiB
BEFORE = samples.pattern("before", SIZE)


@pytest.fixture
def source(volumes, raw):
    """A volume that held ``BEFORE`` at its snapshot ``snapshot-1`` and begins with "now" since."""
    make_source(volumes, raw)
    yield "source"
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")


def make_source(volumes, raw):
    volumes.create("source", SIZE)
    raw.write("volumes", "source", BEFORE)
    volumes.create_snapshot("source", "snapshot-1")
    raw.write("volumes", "source", b"now")


def test_a_snapshot_keeps_the_bytes(volumes, raw, source):
    assert volumes.get(source).snapshots == ("snapshot-1",)
    assert raw.read("volumes", source, "snapshot-1") == BEFORE
    assert raw.read("volumes", source) == b"now" + BEFORE[3:]
    assert raw.is_protected("volumes", source, "snapshot-1")


def test_snapshots_are_listed_oldest_first_and_ours_are_not(volumes, source):
    for name in ("b", "a"):
        volumes.create_snapshot(source, name)
    volumes.create_cloned_volume("clone", source)
    assert volumes.get(source).snapshots == ("snapshot-1", "b", "a")
    volumes.delete("clone")
    for name in ("b", "a"):
        volumes.delete_snapshot(source, name)
    assert volumes.get(source).snapshots == ("snapshot-1",)


def test_a_volume_in_use_can_be_snapshotted(volumes, raw, place, source):
    with place.held_open("volumes", source, data=b"acknowledged"):
        volumes.create_snapshot(source, "snapshot-2")
        assert raw.read("volumes", source, "snapshot-2")[:12] == b"acknowledged"
        volumes.delete_snapshot(source, "snapshot-2")


def test_a_second_snapshot_of_the_name_is_refused(volumes, raw, source):
    with pytest.raises(exceptions.Duplicate):
        volumes.create_snapshot(source, "snapshot-1")
    assert raw.snaps("volumes", source) == ["snapshot-1"]
    assert raw.read("volumes", source, "snapshot-1") == BEFORE


def test_what_is_not_there(volumes, raw, source):
    for verb in (
        volumes.revert_to_snapshot,
        lambda volume, snapshot: volumes.create_from_snapshot("volume-1", volume, snapshot),
    ):
        with pytest.raises(exceptions.SnapshotNotFound) as caught:
            verb(source, "missing")
        assert caught.value.spec == ImageSpec("volumes", source, "missing")
    volumes.delete_snapshot(source, "missing")
    volumes.delete_snapshot("missing", "snapshot-1")
    assert raw.images("volumes") == [source]
    assert raw.read("volumes", source) == b"now" + BEFORE[3:]


def test_a_volume_with_snapshots_is_not_deleted(volumes, raw, source):
    volumes.create_from_snapshot("clone", source, "snapshot-1")
    volumes.create_snapshot(source, "snapshot-2")
    with pytest.raises(exceptions.InUse) as caught:
        volumes.delete(source)
    assert caught.value.snapshots == ("snapshot-1", "snapshot-2")
    assert raw.images("volumes") == ["clone", source]
    assert raw.snaps("volumes", source) == ["snapshot-1", "snapshot-2"]
    volumes.delete_snapshot(source, "snapshot-2")
    volumes.delete("clone")


def test_one_of_the_name_that_another_makes_in_the_very_moment_stays(
    volumes, raw, source, monkeypatch
):
    """He may be a stock client, who knows of no leases."""
    with volumes.pool.open(source) as image:
        kind = type(image)
    make = kind.create_snap

    def late(image, name):
        monkeypatch.setattr(kind, "create_snap", make)
        raw.snap("volumes", source, name, protect=False)
        make(image, name)

    monkeypatch.setattr(kind, "create_snap", late)
    with pytest.raises(exceptions.Duplicate):
        volumes.create_snapshot(source, "snapshot-2")
    assert raw.snaps("volumes", source) == ["snapshot-1", "snapshot-2"]
    raw.remove_snap("volumes", source, "snapshot-2")


# revert


def test_revert_brings_bytes_and_size_back(volumes, raw, source):
    volumes.extend(source, 12 * MiB)
    assert volumes.revert_to_snapshot(source, "snapshot-1") == volumes.get(source)
    assert volumes.get(source).size == SIZE
    assert raw.read("volumes", source) == BEFORE
    assert raw.snaps("volumes", source) == ["snapshot-1"]


def test_a_snapshot_stays_while_it_is_reverted_to(volumes, raw, source, monkeypatch):
    """What is rolled back to a snapshot that is gone would be zeros."""
    with volumes.pool.open(source) as image:
        kind = type(image)
    rollback, at_work = kind.rollback, []

    def watched(image, snap, **how):
        # Whoever deletes it wants that lease.
        with pytest.raises(exceptions.InUse):
            leases.acquire(volumes.pool, spec.snapshot_lease(source, snap), 5, wait=0)
        at_work.append(snap)
        rollback(image, snap, **how)

    monkeypatch.setattr(kind, "rollback", watched)
    volumes.revert_to_snapshot(source, "snapshot-1")
    assert at_work == ["snapshot-1"]
    assert raw.read("volumes", source) == BEFORE


def test_revert_refuses_a_volume_that_is_open_for_writing(volumes, raw, place, source):
    with place.held_open("volumes", source, data=b"precious"):
        with pytest.raises(exceptions.InUse) as caught:
            volumes.revert_to_snapshot(source, "snapshot-1")
        assert len(caught.value.watchers) == 1
    assert raw.read("volumes", source)[:8] == b"precious"


# create_from_snapshot


def test_a_volume_from_a_snapshot_shares_its_bytes(place, raw, clone_format, features):
    volumes = place.volumes(clone_format=clone_format, features=features)
    make_source(volumes, raw)
    made = volumes.create_from_snapshot("clone", "source", "snapshot-1")
    assert made == Volume("clone", SIZE, ImageSpec("volumes", "source", "snapshot-1"), 1, ())
    assert raw.read("volumes", "clone") == BEFORE
    assert raw.data_objects("volumes", "clone") == 0
    larger = volumes.create_from_snapshot("larger", "source", "snapshot-1", 12 * MiB)
    assert larger.size == 12 * MiB
    assert raw.read("volumes", "larger") == BEFORE + bytes(3 * MiB)
    for name in ("clone", "larger"):
        volumes.delete(name)
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")


def test_a_volume_from_a_snapshot_may_be_independent(
    place, raw, clone_format, features, flatten_mode
):
    volumes = place.volumes(
        clone_format=clone_format,
        features=features,
        rbd_flatten_volume_from_snapshot=True,
        rbd_flatten_mode=flatten_mode,
    )
    make_source(volumes, raw)
    made = volumes.create_from_snapshot("copy", "source", "snapshot-1", 12 * MiB)
    assert made == Volume("copy", 12 * MiB, None, 0, ())
    assert raw.snaps("volumes", "source") == ["snapshot-1"]
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")
    assert raw.images("volumes") == ["copy"]
    assert raw.read("volumes", "copy") == BEFORE + bytes(3 * MiB)
    volumes.delete("copy")


def test_the_snapshot_counts_not_what_the_volume_has_become(volumes, raw, source):
    volumes.extend(source, 12 * MiB)
    assert volumes.create_from_snapshot("clone", source, "snapshot-1").size == SIZE
    assert raw.read("volumes", "clone") == BEFORE
    volumes.delete("clone")


def test_a_name_that_is_taken_is_refused(volumes, raw, source):
    with pytest.raises(exceptions.Duplicate):
        volumes.create_from_snapshot(source, source, "snapshot-1")
    assert raw.images("volumes") == [source]
    assert raw.read("volumes", source) == b"now" + BEFORE[3:]


def test_a_clone_goes_on_from_a_snapshot_of_a_clone(volumes, raw, source):
    volumes.create_from_snapshot("clone-1", source, "snapshot-1")
    volumes.create_snapshot("clone-1", "snapshot-2")
    assert volumes.create_from_snapshot("clone-2", "clone-1", "snapshot-2").depth == 2
    volumes.delete_snapshot("clone-1", "snapshot-2")
    volumes.delete("clone-1")
    assert volumes.get("clone-2").depth == 2
    assert raw.read("volumes", "clone-2") == BEFORE
    volumes.delete("clone-2")
    assert raw.trash("volumes") == {}


# delete_snapshot


def test_a_deleted_snapshot_stays_for_its_clones_only(place, raw, clone_format):
    volumes = place.volumes(clone_format=clone_format)
    make_source(volumes, raw)
    for name in ("clone-1", "clone-2"):
        volumes.create_from_snapshot(name, "source", "snapshot-1")
    volumes.delete_snapshot("source", "snapshot-1")
    assert volumes.get("source").snapshots == ()
    with pytest.raises(exceptions.SnapshotNotFound):
        volumes.create_from_snapshot("clone-3", "source", "snapshot-1")
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.create_snapshot("source", "snapshot-1")
    volumes.delete("clone-1")
    assert raw.read("volumes", "clone-2") == BEFORE
    assert len(raw.snaps("volumes", "source")) == 2
    volumes.delete("clone-2")
    assert raw.snaps("volumes", "source") == ["snapshot-1"]
    assert raw.read("volumes", "source", "snapshot-1") == b"now" + BEFORE[3:]
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")


def test_a_volume_whose_deleted_snapshot_has_clones_can_be_deleted(place, raw, clone_format):
    volumes = place.volumes(clone_format=clone_format)
    make_source(volumes, raw)
    volumes.create_from_snapshot("clone", "source", "snapshot-1")
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")
    assert [volume.name for volume in volumes.list()] == ["clone"]
    assert raw.read("volumes", "clone") == BEFORE
    volumes.delete("clone")
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}


def test_flatten_of_the_last_clone_frees_the_deleted_snapshot(place, raw, clone_format):
    volumes = place.volumes(clone_format=clone_format)
    make_source(volumes, raw)
    volumes.create_from_snapshot("clone", "source", "snapshot-1")
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.flatten("clone")
    assert raw.snaps("volumes", "source") == []
    assert raw.read("volumes", "clone") == BEFORE
    for name in ("source", "clone"):
        volumes.delete(name)


def test_old_images_keep_a_parent_for_their_snapshots(place, raw, clone_format):
    volumes = place.volumes(clone_format=clone_format, features=samples.OLD_FEATURES)
    make_source(volumes, raw)
    volumes.create_from_snapshot("clone", "source", "snapshot-1")
    volumes.create_snapshot("clone", "earlier")
    raw.write("volumes", "clone", b"later")
    volumes.delete_snapshot("source", "snapshot-1")
    assert volumes.flatten("clone").depth == 0
    assert raw.read("volumes", "clone", "earlier") == BEFORE
    assert len(raw.snaps("volumes", "source")) == 1
    volumes.delete("source")
    assert raw.read("volumes", "clone", "earlier") == BEFORE
    assert volumes.create_from_snapshot("again", "clone", "earlier").depth == 2
    assert raw.read("volumes", "again") == BEFORE
    volumes.delete("again")
    volumes.delete_snapshot("clone", "earlier")
    assert raw.images("volumes") == ["clone"]
    assert raw.trash("volumes") == {}
    assert raw.read("volumes", "clone") == b"later" + BEFORE[5:]
    volumes.delete("clone")


def test_an_image_whose_flattened_clones_have_old_snapshots_says_which(place, raw):
    images = place.images("admin", features=samples.OLD_FEATURES)
    volumes = place.volumes("admin", features=samples.OLD_FEATURES)
    image = images.add("image-1", BEFORE)
    volumes.clone("clone", image.uri)
    volumes.create_snapshot("clone", "earlier")
    with pytest.raises(exceptions.InUse, match="clone@earlier"):
        images.delete(image.uri, in_use="flatten")
    assert b"".join(images.get(image.uri)) == BEFORE
    assert raw.read("volumes", "clone", "earlier") == BEFORE
    volumes.delete_snapshot("clone", "earlier")
    images.delete(image.uri)
    assert raw.read("volumes", "clone") == BEFORE
    volumes.delete("clone")
