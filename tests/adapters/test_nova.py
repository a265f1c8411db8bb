# SPDX-License-Identifier: Apache-2.0
"""Nova's own image backend for RBD, over this library's driver, and over Nova's as a control."""

import contextlib
import inspect
import uuid

import nova.conf
import pools
import pytest
import rados
import rbd
import samples
from nova import exception
from nova.storage import rbd_utils
from nova.virt.libvirt import imagebackend

import rbdstore
from rbdstore.adapters import nova as adapter

CONF = nova.conf.CONF
MiB = samples.MiB
DATA = samples.pattern("image", 9 * MiB)


class Instance:
    """What the backend asks of an instance."""

    def __init__(self):
        self.uuid = str(uuid.uuid4())


class ImageService:
    """Glance, as far as the backend asks it: where an image is, and what it is."""

    def __init__(self):
        self.images = {}

    def get(self, _context, image_id, include_locations=False):
        assert include_locations
        return self.images[image_id]


@pytest.fixture(autouse=True)
def _nothing_left(ceph):
    """See that each test leaves nothing behind, down to objects."""
    yield
    with rados.Rados(conffile=ceph.conf_path, rados_id="admin") as client:
        try:
            pools.assert_empty(client)
        finally:
            for pool in client.list_pools():
                pools.clear(client, pool)


@pytest.fixture
def options(ceph, tmp_path):
    """Nova's configuration for the sandbox, as operators write it."""
    path = tmp_path / "nova.conf"
    path.write_text(
        "[libvirt]\n"
        "images_type = rbd\n"
        "images_rbd_pool = vms\n"
        f"images_rbd_ceph_conf = {ceph.conf_path}\n"
        "rbd_user = nova\n"
        "rbd_secret_uuid = 11111111-2222-3333-4444-555555555555\n"
        "rbd_destroy_volume_retry_interval = 1\n"
        f"[DEFAULT]\ninstances_path = {tmp_path}\n"
    )
    CONF([], project="nova", default_config_files=[str(path)])
    yield CONF
    CONF.reset()


@pytest.fixture(params=["stock", "rbdstore"])
def driver(request, options, monkeypatch):
    """The class that Nova makes its drivers of."""
    if request.param == "rbdstore":
        # Taken back after the test.
        monkeypatch.setattr(rbd_utils, "RBDDriver", rbd_utils.RBDDriver)
        adapter.install()
        assert rbd_utils.RBDDriver is adapter.RBDDriver
    else:
        # It raises where both modules are there, if it is asked before they were needed.
        monkeypatch.setattr(rbd_utils, "rados", rados)
        monkeypatch.setattr(rbd_utils, "rbd", rbd)
    return rbd_utils.RBDDriver


@pytest.fixture
def service(monkeypatch):
    found = ImageService()
    monkeypatch.setattr(imagebackend, "IMAGE_API", found)
    return found


@pytest.fixture
def glance(ceph):
    with rbdstore.connect(
        "rbd", rbd_pool="images", rbd_user="admin", rbd_ceph_conf=ceph.conf_path
    ) as store:
        yield store


@pytest.fixture
def image(glance, service):
    """An image that Glance has, and tells the location of."""
    image_id = str(uuid.uuid4())
    stored = glance.images.add(image_id, DATA)
    service.images[image_id] = {
        "id": image_id,
        "disk_format": "raw",
        "locations": [{"url": stored.uri, "metadata": {}}],
    }
    yield image_id
    glance.images.delete(stored.uri)


@pytest.fixture
def instance():
    return Instance()


@pytest.fixture
def backend(driver, instance):
    """Nova's image backend over that driver, for the first disk."""
    return imagebackend.Rbd(instance, "disk")


@pytest.fixture
def vms(ceph):
    """The pool itself, by librbd."""
    with (
        rados.Rados(conffile=ceph.conf_path, rados_id="admin") as client,
        client.open_ioctx("vms") as ioctx,
    ):
        yield ioctx


def read(ioctx, name):
    with rbd.Image(ioctx, name, read_only=True) as image:
        return image.read(0, image.size())


def write(ioctx, name, data):
    with rbd.Image(ioctx, name) as image:
        image.write(data, 0)


def delete_disks(driver, instance):
    driver().cleanup_volumes(lambda name: name.startswith(instance.uuid))


