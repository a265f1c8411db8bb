# SPDX-License-Identifier: Apache-2.0
"""What each user may do, and that who may not has changed nothing; and locations that lie."""

import subprocess
import sys

import pytest
import samples
import stores

from rbdstore import exceptions
from rbdstore.testing import recipe

MiB = samples.MiB
DATA = samples.pattern("rights", MiB)

# Glance as set-up guides made it for long: nothing lets it see who cloned its images.
NARROW = recipe.Role("glance-narrow", osd=("profile rbd pool=images",), mgr=())
# Cinder that may not read what its volumes were cloned from.
ALONE = recipe.Role("cinder-alone", osd=("profile rbd pool=volumes",), mgr=())

FORMATS = pytest.mark.parametrize("clone_format", [1, 2], ids=["format 1", "format 2"])
POLICIES = pytest.mark.parametrize("policy", ["refuse", "flatten", "defer"])


@pytest.fixture(scope="module", autouse=True)
def _narrow(sandbox):
    with stores.more_users(sandbox, NARROW, ALONE):
        yield


@pytest.fixture
def raw(sandbox):
    with stores.foreign(sandbox) as client:
        yield client


@pytest.fixture
def image(sandbox, raw):
    """An image, removed at the end by whatever can."""
    stored = stores.image_store(sandbox).add("image-1", DATA)
    yield stored
    if raw.images("images"):
        stores.admin_image_store(sandbox).delete(stored.uri)


def is_whole(raw, name="image-1"):
    with raw.open("images", name, snap="snap", read_only=True) as opened:
        assert opened.is_protected_snap("snap")
        assert opened.read(0, MiB) == DATA
    assert raw.trash("images") == {}
    return True


# Glance


@FORMATS
@POLICIES
def test_glance_that_cannot_list_clones_deletes_nothing(sandbox, raw, image, clone_format, policy):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    volumes.clone("volume-1", image.uri)
    narrow = stores.image_store(sandbox, user=NARROW.name)
    with pytest.raises(exceptions.PermissionDenied) as caught:
        narrow.delete(image.uri, in_use=policy)
    text = str(caught.value)
    assert "allow class-read pool=volumes object_prefix rbd_" in text
    assert f"client.{NARROW.name}" in text
    assert "images/image-1" in text
    assert is_whole(raw)
    assert raw.read("volumes", "volume-1") == DATA
    assert volumes.get("volume-1").depth == 1
    volumes.delete("volume-1")


