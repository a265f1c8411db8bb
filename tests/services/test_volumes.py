# SPDX-License-Identifier: Apache-2.0
"""Volumes one by one, as client.cinder: made, extended, renamed, deleted, listed."""

import pytest
import samples

from rbdstore import exceptions
from rbdstore.spec import ImageSpec
from rbdstore.volumes import Volume

MiB = samples.MiB
GiB = 1 << 30


@pytest.fixture
def source(volumes, raw):
    """A volume called ``source`` whose bytes are ``pattern("source", 9 MiB)``."""
    volumes.create("source", 9 * MiB)
    raw.write("volumes", "source", samples.pattern("source", 9 * MiB))
    yield "source"
    volumes.delete("source")


# create, get, list, stats


def test_create_makes_an_empty_volume(volumes, raw):
    made = volumes.create("volume-1", GiB)
    assert made == Volume("volume-1", GiB, None, 0, ())
    assert volumes.get("volume-1") == made
    assert raw.size("volumes", "volume-1") == GiB
    assert raw.object_size("volumes", "volume-1") == 4 * MiB
    assert raw.data_objects("volumes", "volume-1") == 0
    volumes.delete("volume-1")
    assert raw.images("volumes") == []


@pytest.mark.parametrize("size", [0, 1, 511, 4 * MiB + 1, 1 << 42])
def test_create_takes_any_size(volumes, size):
    assert volumes.create("volume-1", size).size == size
    volumes.delete("volume-1")


def test_create_refuses_a_name_that_is_taken(volumes, raw, source, unchanged):
    with pytest.raises(exceptions.Duplicate):
        volumes.create(source, MiB)
    assert raw.read("volumes", source) == samples.pattern("source", 9 * MiB)


def test_the_features_of_new_volumes_are_an_option(place, raw):
    volumes = place.volumes(features=("layering", "exclusive-lock"))
    volumes.create("volume-1", MiB)
    assert raw.features("volumes", "volume-1") == {"layering", "exclusive-lock"}
    volumes.delete("volume-1")


def test_what_is_not_there(volumes, image, place, unchanged):
    missing = image.uri.replace("image-1", "missing")
    for look in (
        lambda: volumes.get("missing"),
        lambda: volumes.extend("missing", MiB),
        lambda: volumes.rename("missing", "other"),
        lambda: volumes.flatten("missing"),
        lambda: volumes.clone("volume-1", missing),
        lambda: volumes.create_cloned_volume("volume-1", "missing"),
        lambda: volumes.create_cloned_volumes(["volume-1", "volume-2"], "missing"),
        lambda: volumes.create_from_snapshot("volume-1", "missing", "snapshot-1"),
        lambda: volumes.create_snapshot("missing", "snapshot-1"),
        lambda: volumes.revert_to_snapshot("missing", "snapshot-1"),
    ):
        with pytest.raises(exceptions.ImageNotFound):
            look()
    volumes.delete("missing")
    volumes.delete_snapshot("missing", "snapshot-1")


def test_list_tells_of_volumes_in_order(volumes, raw, source):
    volumes.create("b", MiB)
    volumes.create_cloned_volume("a", source)
    for hidden in ("c.partial", "c.deleted"):
        raw.create("volumes", hidden, MiB)
    found = volumes.list()
    assert [volume.name for volume in found] == ["a", "b", "source"]
    assert [volume.size for volume in found] == [9 * MiB, MiB, 9 * MiB]
    assert [volume.depth for volume in found] == [1, 0, 0]
    for name in ("a", "b"):
        volumes.delete(name)
    for hidden in ("c.partial", "c.deleted"):
        raw.remove("volumes", hidden)


def test_stats_count_what_is_there(volumes, source):
    before = volumes.stats()
    volumes.create("volume-1", 5 * GiB)
    volumes.create_snapshot("volume-1", "snapshot-1")
    after = volumes.stats()
    assert after.images - before.images == 1
    assert after.snapshots - before.snapshots == 1
    assert after.provisioned - before.provisioned >= 5 * GiB
    assert 0 < after.free <= after.total
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete("volume-1")


# extend, rename


def test_extend_keeps_the_bytes_and_adds_zeros(volumes, raw, source):
    assert volumes.extend(source, 12 * MiB).size == 12 * MiB
    assert raw.read("volumes", source) == samples.pattern("source", 9 * MiB) + bytes(3 * MiB)
    assert volumes.extend(source, 12 * MiB).size == 12 * MiB


def test_extend_works_while_it_is_in_use(volumes, place, source):
    with place.held_open("volumes", source):
        assert volumes.extend(source, 12 * MiB).size == 12 * MiB


