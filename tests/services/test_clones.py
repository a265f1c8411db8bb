# SPDX-License-Identifier: Apache-2.0
"""Volumes from images and from volumes, the limit of depth, and flattening, as client.cinder."""

import threading

import pytest
import samples

from rbdstore import exceptions
from rbdstore.clones import cloning
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


# clone


def test_clone_shares_the_bytes_of_an_image(volumes, raw, image):
    made = volumes.clone("volume-1", image.uri)
    assert made == Volume("volume-1", 9 * MiB, ImageSpec("images", "image-1", "snap"), 1, ())
    assert raw.parent("volumes", "volume-1") == ("images", "image-1", "snap")
    assert raw.data_objects("volumes", "volume-1") == 0
    assert raw.read("volumes", "volume-1") == samples.pattern("image", 9 * MiB)
    raw.write("volumes", "volume-1", b"written", MiB)
    assert raw.read("images", "image-1") == samples.pattern("image", 9 * MiB)
    volumes.delete("volume-1")


def test_clone_may_be_larger(volumes, raw, image):
    assert volumes.clone("volume-1", image.uri, 12 * MiB).size == 12 * MiB
    expected = samples.pattern("image", 9 * MiB) + bytes(3 * MiB)
    assert raw.read("volumes", "volume-1") == expected
    volumes.delete("volume-1")


@pytest.mark.parametrize("chunk_size", [1, 4, 16])
def test_a_clone_s_objects_are_as_large_as_its_parent_s(place, raw, image, chunk_size):
    volumes = place.volumes(rbd_store_chunk_size=chunk_size)
    volumes.clone("volume-1", image.uri)
    volumes.create_cloned_volume("volume-2", "volume-1")
    for name in ("volume-1", "volume-2"):
        assert raw.object_size("volumes", name) == raw.object_size("images", "image-1")
        assert raw.read("volumes", name) == samples.pattern("image", 9 * MiB)
        volumes.delete(name)


def test_clone_refuses_a_name_that_is_taken(volumes, image, source, unchanged):
    with pytest.raises(exceptions.Duplicate):
        volumes.clone(source, image.uri)


# create_cloned_volume(s)


def test_a_cloned_volume_is_its_source_as_it_is_now(volumes, raw, source):
    made = volumes.create_cloned_volume("clone", source)
    assert (made.name, made.size, made.depth, made.snapshots) == ("clone", 9 * MiB, 1, ())
    assert (made.parent.pool, made.parent.image) == ("volumes", source)
    raw.write("volumes", source, b"written later")
    raw.write("volumes", "clone", b"written to the clone", 5 * MiB)
    before = samples.pattern("source", 9 * MiB)
    expected = bytearray(before)
    expected[5 * MiB : 5 * MiB + 20] = b"written to the clone"
    assert raw.read("volumes", "clone") == expected
    assert raw.read("volumes", source) == b"written later" + before[13:]
    assert volumes.get(source).snapshots == ()
    volumes.delete("clone")
    assert raw.snaps("volumes", source) == []


def test_a_volume_in_use_can_be_cloned(volumes, raw, place, source):
    with place.held_open("volumes", source, data=b"acknowledged"):
        volumes.create_cloned_volume("clone", source)
        expected = b"acknowledged" + samples.pattern("source", 9 * MiB)[12:]
        assert raw.read("volumes", "clone") == expected
    volumes.delete("clone")


def test_many_clones_share_one_moment_and_one_snapshot(volumes, raw, source):
    names = [f"clone-{number}" for number in (3, 1, 2)]
    made = volumes.create_cloned_volumes(names, source, 12 * MiB)
    assert [volume.name for volume in made] == names
    assert {volume.size for volume in made} == {12 * MiB}
    assert len({volume.parent for volume in made}) == 1
    assert len(raw.snaps("volumes", source)) == 1
    for name in names:
        expected = samples.pattern("source", 9 * MiB) + bytes(3 * MiB)
        assert raw.read("volumes", name) == expected
    for name in names:
        assert len(raw.snaps("volumes", source)) == 1
        volumes.delete(name)
    assert raw.snaps("volumes", source) == []


def test_no_clones_at_all(volumes, raw, source):
    assert list(volumes.create_cloned_volumes([], source)) == []
    assert raw.snaps("volumes", source) == []


def test_clones_of_a_name_that_is_taken_are_refused(volumes, source, unchanged):
    with pytest.raises(exceptions.Duplicate):
        volumes.create_cloned_volume(source, source)
    with pytest.raises(exceptions.Duplicate):
        volumes.create_cloned_volumes(["clone-1", source, "clone-2"], source)


