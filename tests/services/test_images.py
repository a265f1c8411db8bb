# SPDX-License-Identifier: Apache-2.0
"""Images: every verb but ``add``, as client.glance. Uploads are in test_uploads."""

import gc
import itertools

import pytest
import samples

from rbdstore import exceptions, spec

MiB = samples.MiB


def read(images, uri, *args):
    return b"".join(images.get(uri, *args))


# get, get_size, exists, list


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, None),
        (0, 0),
        (0, 1),
        (5, 100),
        (8 * MiB - 1, 2),
        (8 * MiB, None),
        (MiB, 16 * MiB),
        (20 * MiB, None),
        (20 * MiB + 9, 1),
        (20 * MiB + 10, None),
        (20 * MiB + 10, 5),
        (20 * MiB, 99 * MiB),
    ],
)
def test_ranges(images, offset, length):
    size = 20 * MiB + 10
    data = samples.pattern("ranges", size)
    image = images.add("image-1", data)
    end = size if length is None else offset + length
    reader = images.get(image.uri, offset, length)
    assert reader.size == len(data[offset:end])
    assert b"".join(reader) == data[offset:end]
    images.delete(image.uri)


def test_a_reader_closes_itself_and_can_be_closed(images, raw):
    image = images.add("image-1", b"x" * 20 * MiB)
    ended = images.get(image.uri)
    assert sum(len(piece) for piece in ended) == 20 * MiB
    assert next(ended, None) is None
    with images.get(image.uri) as left:
        assert next(left)
    assert next(left, None) is None
    closed = images.get(image.uri)
    closed.close()
    closed.close()
    assert list(closed) == []
    forgotten = images.get(image.uri)
    assert next(forgotten)
    del forgotten
    gc.collect()
    images.delete(image.uri)
    assert raw.images("images") == []


def test_readers_do_not_disturb_each_other(images):
    data = samples.pattern("readers", 20 * MiB)
    image = images.add("image-1", data)
    pairs = list(zip(images.get(image.uri), images.get(image.uri), strict=True))
    assert b"".join(first for first, _ in pairs) == data
    assert b"".join(second for _, second in pairs) == data
    images.delete(image.uri)


def test_vanished_when_the_image_is_deleted_under_a_reader(images):
    image = images.add("image-1", b"x" * 20 * MiB)
    reader = images.get(image.uri)
    next(reader)
    images.delete(image.uri)
    with pytest.raises(exceptions.Vanished):
        list(reader)


def test_vanished_when_only_the_snapshot_goes(images, raw):
    image = images.add("image-1", b"x" * 20 * MiB)
    reader = images.get(image.uri)
    next(reader)
    raw.remove_snap("images", "image-1", "snap")
    with pytest.raises(exceptions.Vanished):
        list(reader)
    raw.remove("images", "image-1")


def test_vanished_when_the_image_is_made_anew_under_a_reader(images):
    image = images.add("image-1", b"x" * 20 * MiB)
    reader = images.get(image.uri)
    next(reader)
    images.delete(image.uri)
    assert images.add("image-1", b"y" * 20 * MiB).uri == image.uri
    with pytest.raises(exceptions.Vanished):
        list(reader)
    assert read(images, image.uri) == b"y" * 20 * MiB
    images.delete(image.uri)


def test_a_deferred_deletion_does_not_cut_off_a_reader(place, raw):
    images = place.images("admin")
    volumes = place.volumes("admin")
    data = samples.pattern("deferred", 20 * MiB)
    image = images.add("image-1", data)
    volumes.clone("volume-1", image.uri)
    reader = images.get(image.uri)
    first = next(reader)
    images.delete(image.uri, in_use="defer")
    assert first + b"".join(reader) == data
    volumes.delete("volume-1")
    assert raw.trash("images") == {}


def test_what_is_not_there(images, place):
    missing = f"rbd://{place.fsid}/images/missing/snap"
    for look in (images.get, images.get_size, images.delete):
        with pytest.raises(exceptions.ImageNotFound):
            look(missing)
    assert not images.exists(missing)


def test_a_snapshot_that_is_not_there(images, place):
    image = images.add("image-1", b"data")
    other = image.uri.replace("/snap", "/other")
    for look in (images.get, images.get_size):
        with pytest.raises(exceptions.SnapshotNotFound):
            look(other)
    assert not images.exists(other)
    assert images.exists(image.uri)
    images.delete(image.uri)


def test_the_old_form_of_a_location_works(images, raw):
    image = images.add("image-1", b"data")
    assert read(images, "rbd://image-1") == b"data"
    assert images.get_size("rbd://image-1") == 4
    assert images.exists("rbd://image-1")
    images.delete("rbd://image-1")
    assert not images.exists(image.uri)


