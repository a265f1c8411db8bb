# SPDX-License-Identifier: Apache-2.0
"""Images, volumes and disks become each other, each by the user who does that work, and no byte
passes through the client but where it must be copied.
"""

import logging

import pytest
import samples
import stores

from rbdstore import exceptions, settings, store
from rbdstore.drivers.rbd.image import RbdImage
from rbdstore.testing import faults
from rbdstore.testing.recipe import Role

MiB, GiB = samples.MiB, samples.GiB
SIZE = 9 * MiB
DATA = samples.pattern("image", SIZE)
DISK = "0f5f9e2e_disk"

# Cinder as an operator makes it who wants images of volumes made within the cluster.
CINDER = Role(
    "cinder-images",
    osd=("profile rbd pool=volumes", "profile rbd pool=images"),
    mgr=("profile rbd pool=volumes", "profile rbd pool=images"),
)


@pytest.fixture(scope="module", autouse=True)
def _more_users(sandbox):
    with stores.more_users(sandbox, CINDER):
        yield


@pytest.fixture
def glance(sandbox):
    return stores.image_store(sandbox)


@pytest.fixture
def image(glance):
    stored = glance.add("image-1", DATA)
    yield stored
    glance.delete(stored.uri)


@pytest.fixture
def passed(monkeypatch):
    """How many bytes have been read and written through the driver, in this process."""
    counted = {"read": 0, "written": 0}
    plain = {name: getattr(RbdImage, name) for name in ("read", "aio_read", "write", "aio_write")}

    def read(name):
        def call(self, offset, length):
            counted["read"] += length
            return plain[name](self, offset, length)

        return call

    def write(name):
        def call(self, offset, data, *more):
            counted["written"] += len(data)
            return plain[name](self, offset, data, *more)

        return call

    for name in plain:
        monkeypatch.setattr(RbdImage, name, (read if "read" in name else write)(name))
    return counted


def disks_of(sandbox, user="nova"):
    return stores.store(sandbox, user, "vms").disks


# By whom, and with how many bytes


def test_image_to_disk_to_image_as_nova(sandbox, raw, glance, image, passed):
    disks = disks_of(sandbox)
    passed.update(read=0, written=0)
    assert disks.clone(DISK, [image.uri], SIZE).method == "clone"
    made = disks.snapshot_to_image(DISK, glance, "image-2")
    assert (made.method, made.size, made.uri) == ("cow", SIZE, glance.uri("image-2"))
    assert passed == {"read": 0, "written": 0}
    disks.cleanup("0f5f9e2e")
    assert raw.parent("images", "image-2") is None
    assert raw.read("images", "image-2", "snap") == DATA
    # Glance may read what nova has made, and delete it.
    assert b"".join(glance.get(made.uri)) == DATA
    glance.delete(made.uri)


def test_image_to_volume_to_image_as_cinder_with_a_right_to_images(
    sandbox, raw, glance, image, passed
):
    volumes = stores.volume_store(sandbox, user=CINDER.name)
    passed.update(read=0, written=0)
    volumes.clone("volume-1", image.uri)
    made = volumes.copy_to_image("volume-1", glance, "image-2", method="cow")
    assert made.method == "cow"
    assert passed == {"read": 0, "written": 0}
    volumes.delete("volume-1")
    assert raw.read("images", "image-2", "snap") == DATA
    glance.delete(made.uri)


def test_image_to_volume_to_image_as_cinder(sandbox, raw, glance, image, passed):
    """Who has no right to write images reads the volume, and glance writes the image."""
    volumes = stores.volume_store(sandbox)
    passed.update(read=0, written=0)
    volumes.clone("volume-1", image.uri)
    assert passed == {"read": 0, "written": 0}
    made = volumes.copy_to_image("volume-1", glance, "image-2")
    assert made.method == "copy"
    assert made.checksum == image.checksum
    assert passed == {"read": SIZE, "written": SIZE}
    volumes.delete("volume-1")
    assert raw.read("images", "image-2", "snap") == DATA
    glance.delete(made.uri)


def test_who_may_not_write_images_falls_back_to_a_copy(sandbox, raw, glance, caplog):
    disks = disks_of(sandbox, "nova-ro")
    raw.create("vms", DISK, data=DATA)
    before = {pool: raw.objects(pool) for pool in ("images", "vms")}
    with pytest.raises(exceptions.PermissionDenied, match="ceph auth caps client"):
        disks.snapshot_to_image(DISK, glance, "image-2", method="cow")
    assert {pool: raw.objects(pool) for pool in before} == before
    with caplog.at_level(logging.WARNING, "rbdstore"):
        made = disks.snapshot_to_image(DISK, glance, "image-2")
    (line,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "rbdstore.exchange.exporting"
    ]
    assert "vms/0f5f9e2e_disk cannot become an image without a copy: " in line
    assert "osd capability `profile rbd pool=images`" in line
    assert "ceph auth caps client.nova-ro`" in line
    assert (made.method, made.size) == ("copy", SIZE)
    assert raw.objects("vms") == before["vms"]
    assert raw.snaps("vms", DISK) == []
    assert raw.images("images") == ["image-2"]
    assert raw.read("images", "image-2", "snap") == DATA
    glance.delete(made.uri)
    disks.cleanup("0f5f9e2e")


@pytest.mark.parametrize("method", ["cow", "copy"])
def test_who_may_not_write_volumes_leaves_nothing(sandbox, raw, glance, method):
    """The volume is in a pool that nova may only look at, if that."""
    raw.create("volumes", "volume-1", data=DATA)
    before = {pool: raw.objects(pool) for pool in ("images", "volumes")}
    with pytest.raises(exceptions.PermissionDenied):
        stores.store(sandbox, "nova", "volumes").disks.snapshot_to_image(
            "volume-1", glance, "image-2", method=method
        )
    assert {pool: raw.objects(pool) for pool in before} == before
    raw.remove("volumes", "volume-1")


# At what cost


def test_before_the_flatten_the_cost_does_not_grow_with_the_size(
    sandbox, raw, cluster, monkeypatch
):
    """The calls of the driver are the same for 1 GiB and for 16 GiB."""
    plan = faults.Plan()
    wrapped = faults.FaultyCluster(cluster, plan)
    images, nova = (
        store.Store(wrapped, settings.Settings(pool=pool, lease_seconds=600))
        for pool in ("images", "vms")
    )

    def refuse(*_args, **_more):
        raise exceptions.StorageFull("it would be flattened here")

    counted = []
    # The first time something may be looked up that is known from then on.
    for size in (GiB, GiB, 16 * GiB):
        raw.create("images", "image-1", size)
        raw.write("images", "image-1", DATA, size - SIZE)
        raw.snap("images", "image-1", "snap")
        with monkeypatch.context() as patched:
            patched.setattr(RbdImage, "flatten", refuse)
            plan.watch()
            nova.disks.clone(DISK, [images.images.uri("image-1")], size)
            with pytest.raises(exceptions.StorageFull):
                nova.disks.snapshot_to_image(DISK, images.images, "image-2", method="cow")
            counted.append(plan.stop())
        nova.disks.cleanup("0f5f9e2e")
        images.images.delete(images.images.uri("image-1"))
    _, small, large = counted
    assert small == large
    assert not {"Image.read", "Image.aio_read", "Image.write", "Image.aio_write"} & {*large}
