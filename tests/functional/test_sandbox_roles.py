# SPDX-License-Identifier: Apache-2.0
"""Each user of the sandbox does its service's job, and no more, on the real cluster."""

import contextlib
import json
import pathlib
import time

import pytest
import rados
import rbd

from rbdstore.testing.sandbox import ROLES, CephSandbox

MIB = 1 << 20
# layering, exclusive lock, object map, fast diff, deep flatten: what Ceph gives new images
FEATURES = 61
DOCUMENT = pathlib.Path(__file__).parents[2] / "doc" / "source" / "developer" / "sandbox.rst"

own_pool = {
    "glance": "images",
    "cinder": "volumes",
    "nova": "vms",
    "nova-ro": "vms",
    "cinder-backup": "backups",
}


@pytest.fixture(scope="module")
def sandbox():
    with CephSandbox() as running:
        yield running


@pytest.fixture(params=["2", "1"])
def clone_format(request):
    return request.param


@pytest.fixture
def connect(sandbox, clone_format):
    """Make users of pools, and see that each test leaves the pools empty."""
    with contextlib.ExitStack() as stack:

        def as_user(user, pool=None):
            conf = {"rbd_default_clone_format": clone_format, "rados_osd_op_timeout": "20"}
            cluster = rados.Rados(conffile=sandbox.conf_path, rados_id=user, conf=conf)
            stack.callback(cluster.shutdown)
            cluster.connect()
            return User(cluster, pool or own_pool[user])

        yield as_user
        for pool in sorted(set(own_pool.values())):
            admin = as_user("admin", pool)
            assert rbd.RBD().list(admin.ioctx) == []
            assert list(rbd.RBD().trash_list(admin.ioctx)) == []


class User:
    """A user's view of one pool."""

    def __init__(self, cluster, pool):
        self.cluster = cluster
        self.pool = pool
        self.ioctx = cluster.open_ioctx(pool)

    def create(self, name, data=b"written"):
        rbd.RBD().create(self.ioctx, name, 8 * MIB, features=FEATURES)
        with self.open(name) as image:
            image.write(data, 0)

    def create_with_snap(self, name):
        self.create(name)
        with self.open(name) as image:
            image.create_snap("snap")
            image.protect_snap("snap")

    def remove_with_snap(self, name):
        with self.open(name) as image:
            image.unprotect_snap("snap")
            image.remove_snap("snap")
        self.remove(name)

    def remove(self, name):
        rbd.RBD().remove(self.ioctx, name)

    def open(self, name, read_only=False):
        return rbd.Image(self.ioctx, name, read_only=read_only)

    def clone_from(self, parents, parent, name):
        rbd.RBD().clone(parents.ioctx, parent, "snap", self.ioctx, name, features=FEATURES)

    def read(self, name):
        with self.open(name, read_only=True) as image:
            return image.read(0, 7)

    def children(self, name):
        with self.open(name, read_only=True) as image:
            image.set_snap("snap")
            return [(child["pool"], child["image"]) for child in image.list_children2()]

    def manager(self, prefix, **arguments):
        command = json.dumps({"prefix": prefix, **arguments})
        status, output, error = self.cluster.mgr_command(command, b"")
        assert status == 0, error
        return json.loads(output)

    def flatten_as_task(self, name):
        self.manager("rbd task add flatten", image_spec=f"{self.pool}/{name}")
        end = time.monotonic() + 30
        while self.manager("rbd task list"):
            assert time.monotonic() < end
            time.sleep(0.1)
        with self.open(name) as image, pytest.raises(rbd.ImageNotFound):
            image.parent_info()


def refused():
    return pytest.raises(rbd.PermissionError)


def test_the_table_in_the_documentation_is_the_one_in_the_code():
    text = DOCUMENT.read_text()
    for role in ROLES:
        assert role.name in own_pool
        for service in ("mon", "osd", "mgr"):
            for cap in getattr(role, service):
                assert f"``{cap}``" in text


@pytest.mark.parametrize("name", own_pool)
def test_everyone_rules_its_own_pool(connect, name):
    user = connect(name)
    user.create_with_snap("parent")
    user.clone_from(user, "parent", "child")
    assert user.children("parent") == [(user.pool, "child")]
    user.flatten_as_task("child")
    with user.open("child") as image:
        image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
        image_id = image.id()
    rbd.RBD().rename(user.ioctx, "child", "renamed")
    rbd.RBD().trash_move(user.ioctx, "renamed", 0)
    rbd.RBD().trash_remove(user.ioctx, image_id)
    user.remove_with_snap("parent")
    user.ioctx.lock_exclusive("name.lock", "lease", "cookie", duration=30)
    user.ioctx.unlock("name.lock", "lease", "cookie")
    user.ioctx.remove_object("name.lock")
    assert "vms" in user.cluster.list_pools()
    assert rbd.RBD().pool_stats_get(user.ioctx)["image_count"] == 0
    # What a client does to the lock of one that died.
    user.cluster.blocklist_add("127.0.0.1:1/1", 1)