def test_list_tells_of_images_only(images, raw):
    stored = [images.add(name, name.encode() * size) for size, name in enumerate(("b", "a", "c"))]
    raw.create("images", "no-image", 4096)
    raw.create("images", "d.partial", 4096)
    found = images.list()
    assert [(image.uri, image.size) for image in found] == sorted(
        (image.uri, image.size) for image in stored
    )
    assert {image.checksum for image in found} == {None}
    for image in stored:
        images.delete(image.uri)
    for name in ("no-image", "d.partial"):
        raw.remove("images", name)


# delete


def deletions(images):
    """What looks whether an image can be deleted, and what deletes it."""
    return images.check_delete, images.delete


def test_delete_leaves_nothing(images, raw):
    image = images.add("image-1", b"x" * 9 * MiB)
    images.delete(image.uri)
    assert raw.images("images") == []
    assert raw.trash("images") == {}
    for refused in deletions(images):
        with pytest.raises(exceptions.ImageNotFound):
            refused(image.uri)


def test_delete_refuses_an_image_with_clones_and_changes_nothing(images, place, raw):
    volumes = place.volumes()
    image = images.add("image-1", b"data")
    for name in ("volume-1", "volume-2"):
        volumes.clone(name, image.uri)
    for refused, policy in itertools.product(deletions(images), ({}, {"in_use": "refuse"})):
        with pytest.raises(exceptions.InUse) as caught:
            refused(image.uri, **policy)
        assert {str(child) for child in caught.value.children} == {
            "volumes/volume-1",
            "volumes/volume-2",
        }
        assert caught.value.spec == spec.ImageSpec("images", "image-1")
    assert raw.is_protected("images", "image-1", "snap")
    assert read(images, image.uri) == b"data"
    volumes.clone("volume-3", image.uri)
    for name in ("volume-1", "volume-2", "volume-3"):
        volumes.delete(name)
    images.delete(image.uri)


def test_delete_flattens_the_clones_where_that_is_asked_for(place, raw):
    images = place.images("admin")
    volumes = place.volumes("admin")
    data = samples.pattern("flatten", 9 * MiB)
    image = images.add("image-1", data)
    for name in ("volume-1", "volume-2"):
        volumes.clone(name, image.uri)
    images.delete(image.uri, in_use="flatten")
    assert raw.images("images") == []
    assert raw.trash("images") == {}
    for name in ("volume-1", "volume-2"):
        assert volumes.get(name).parent is None
        assert raw.read("volumes", name) == data
        volumes.delete(name)


def test_delete_defers_where_that_is_asked_for(place, raw):
    images = place.images("admin")
    volumes = place.volumes("admin")
    data = samples.pattern("defer", 9 * MiB)
    image = images.add("image-1", data)
    for name in ("volume-1", "volume-2"):
        volumes.clone(name, image.uri)
    images.delete(image.uri, in_use="defer")
    assert raw.images("images") == []
    assert list(raw.trash("images").values()) == ["image-1"]
    assert images.list() == []
    assert not images.exists(image.uri)
    again = images.add("image-1", b"another of the same name")
    volumes.delete("volume-1")
    assert raw.read("volumes", "volume-2") == data
    assert volumes.get("volume-2").depth == 1
    volumes.delete("volume-2")
    assert raw.trash("images") == {}
    assert read(images, again.uri) == b"another of the same name"
    images.delete(again.uri)


@pytest.mark.parametrize("policy", ["refuse", "flatten", "defer"])
def test_delete_of_an_image_without_clones_is_the_same_whatever_is_asked(images, raw, policy):
    image = images.add("image-1", b"data")
    images.delete(image.uri, in_use=policy)
    assert raw.images("images") == []
    assert raw.trash("images") == {}


@pytest.mark.parametrize("policy", ["refuse", "flatten", "defer"])
def test_delete_refuses_an_image_with_snapshots_of_others(images, raw, policy):
    image = images.add("image-1", b"data")
    raw.snap("images", "image-1", "an operator's", protect=False)
    for refused in deletions(images):
        with pytest.raises(exceptions.InUse) as caught:
            refused(image.uri, in_use=policy)
        assert caught.value.snapshots == ("an operator's",)
    assert read(images, image.uri) == b"data"
    raw.remove_snap("images", "image-1", "an operator's")
    images.delete(image.uri)


@pytest.mark.parametrize("policy", ["refuse", "flatten", "defer"])
def test_delete_refuses_an_image_that_is_open_for_writing(images, place, policy):
    image = images.add("image-1", b"data")
    with place.held_open("images", "image-1"):
        for refused in deletions(images):
            with pytest.raises(exceptions.InUse) as caught:
                refused(image.uri, in_use=policy)
            assert len(caught.value.watchers) == 1
        assert read(images, image.uri) == b"data"
    images.delete(image.uri)