def test_the_methods_are_novas():
    def shape(method):
        return [
            (name, given.kind, given.default)
            for name, given in inspect.signature(method).parameters.items()
        ]

    stock = {
        name: method
        for name, method in inspect.getmembers(rbd_utils.RBDDriver, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }
    assert len(stock) > 15
    for name, method in stock.items():
        assert shape(getattr(adapter.RBDDriver, name)) == shape(method), name


def test_a_disk_is_a_clone_of_its_image(driver, backend, image, vms, instance):
    backend.clone(None, image)
    assert backend.exists()
    name = f"{instance.uuid}_disk"
    assert read(vms, name) == DATA
    assert backend.get_disk_size(name) == 9 * MiB
    assert driver().parent_info(name) == ("images", image, "snap")
    backend.resize_image(12 * MiB)
    assert read(vms, name) == DATA + bytes(3 * MiB)
    backend.flatten()
    with pytest.raises(exception.ImageUnacceptable):
        driver().parent_info(name)
    backend.flatten()
    assert read(vms, name) == DATA + bytes(3 * MiB)
    delete_disks(driver, instance)
    assert not backend.exists()


# As genisoimage makes one: with the first volume descriptor of ISO 9660.
CONFIG_DRIVE = (bytes(16 * 2048) + b"\x01CD001\x01").ljust(MiB, b"\0")


@pytest.mark.parametrize(
    "config", [CONFIG_DRIVE, b"vfat".ljust(MiB, b"\0")], ids=["iso9660", "vfat"]
)
def test_a_disk_is_made_of_a_file(driver, backend, vms, instance, tmp_path, config):
    def fetch(target):
        with open(target, "wb") as file:
            file.write(DATA)

    backend.cache(fetch, "base", 12 * MiB)
    assert read(vms, f"{instance.uuid}_disk") == DATA + bytes(3 * MiB)
    local = tmp_path / "config"
    local.write_bytes(config)
    for _ in range(2):
        # The second takes the place of the first.
        imagebackend.Rbd(instance, "disk.config").import_file(instance, str(local), "disk.config")
    assert read(vms, f"{instance.uuid}_disk.config") == local.read_bytes()
    delete_disks(driver, instance)


def test_a_resize_that_is_reverted(driver, backend, image, vms, instance):
    backend.clone(None, image)
    name = f"{instance.uuid}_disk"
    backend.create_snap(rbd_utils.RESIZE_SNAPSHOT_NAME)
    write(vms, name, b"after the resize")
    backend.rollback_to_snap(rbd_utils.RESIZE_SNAPSHOT_NAME)
    assert read(vms, name) == DATA
    backend.remove_snap(rbd_utils.RESIZE_SNAPSHOT_NAME)
    backend.remove_snap(rbd_utils.RESIZE_SNAPSHOT_NAME, ignore_errors=True)
    with pytest.raises(exception.SnapshotNotFound):
        backend.rollback_to_snap(rbd_utils.RESIZE_SNAPSHOT_NAME)
    # An instance that is deleted in the middle has the snapshot still.
    backend.create_snap(rbd_utils.RESIZE_SNAPSHOT_NAME)
    delete_disks(driver, instance)


def test_a_direct_snapshot_becomes_an_image(
    driver, backend, image, vms, glance, instance, tmp_path
):
    backend.clone(None, image)
    write(vms, f"{instance.uuid}_disk", b"of the instance")
    image_id = str(uuid.uuid4())
    location = backend.direct_snapshot(None, "snapshot", "raw", image_id, image)
    expected = b"of the instance" + DATA[15:]
    assert location == glance.images.uri(image_id)
    assert b"".join(glance.images.get(location)) == expected
    exported = tmp_path / "exported"
    driver().export_image(str(exported), image_id, "snap", pool="images")
    assert exported.read_bytes() == expected
    # Neither holds the other.
    delete_disks(driver, instance)
    glance.images.delete(location)


def test_a_direct_snapshot_that_fails_leaves_nothing(
    driver, backend, image, vms, glance, instance
):
    backend.clone(None, image)
    taken = str(uuid.uuid4())
    there = glance.images.add(taken, b"another image")
    with pytest.raises((exception.NovaException, rbd.Error)):
        backend.direct_snapshot(None, "snapshot", "raw", taken, image)
    with rbd.Image(vms, f"{instance.uuid}_disk", read_only=True) as disk:
        assert list(disk.list_snaps()) == []
    assert b"".join(glance.images.get(there.uri)) == b"another image"
    glance.images.delete(there.uri)
    delete_disks(driver, instance)


def test_other_instances_disks_stay(driver, backend, image, instance):
    backend.clone(None, image)
    other = Instance()
    theirs = imagebackend.Rbd(other, "disk")
    theirs.clone(None, image)
    delete_disks(driver, instance)
    assert not backend.exists()
    assert theirs.exists()
    driver().destroy_volume(f"{other.uuid}_disk")
    assert not theirs.exists()


def test_what_libvirt_is_told(driver, backend, ceph):
    backend.disk_info_mapping = {"bus": "virtio", "dev": "vda", "type": "disk"}
    info = backend.libvirt_info("writeback", {})
    assert info.source_name == f"vms/{backend.rbd_name}"
    assert info.source_protocol == "rbd"
    assert set(info.source_hosts) == {"127.0.0.1"}
    assert info.auth_username == "nova"
    assert len(info.source_ports) == len(info.source_hosts) > 0
    hosts, ports = driver().get_mon_addrs(strip_brackets=False)
    assert set(zip(info.source_hosts, info.source_ports, strict=True)) == set(
        zip(hosts, ports, strict=True)
    )
    assert driver().get_fsid() == ceph.fsid
    assert driver().ceph_args() == ["--id", "nova", "--conf", ceph.conf_path]
    pool = driver().get_pool_info()
    assert sorted(pool) == ["free", "total", "used"]
    assert 0 < pool["free"] <= pool["total"]


def test_what_cannot_be_cloned(driver, image, service):
    found = driver()
    (location,) = service.images[image]["locations"]
    assert found.is_cloneable(location, {"disk_format": "raw"})
    assert not found.is_cloneable(location, {"disk_format": "qcow2"})
    for url in ("file:///tmp/a", "rbd://image", location["url"] + "x", "rbd://a/b/c/d"):
        assert not found.is_cloneable({"url": url}, {"disk_format": "raw"})
    assert found.parse_url(location["url"])[1:] == ["images", image, "snap"]
    for url in ("rbd://image", "http://elsewhere", "rbd://a//c/d"):
        with pytest.raises(exception.ImageUnacceptable):
            found.parse_url(url)


def test_a_missing_disk(driver):
    found = driver()
    assert not found.exists("missing_disk")
    # Warned of, and no more.
    found.remove_image("missing_disk")
    with pytest.raises((exception.DiskNotFound, rbd.ImageNotFound)):
        found.size("missing_disk")
    with contextlib.suppress(rbd.ImageNotFound):
        found.remove_snap("missing_disk", "snapshot")