def test_a_deletion_that_is_only_told_is_refused_as_well(sandbox, image):
    volumes = stores.volume_store(sandbox)
    volumes.clone("volume-1", image.uri)
    options = {"rbd_ceph_conf": sandbox.conf_path, "rbd_user": NARROW.name, "rbd_pool": "images"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rbdstore.cli", "--driver", "rbd"),
            *(word for pair in options.items() for word in ("--option", "=".join(pair))),
            *("image", "delete", "image-1", "--dry-run", "--in-use", "defer"),
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "in pool volumes: it lacks the osd capability" in done.stderr
    volumes.delete("volume-1")


def test_glance_that_may_list_clones_names_them(sandbox, raw, image):
    volumes = stores.volume_store(sandbox)
    volumes.clone("volume-1", image.uri)
    with pytest.raises(exceptions.InUse) as caught:
        stores.image_store(sandbox).delete(image.uri)
    assert [str(child) for child in caught.value.children] == ["volumes/volume-1"]
    assert is_whole(raw)
    volumes.delete("volume-1")


def test_glance_cannot_flatten_the_volumes_of_others(sandbox, raw, image):
    volumes = stores.volume_store(sandbox)
    volumes.clone("volume-1", image.uri)
    with pytest.raises(exceptions.PermissionDenied):
        stores.image_store(sandbox).delete(image.uri, in_use="flatten")
    assert is_whole(raw)
    assert volumes.get("volume-1").depth == 1
    assert raw.read("volumes", "volume-1") == DATA
    volumes.delete("volume-1")


def test_glance_defers_and_cinder_may_not_finish_it(sandbox, raw, image):
    volumes = stores.volume_store(sandbox)
    volumes.clone("volume-1", image.uri)
    stores.image_store(sandbox).delete(image.uri, in_use="defer")
    assert raw.images("images") == []
    assert raw.read("volumes", "volume-1") == DATA
    assert volumes.get("volume-1").depth == 1
    volumes.delete("volume-1")
    assert raw.images("volumes") == []
    # It has no clone any more, and waits for somebody who may write in its pool.
    ((image_id, name),) = raw.trash("images").items()
    assert name == "image-1"
    with raw.open("images", image_id=image_id, snap="snap", read_only=True) as opened:
        assert opened.read(0, MiB) == DATA
        assert list(opened.list_children2()) == []
    _purge(raw, image_id)


def _purge(raw, image_id):
    with raw.ioctx("images") as ioctx:
        with raw.open("images", image_id=image_id) as opened:
            opened.unprotect_snap("snap")
            opened.remove_snap("snap")
        raw.rbd.trash_remove(ioctx, image_id)
        ioctx.remove_object(f"rbdstore.image.{image_id}")


def test_the_last_clone_takes_the_deferred_image_along_where_it_may(sandbox, raw, image):
    disks = stores.volume_store(sandbox, user="nova", pool="vms")
    disks.clone("disk", image.uri)
    stores.image_store(sandbox).delete(image.uri, in_use="defer")
    assert raw.read("vms", "disk") == DATA
    disks.delete("disk")
    assert raw.trash("images") == {}


# Cinder


def test_the_trash_is_listed_where_a_parent_may_not_be_read(sandbox, raw, image):
    kept = {"enable_deferred_deletion": True, "deferred_deletion_delay": 3600}
    cinder = stores.store(sandbox, "cinder", "volumes", **kept)
    cinder.volumes.clone("volume-1", image.uri)
    cinder.volumes.delete("volume-1")
    (found,) = stores.store(sandbox, ALONE.name, "volumes").trash.list()
    assert (found.name, found.is_ours, found.size, found.clones) == ("volume-1", True, None, None)
    assert cinder.trash.restore("volume-1") == "volume-1"
    stores.volume_store(sandbox).delete("volume-1")


@FORMATS
def test_cinder_clones_what_it_may_only_read(sandbox, raw, image, clone_format):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    assert volumes.clone("volume-1", image.uri, 2 * MiB).depth == 1
    assert raw.read("volumes", "volume-1") == DATA + bytes(MiB)
    volumes.flatten("volume-1")
    volumes.clone("volume-2", image.uri)
    for name in ("volume-1", "volume-2"):
        volumes.delete(name)
    assert is_whole(raw)


def test_cinder_may_read_images_and_change_none(sandbox, raw, image):
    reader = stores.image_store(sandbox, user="cinder")
    assert b"".join(reader.get(image.uri)) == DATA
    assert [found.uri for found in reader.list()] == [image.uri]
    before = raw.objects("images")
    with pytest.raises(exceptions.PermissionDenied):
        reader.add("image-2", DATA)
    for policy in ("refuse", "defer", "flatten"):
        with pytest.raises(exceptions.PermissionDenied):
            reader.delete(image.uri, in_use=policy)
    assert raw.objects("images") == before
    assert is_whole(raw)


def test_format_1_and_an_image_without_protection(sandbox, raw):
    """Cinder may not protect the snapshot, so only format 2 can clone it."""
    raw.create("images", "image-1", data=DATA)
    raw.snap("images", "image-1", "snap", protect=False)
    uri = f"rbd://{sandbox.fsid}/images/image-1/snap"
    with pytest.raises(exceptions.NotCloneable):
        stores.volume_store(sandbox, clone_format=1).clone("volume-1", uri)
    assert raw.images("volumes") == []
    volumes = stores.volume_store(sandbox, clone_format=2)
    volumes.clone("volume-1", uri)
    assert raw.read("volumes", "volume-1") == DATA
    volumes.delete("volume-1")
    raw.remove("images", "image-1")


@FORMATS
def test_clones_that_cinder_cannot_see_keep_a_volume(sandbox, raw, clone_format):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    volumes.create("volume-1", MiB)
    raw.write("volumes", "volume-1", DATA)
    volumes.create_snapshot("volume-1", "snapshot-1")
    with stores.foreign(sandbox, clone_format=clone_format) as nova:
        nova.clone("volumes", "volume-1", "snapshot-1", "vms", "disk")
    with pytest.raises(exceptions.PermissionDenied, match=r"client\.cinder"):
        volumes.delete_snapshot("volume-1", "snapshot-1")
    with pytest.raises((exceptions.PermissionDenied, exceptions.InUse)):
        volumes.delete("volume-1")
    assert volumes.get("volume-1").snapshots == ("snapshot-1",)
    with raw.open("volumes", "volume-1", read_only=True) as opened:
        assert opened.is_protected_snap("snapshot-1")
    assert raw.read("vms", "disk") == DATA
    raw.remove("vms", "disk")
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete("volume-1")


# Locations


@pytest.fixture
def everywhere(sandbox, raw, image):
    """An image and a volume of one name, ``image-1``, each with a snapshot ``snap``."""
    raw.create("volumes", "image-1", data=DATA)
    raw.snap("volumes", "image-1", "snap")
    yield image
    assert raw.read("volumes", "image-1", "snap") == DATA
    assert is_whole(raw)
    raw.remove("volumes", "image-1")


OTHER_FSID = "5f1d8f5e-7f7e-4b1b-9b1a-0c3d0f3f5d11"


@pytest.mark.parametrize(
    "crafted",
    [
        "rbd://{other}/images/image-1/snap",
        "rbd://{fsid}/volumes/image-1/snap",
        "rbd://{other}/volumes/image-1/snap",
        "rbd://{fsid}/images/image-1",
        "rbd://images/image-1",
        "rbd://{fsid}/images/image-1/snap/",
        "rbd://{fsid}/images/image-1/snap/more",
        "rbd://{fsid}//image-1/snap",
        "rbd:///images/image-1/snap",
        "rbd://",
        "rbd://{fsid}/volumes%2Fimage-1/image-1/snap",
        "rbd://{fsid}/images/..%2Fvolumes%2Fimage-1/snap",
        "rbd://{fsid}/images/volumes%2Fimage-1/snap",
        "rbd://{fsid}/images/image-1%40snap/snap",
        "rbd://{fsid}/images/image-1/%00snap",
        "rbd://{fsid}/images/image-1/%FF",
        "rbd://{fsid}/images/%20image-1/snap",
        "rbd://{fsid}/images/../volumes/image-1/snap",
        "RBD://{fsid}/images/image-1/snap",
        "rbd:{fsid}/images/image-1/snap",
        "file:///images/image-1/snap",
        "https://rbd://{fsid}/images/image-1/snap",
        "",
        None,
        7,
        b"rbd://image-1",
    ],
)
def test_a_crafted_location_reaches_nothing(sandbox, everywhere, crafted):
    images = stores.admin_image_store(sandbox)
    if isinstance(crafted, str):
        crafted = crafted.format(fsid=sandbox.fsid, other=OTHER_FSID)
    for verb in (images.get, images.get_size, images.exists, images.delete):
        with pytest.raises(exceptions.InvalidLocation):
            verb(crafted)
    for policy in ("flatten", "defer"):
        with pytest.raises(exceptions.InvalidLocation):
            images.delete(crafted, in_use=policy)


@pytest.mark.parametrize("name", ["image-1.partial", "volume.deleted", "rbdstore.lease.image-1"])
def test_a_location_of_what_is_ours_deletes_nothing(sandbox, raw, everywhere, name):
    raw.create("images", name, data=DATA)
    raw.snap("images", name, "snap")
    images = stores.image_store(sandbox)
    with pytest.raises(exceptions.InvalidInput):
        images.delete(f"rbd://{sandbox.fsid}/images/{name}/snap")
    assert is_whole(raw, name)
    raw.remove("images", name)


def test_a_location_of_another_snapshot_deletes_nothing(sandbox, everywhere):
    images = stores.admin_image_store(sandbox)
    for policy in ("refuse", "flatten", "defer"):
        with pytest.raises(exceptions.InvalidLocation):
            images.delete(everywhere.uri.replace("/snap", "/other"), in_use=policy)


def test_a_percent_encoded_location_is_the_same(sandbox, image):
    images = stores.image_store(sandbox)
    encoded = image.uri.replace("image-1", "%69mage%2D1")
    assert b"".join(images.get(encoded)) == DATA
    images.delete(encoded)
    assert not images.exists(image.uri)


def test_cinder_clones_from_its_own_pool_by_location(sandbox, raw):
    """A location says where an image is, and an image may be in the volumes' pool."""
    raw.create("volumes", "image-1", data=DATA)
    raw.snap("volumes", "image-1", "snap")
    volumes = stores.volume_store(sandbox)
    made = volumes.clone("volume-1", f"rbd://{sandbox.fsid}/volumes/image-1/snap")
    assert made.parent.pool == "volumes"
    assert raw.read("volumes", "volume-1") == DATA
    volumes.delete("volume-1")
    assert raw.snaps("volumes", "image-1") == ["snap"]
    raw.remove_snaps("volumes", "image-1")
    volumes.delete("image-1")


def test_a_pool_that_is_not_there_or_not_permitted(sandbox, raw, image):
    volumes = stores.volume_store(sandbox)
    with pytest.raises(exceptions.PoolNotFound):
        volumes.clone("volume-1", image.uri.replace("/images/", "/missing/"))
    with pytest.raises(exceptions.PermissionDenied):
        volumes.clone("volume-1", image.uri.replace("/images/", "/vms/"))
    assert raw.images("volumes") == []
