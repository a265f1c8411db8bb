# SPDX-License-Identifier: Apache-2.0
"""Images from volumes: within the cluster or as a copy, whole, and with nothing left of it."""

import hashlib
import logging
import time

import pytest
import samples

import rbdstore
from rbdstore import exceptions, leases, spec
from rbdstore.exchange.exports import ExportedImage

MiB = samples.MiB
DATA = samples.pattern("volume", 5 * MiB) + bytes(4 * MiB)
OTHER = b"written later"


@pytest.fixture
def images(place):
    return place.images("admin")


@pytest.fixture
def volumes(place):
    return place.volumes("admin")


@pytest.fixture
def image(images):
    stored = images.add("image-1", samples.pattern("image", 9 * MiB))
    yield stored
    images.delete(stored.uri)


@pytest.fixture
def volume(place, image, volumes, raw):
    """A clone of an image, written to, whose bytes are ``DATA``."""
    volumes.clone("volume-1", image.uri)
    raw.write("volumes", "volume-1", DATA)
    yield "volume-1"
    volumes.delete("volume-1")


@pytest.mark.parametrize("method", ["auto", "cow", "copy"])
def test_an_image_is_the_volume_as_it_was(place, images, raw, volume, method, clone_format):
    volumes = place.volumes("admin", clone_format=clone_format)
    before = raw.state()
    made = volumes.copy_to_image(volume, images, "image-2", method=method)
    assert made.uri == images.uri("image-2")
    assert made.size == images.get_size(made.uri) == 9 * MiB
    assert made.method == ("copy" if method == "copy" else "cow")
    assert made.reason == ""
    raw.write("volumes", volume, OTHER)
    assert b"".join(images.get(made.uri)) == DATA
    assert raw.parent("images", "image-2") is None
    assert raw.snaps("images", "image-2") == ["snap"]
    assert raw.is_protected("images", "image-2", "snap")
    images.delete(made.uri)
    assert raw.state() == before


@pytest.mark.parametrize("method", ["cow", "copy"])
def test_hashes_are_computed_where_that_is_asked_for(volumes, images, volume, method):
    made = volumes.copy_to_image(volume, images, "image-2", method=method, hashing_algo="sha256")
    assert made == ExportedImage(
        images.uri("image-2"),
        9 * MiB,
        method,
        checksum=hashlib.md5(DATA).hexdigest(),
        os_hash_algo="sha256",
        os_hash_value=hashlib.sha256(DATA).hexdigest(),
    )
    images.delete(made.uri)


def test_a_clone_has_no_checksums(volumes, images, volume):
    made = volumes.copy_to_image(volume, images, "image-2", method="cow")
    assert made == ExportedImage(images.uri("image-2"), 9 * MiB, "cow")
    images.delete(made.uri)


@pytest.mark.parametrize("method", ["cow", "copy"])
def test_a_volume_that_is_open_elsewhere(place, volumes, images, raw, volume, method):
    with place.held_open("volumes", volume, data=OTHER):
        made = volumes.copy_to_image(volume, images, "image-2", method=method)
    assert b"".join(images.get(made.uri)) == OTHER + DATA[len(OTHER) :]
    images.delete(made.uri)


@pytest.mark.parametrize("method", ["cow", "copy"])
def test_an_empty_volume_is_an_empty_image(volumes, images, raw, method):
    volumes.create("empty", 0)
    made = volumes.copy_to_image("empty", images, "image-2", method=method, hashing_algo="md5")
    assert (made.size, made.checksum) == (0, hashlib.md5(b"").hexdigest())
    assert raw.snaps("volumes", "empty") == []
    images.delete(made.uri)
    volumes.delete("empty")


def test_an_image_of_a_volume_with_features_of_early_releases(place, images, image, raw, features):
    volumes = place.volumes("admin", features=features)
    volumes.clone("volume-1", image.uri)
    made = volumes.copy_to_image("volume-1", images, "image-2", method="cow")
    volumes.delete("volume-1")
    assert raw.parent("images", "image-2") is None
    assert b"".join(images.get(made.uri)) == samples.pattern("image", 9 * MiB)
    images.delete(made.uri)