def test_rename_keeps_everything(volumes, raw, source):
    volumes.create_snapshot(source, "snapshot-1")
    volumes.create_cloned_volume("clone", source)
    renamed = volumes.rename(source, "renamed")
    assert renamed == Volume("renamed", 9 * MiB, None, 0, ("snapshot-1",))
    assert raw.images("volumes") == ["clone", "renamed"]
    assert raw.read("volumes", "renamed") == samples.pattern("source", 9 * MiB)
    assert volumes.get("clone").parent.image == "renamed"
    volumes.delete_snapshot("renamed", "snapshot-1")
    volumes.delete("renamed")
    assert raw.read("volumes", "clone") == samples.pattern("source", 9 * MiB)
    volumes.delete("clone")


def test_rename_refuses_a_name_that_is_taken(volumes, source, unchanged):
    volumes.create("other", MiB)
    unchanged()
    with pytest.raises(exceptions.Duplicate):
        volumes.rename(source, "other")
    assert volumes.get("other").size == MiB
    volumes.delete("other")
    unchanged()


def test_rename_to_itself_is_refused_or_does_nothing(volumes, source, unchanged):
    with pytest.raises(exceptions.RbdStoreError):
        volumes.rename(source, source)


def test_a_name_that_was_renamed_away_can_be_used_again(volumes, source):
    volumes.rename(source, "renamed")
    assert volumes.create(source, MiB).size == MiB
    volumes.delete("renamed")


# delete


def test_delete_of_a_missing_volume_is_no_error(volumes, raw, unchanged):
    volumes.delete("missing")


def test_a_deleted_volume_stays_for_its_clones_only(volumes, raw, source):
    volumes.create("parent", 9 * MiB)
    data = samples.pattern("parent", 9 * MiB)
    raw.write("volumes", "parent", data)
    volumes.create_cloned_volumes(["clone-1", "clone-2"], "parent")
    volumes.delete("parent")
    assert raw.images("volumes") == ["clone-1", "clone-2", source]
    assert list(raw.trash("volumes").values()) == ["parent"]
    with pytest.raises(exceptions.ImageNotFound):
        volumes.get("parent")
    volumes.delete("parent")
    assert volumes.create("parent", MiB).depth == 0
    volumes.delete("clone-1")
    assert raw.read("volumes", "clone-2") == data
    assert volumes.get("clone-2").depth == 1
    volumes.delete("clone-2")
    assert raw.trash("volumes") == {}
    volumes.delete("parent")


def test_a_volume_deleted_twice_under_one_name_is_kept_twice(place, raw):
    for clone_format in place.clone_formats:
        volumes = place.volumes(clone_format=clone_format)
        for number in (1, 2):
            volumes.create("parent", MiB)
            raw.write("volumes", "parent", samples.pattern(number, MiB))
            volumes.create_cloned_volume(f"clone-{number}", "parent")
            volumes.delete("parent")
        for number in (1, 2):
            assert raw.read("volumes", f"clone-{number}") == samples.pattern(number, MiB)
            volumes.delete(f"clone-{number}")
        assert raw.images("volumes") == []
        assert raw.trash("volumes") == {}


def test_delete_refuses_a_volume_that_is_open_for_writing(volumes, raw, place, source):
    volumes.create("volume-1", MiB)
    with place.held_open("volumes", "volume-1", data=b"precious"):
        for wait in (0, 0.5):
            with pytest.raises(exceptions.InUse) as caught:
                volumes.delete("volume-1", wait=wait)
            assert len(caught.value.watchers) == 1
            assert caught.value.spec == ImageSpec("volumes", "volume-1")
        assert raw.trash("volumes") == {}
    assert raw.read("volumes", "volume-1")[:8] == b"precious"
    volumes.delete("volume-1")


def test_delete_waits_for_a_client_that_crashed(volumes, raw, place):
    volumes.create("volume-1", MiB)
    with place.held_open("volumes", "volume-1") as client:
        client.kill()
        client.wait()
        volumes.delete("volume-1", wait=60)
    assert raw.images("volumes") == []


def test_delete_does_not_see_readers(volumes, raw):
    volumes.create("volume-1", MiB)
    with raw.reader("volumes", "volume-1"):
        volumes.delete("volume-1")
    assert raw.images("volumes") == []


def test_a_clone_of_an_image_lets_go_of_it(volumes, raw, image):
    volumes.clone("volume-1", image.uri)
    volumes.create_cloned_volume("volume-2", "volume-1")
    volumes.delete("volume-1")
    assert volumes.get("volume-2").depth == 2
    volumes.delete("volume-2")
    assert raw.trash("volumes") == {}
    assert raw.children("images", "image-1", "snap") == []
