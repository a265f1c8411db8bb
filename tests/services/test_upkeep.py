# SPDX-License-Identifier: Apache-2.0
"""What a service does with volumes beside making, changing and deleting them."""

import pytest
import samples

from rbdstore import exceptions

MiB = samples.MiB
SIZE = 9 * MiB
DATA = samples.pattern("volume", SIZE)


@pytest.fixture
def source(volumes, raw):
    volumes.create("source", SIZE)
    raw.write("volumes", "source", DATA)
    yield "source"
    volumes.delete("source")


# Snapshots


def test_a_snapshot_that_somebody_made_is_taken_over(volumes, raw, source):
    raw.snap("volumes", source, "theirs", protect=False)
    assert volumes.snapshot_size(source, "theirs") == SIZE
    for _ in range(2):
        volumes.rename_snapshot(source, "theirs", "snapshot-1")
    assert volumes.get(source).snapshots == ("snapshot-1",)
    assert raw.is_protected("volumes", source, "snapshot-1")
    volumes.delete_snapshot(source, "snapshot-1")


def test_a_snapshot_is_handed_over(volumes, raw, source):
    volumes.create_snapshot(source, "snapshot-1")
    for _ in range(2):
        volumes.unprotect_snapshot(source, "snapshot-1")
    assert not raw.is_protected("volumes", source, "snapshot-1")
    volumes.delete_snapshot(source, "snapshot-1")


def test_a_taken_name_and_what_is_not_there(volumes, unchanged, source):
    with pytest.raises(exceptions.SnapshotNotFound):
        volumes.rename_snapshot(source, "missing", "snapshot-1")
    with pytest.raises(exceptions.SnapshotNotFound):
        volumes.snapshot_size(source, "missing")
    with pytest.raises(exceptions.SnapshotNotFound):
        volumes.unprotect_snapshot(source, "missing")
    with pytest.raises(exceptions.ImageNotFound):
        volumes.rename_snapshot("missing", "theirs", "snapshot-1")
    with pytest.raises(exceptions.InvalidName):
        volumes.rename_snapshot(source, "theirs", "rbdstore.clone.1")
    for name in ("a", "b"):
        volumes.create_snapshot(source, name)
    with pytest.raises(exceptions.Duplicate):
        volumes.rename_snapshot(source, "a", "b")
    assert volumes.get(source).snapshots == ("a", "b")
    for name in ("a", "b"):
        volumes.delete_snapshot(source, name)


# Data


def test_a_volume_is_read_as_it_was(volumes, raw, source):
    with volumes.reading(source) as data:
        raw.write("volumes", source, b"later")
        assert data.size == SIZE
        assert b"".join(data) == DATA
    assert raw.snaps("volumes", source) == []


def test_a_volume_in_use_is_read(volumes, place, source):
    with (
        place.held_open("volumes", source, data=b"acknowledged"),
        volumes.reading(source) as data,
    ):
        assert b"".join(data) == b"acknowledged" + DATA[12:]


def test_whoever_gives_up_reading_leaves_nothing(volumes, raw, source):
    def give_up():
        with volumes.reading(source) as data:
            next(data)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        give_up()
    assert raw.snaps("volumes", source) == []


def test_a_volume_is_copied_from_another_pool(place, volumes, raw, source):
    others = place.store("images").volumes
    made = others.copy_from(volumes, source, "copy")
    assert (made.name, made.size, made.parent, made.depth) == ("copy", SIZE, None, 0)
    assert others.get("copy") == made
    assert raw.read("images", "copy") == DATA
    assert raw.snaps("volumes", source) == []
    with pytest.raises(exceptions.Duplicate):
        others.copy_from(volumes, source, "copy")
    others.delete("copy")


def test_a_copy_that_fails_leaves_nothing(place, volumes, unchanged):
    with pytest.raises(exceptions.ImageNotFound):
        place.store("images").volumes.copy_from(volumes, "missing", "copy")


# Limits and features, which are Ceph's own


LIMITS = {"iops_limit": 500, "read_bps_burst": 100 * MiB}


def test_limits_hold_and_no_others(place, volumes, source):
    if place.driver != "rbd":
        with pytest.raises(exceptions.NotSupported):
            volumes.set_limits(source, LIMITS)
        with pytest.raises(exceptions.NotSupported):
            volumes.limits(source)
        return
    assert volumes.limits(source) == {}
    for wanted in (LIMITS, {"iops_limit": 500, "bps_limit": MiB}, {"bps_limit": 0}):
        volumes.set_limits(source, wanted)
        assert volumes.limits(source) == {key: value for key, value in wanted.items() if value}


@pytest.mark.parametrize("wrong", [{"iops": 5}, {"iops_limit": -1}, {"iops_limit": "5"}])
def test_what_is_no_limit(volumes, unchanged, source, wrong):
    with pytest.raises(exceptions.InvalidInput):
        volumes.set_limits(source, wrong)


def test_features_are_switched_off_and_on(place, volumes, raw, source):
    several = {"exclusive-lock", "object-map", "fast-diff"}
    if place.driver != "rbd":
        with pytest.raises(exceptions.NotSupported):
            volumes.switch_features(source, several, enabled=False)
        return
    before = raw.features("volumes", source)
    volumes.create_snapshot(source, "snapshot-1")
    for _ in range(2):
        volumes.switch_features(source, several, enabled=False)
        assert not several & set(volumes.switch_features(source, [], enabled=False))
    assert volumes.switch_features(source, several, enabled=True) == before - several
    assert raw.features("volumes", source) == before
    assert raw.read("volumes", source) == DATA
    # With an object map that is not right, this would lose data.
    volumes.create_from_snapshot("clone", source, "snapshot-1")
    volumes.flatten("clone")
    assert raw.read("volumes", "clone") == DATA
    volumes.delete("clone")
    volumes.delete_snapshot(source, "snapshot-1")


def test_features_that_cannot_be_switched(volumes, unchanged, source):
    with pytest.raises(exceptions.InvalidInput):
        volumes.switch_features(source, {"layering"}, enabled=False)