def test_an_image_becomes_a_volume_becomes_an_image(volumes, images, image, raw):
    data = b"".join(images.get(image.uri))
    uri = image.uri
    for number in range(2, 5):
        volumes.clone(f"volume-{number}", uri)
        uri = volumes.copy_to_image(f"volume-{number}", images, f"image-{number}").uri
        volumes.delete(f"volume-{number}")
        assert raw.read("images", f"image-{number}", "snap") == data
    for number in range(2, 5):
        images.delete(images.uri(f"image-{number}"))


# What does not work


def test_another_cluster_gets_a_copy(volumes, volume, raw, unchanged, tmp_path, caplog):
    with rbdstore.connect("file", file_store_datadir=str(tmp_path), rbd_pool="images") as there:
        with pytest.raises(exceptions.NotCloneable, match="is to be in cluster"):
            volumes.copy_to_image(volume, there.images, "image-2", method="cow")
        unchanged()
        assert there.images.list() == []
        with caplog.at_level(logging.WARNING, "rbdstore"):
            made = volumes.copy_to_image(volume, there.images, "image-2")
        (line,) = [
            record.getMessage()
            for record in caplog.records
            if record.name == "rbdstore.exchange.exporting"
        ]
        assert "volumes/volume-1 cannot become an image without a copy: " in line
        assert made.method == "copy"
        assert made.reason in line
        assert b"".join(there.images.get(made.uri)) == DATA
        there.images.delete(made.uri)
        assert there._cluster.leftovers() == []


@pytest.mark.parametrize("method", ["auto", "cow", "copy"])
def test_a_name_that_is_taken(volumes, images, volume, image, unchanged, method):
    with pytest.raises(exceptions.Duplicate):
        volumes.copy_to_image(volume, images, "image-1", method=method)


@pytest.mark.parametrize("method", ["auto", "cow", "copy"])
def test_a_volume_that_is_not_there(volumes, images, unchanged, method):
    with pytest.raises(exceptions.ImageNotFound):
        volumes.copy_to_image("volume-1", images, "image-2", method=method)


# In the background


def wait_until(is_so):
    deadline = time.monotonic() + 100
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_snapshot_goes_when_the_flatten_has_ended(
    volumes, images, volume, raw, unchanged, flatten_mode
):
    made = volumes.copy_to_image(volume, images, "image-2", flatten=flatten_mode)
    assert b"".join(images.get(made.uri)) == DATA
    wait_until(lambda: raw.snaps("volumes", volume) == [])
    assert raw.parent("images", "image-2") is None
    assert b"".join(images.get(made.uri)) == DATA
    images.delete(made.uri)
    # Who has removed the snapshot lets go of the image's name after that.
    wait_until(lambda: not raw.state().get(("volumes", "leases")))


def test_a_flatten_that_ends_when_its_store_is_no_more(
    place, volumes, images, volume, raw, flatten_mode
):
    """The next one to make an image of the volume removes the snapshot."""
    with rbdstore.connect(place.driver, **place.options("volumes")) as gone:
        gone.volumes.copy_to_image(volume, images, "image-2", flatten=flatten_mode)
    wait_until(lambda: raw.parent("images", "image-2") is None)
    volumes.copy_to_image(volume, images, "image-3")
    assert raw.snaps("volumes", volume) == []
    for image_id in ("image-2", "image-3"):
        assert raw.read("images", image_id, "snap") == DATA
        images.delete(images.uri(image_id))


def test_a_snapshot_that_somebody_is_about_to_clone_is_left_alone(volumes, images, volume, raw):
    name = spec.new_export_snap("image-9")
    raw.snap("volumes", volume, name, protect=False)
    with leases.held(volumes._pool, spec.export_lease("image-9"), 30):
        images.delete(volumes.copy_to_image(volume, images, "image-2").uri)
    assert raw.snaps("volumes", volume) == [name]
    # Nobody is, any more.
    images.delete(volumes.copy_to_image(volume, images, "image-2").uri)
    assert raw.snaps("volumes", volume) == []