@pytest.mark.parametrize("name", ["cinder", "nova", "nova-ro"])
def test_clones_of_images_are_made_and_removed_without_writing_to_images(connect, name):
    glance, user = connect("glance"), connect(name)
    images = User(user.cluster, "images")
    glance.create_with_snap("image")
    for child in ("kept", "flattened"):
        user.clone_from(images, "image", child)
    assert user.read("kept") == b"written"
    with user.open("kept") as image:
        image.write(b"changed", 0)
    expected = [(user.pool, "flattened"), (user.pool, "kept")]
    assert sorted(images.children("image")) == expected
    assert sorted(glance.children("image")) == expected
    user.flatten_as_task("flattened")
    assert glance.children("image") == [(user.pool, "kept")]
    for child in ("kept", "flattened"):
        user.remove(child)
    glance.remove_with_snap("image")


def test_glance_sees_children_in_the_trash_and_no_bytes_of_them(connect):
    glance, cinder = connect("glance"), connect("cinder")
    glance.create_with_snap("image")
    cinder.clone_from(User(cinder.cluster, "images"), "image", "volume")
    with cinder.open("volume") as image:
        image_id = image.id()
    volumes = User(glance.cluster, "volumes")
    for forbidden in (
        lambda: volumes.read("volume"),
        lambda: volumes.remove("volume"),
        lambda: rbd.RBD().list(volumes.ioctx),
    ):
        with refused():
            forbidden()
    rbd.RBD().trash_move(cinder.ioctx, "volume", 0)
    assert glance.children("image") == [("volumes", "volume")]
    rbd.RBD().trash_remove(cinder.ioctx, image_id)
    glance.remove_with_snap("image")


def test_glance_is_told_when_children_are_where_it_may_not_look(connect):
    glance, admin = connect("glance"), connect("admin", "backups")
    glance.create_with_snap("image")
    admin.clone_from(User(admin.cluster, "images"), "image", "hidden")
    with refused():
        glance.children("image")
    admin.remove("hidden")
    glance.remove_with_snap("image")


@pytest.mark.parametrize("name", ["cinder", "nova-ro", "cinder-backup"])
def test_readers_of_images_change_nothing_there(connect, name):
    glance = connect("glance")
    glance.create("image")
    images = User(connect(name).cluster, "images")
    assert images.read("image") == b"written"
    assert rbd.RBD().list(images.ioctx) == ["image"]
    for forbidden in (
        lambda: images.open("image"),
        lambda: images.remove("image"),
        lambda: images.create("another"),
        lambda: rbd.RBD().rename(images.ioctx, "image", "renamed"),
        lambda: rbd.RBD().trash_move(images.ioctx, "image", 0),
    ):
        with refused():
            forbidden()
    glance.remove("image")


def test_nova_turns_a_disk_into_an_image(connect):
    glance, nova = connect("glance"), connect("nova")
    images = User(nova.cluster, "images")
    nova.create_with_snap("disk")
    images.clone_from(nova, "disk", "image")
    with glance.open("image", read_only=True) as image:
        assert image.parent_info() == ("vms", "disk", "snap")
    # Not before it is flattened: glance has no right to the bytes in vms.
    with refused():
        glance.read("image")
    images.flatten_as_task("image")
    assert glance.read("image") == b"written"
    glance.remove("image")
    nova.remove_with_snap("disk")


def test_cinder_backup_backs_up_volumes_that_are_clones_of_images(connect):
    glance, cinder, backup = connect("glance"), connect("cinder"), connect("cinder-backup")
    glance.create_with_snap("image")
    cinder.clone_from(User(cinder.cluster, "images"), "image", "volume")
    volumes = User(backup.cluster, "volumes")
    backup.create("backup", b"")
    extents = []
    with volumes.open("volume") as image, backup.open("backup") as target:
        image.create_snap("backup")
        image.set_snap("backup")
        image.diff_iterate(0, image.size(), None, lambda *extent: extents.append(extent))
        # Not Image.copy: of a snapshot of a clone it copies zeros where the parent has bytes.
        for offset, length, exists in extents:
            if exists:
                target.write(image.read(offset, length), offset)
    assert backup.read("backup") == b"written"
    with volumes.open("volume") as image:
        image.remove_snap("backup")
        image.write(b"restore", 0)
    backup.remove("backup")
    cinder.remove("volume")
    glance.remove_with_snap("image")