def test_clones_made_at_once_by_many_threads(volumes, raw, source):
    names = [f"clone-{number}" for number in range(8)]
    threads = [
        threading.Thread(target=volumes.create_cloned_volume, args=(name, source))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert raw.images("volumes") == [*names, source]
    threads = [threading.Thread(target=volumes.delete, args=(name,)) for name in names]
    for name in names:
        assert raw.read("volumes", name) == samples.pattern("source", 9 * MiB)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert raw.images("volumes") == [source]
    assert raw.snaps("volumes", source) == []


def test_a_source_that_is_deleted_right_before_its_snapshot(place, raw, clone_format, monkeypatch):
    """It may be removed at any moment, and then librbd waits for its lock for ever."""
    volumes, others = (place.volumes(clone_format=clone_format) for _ in range(2))
    volumes.create("source", MiB)
    volumes.create_cloned_volume("clone-1", "source")
    make_base = cloning.Cloner._make_base

    def deleted_before(*args):
        others.delete("source")
        return make_base(*args)

    monkeypatch.setattr(cloning.Cloner, "_make_base", deleted_before)
    # In format 1 it is only renamed, and stays while it has a snapshot.
    gone = exceptions.ImageNotFound if clone_format == 2 else exceptions.SnapshotNotFound
    with pytest.raises(gone):
        volumes.create_cloned_volume("clone-2", "source")
    volumes.delete("clone-1")


@pytest.mark.parametrize("target", ["source", "destination"])
def test_the_depth_limit_is_kept(place, raw, target, flatten_mode, clone_format):
    volumes = place.volumes(
        clone_format=clone_format,
        rbd_max_clone_depth=2,
        rbd_flatten_target=target,
        rbd_flatten_mode=flatten_mode,
    )
    data = samples.pattern("depth", MiB)
    volumes.create("v0", MiB)
    raw.write("volumes", "v0", data)
    assert volumes.create_cloned_volume("v1", "v0").depth == 1
    assert volumes.create_cloned_volume("v2", "v1").depth == 2
    made = volumes.create_cloned_volume("v3", "v2")
    depths = {volume.name: volume.depth for volume in volumes.list()}
    if target == "source":
        assert depths == {"v0": 0, "v1": 1, "v2": 0, "v3": 1}
        assert raw.snaps("volumes", "v1") == []
    else:
        assert depths == {"v0": 0, "v1": 1, "v2": 2, "v3": 0}
        assert raw.snaps("volumes", "v2") == []
    assert made == volumes.get("v3")
    for name in ("v0", "v2", "v1", "v3"):
        assert raw.read("volumes", name) == data
        volumes.delete(name)


@pytest.mark.parametrize("limit", [0, -1])
def test_no_depth_at_all_makes_full_copies(place, raw, source, limit):
    volumes = place.volumes(rbd_max_clone_depth=limit)
    made = volumes.create_cloned_volume("copy", source, 12 * MiB)
    assert made == Volume("copy", 12 * MiB, None, 0, ())
    assert raw.read("volumes", "copy") == samples.pattern("source", 9 * MiB) + bytes(3 * MiB)
    assert raw.snaps("volumes", source) == []
    assert raw.snaps("volumes", "copy") == []
    volumes.delete("copy")


# flatten


def test_flatten_lets_go_of_the_parent_and_of_what_carried_it(place, raw, source, flatten_mode):
    volumes = place.volumes(rbd_flatten_mode=flatten_mode)
    volumes.create_cloned_volume("clone", source, 12 * MiB)
    with place.held_open("volumes", "clone", data=b"in use"):
        assert volumes.flatten("clone") == Volume("clone", 12 * MiB, None, 0, ())
    expected = b"in use" + samples.pattern("source", 9 * MiB)[6:] + bytes(3 * MiB)
    assert raw.read("volumes", "clone") == expected
    assert raw.snaps("volumes", source) == []
    assert volumes.flatten("clone").parent is None
    volumes.delete("clone")


def test_flatten_reclaims_a_deleted_parent(volumes, raw, image):
    volumes.clone("parent", image.uri)
    volumes.create_cloned_volume("clone", "parent")
    volumes.delete("parent")
    assert list(raw.trash("volumes").values()) == ["parent"]
    seen = []
    volumes.flatten("clone", progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] <= seen[-1][1]
    assert raw.trash("volumes") == {}
    assert raw.read("volumes", "clone") == samples.pattern("image", 9 * MiB)
    volumes.delete("clone")
