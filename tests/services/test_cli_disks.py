# SPDX-License-Identifier: Apache-2.0
"""``rbdstore disk``, and what volumes have in common with disks: they become images, and others
open them.
"""

import hashlib
import json
import xml.etree.ElementTree as ElementTree

import commands
import pytest
import samples

MiB = samples.MiB
INSTANCE = "0f5f9e2e"
DISK = f"{INSTANCE}_disk"


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@pytest.fixture
def disk(shell, image):
    assert shell.ok("disk", "clone", DISK, "image-1", "--image-backend", "images") == ""
    yield DISK
    shell.ok("disk", "cleanup", INSTANCE)


def test_a_disk(shell, disk, raw):
    (row,) = shell.json("disk", "list")
    assert row == {"name": disk, "size": 9 * MiB, "parent": "images/image-1@snap"}
    assert shell.json("disk", "list", INSTANCE) == [row]
    assert shell.json("disk", "list", "another") == []
    assert shell.ok("disk", "resize", disk, "10MiB") == ""
    line = shell.fails("disk", "resize", disk, "9MiB")
    assert line == f"rbdstore: volumes/{disk}: 9437184 bytes is less than its 10485760"
    shell.ok("disk", "resize", disk, "9MiB", "--allow-shrink")
    shell.ok("disk", "flatten", disk)
    assert shell.json("disk", "list") == [{**row, "parent": None}]
    assert raw.read("volumes", disk) == samples.pattern("image", 9 * MiB)


def test_the_disks_of_an_instance_go(shell, disk, raw):
    raw.create("volumes", f"{DISK}.swap", MiB)
    raw.create("volumes", "another_disk", MiB)
    shell.ok("disk", "cleanup", INSTANCE)
    assert raw.images("volumes") == ["another_disk"]
    assert "add --yes" in shell.fails("disk", "cleanup", INSTANCE, "another")
    shell.ok("disk", "cleanup", INSTANCE, "another", "--yes")


@pytest.mark.parametrize("noun", ["disk", "volume"])
def test_an_image_of_it(shell, disk, images, noun):
    data = samples.pattern("image", 9 * MiB)
    made = shell.json(
        noun, "to-image", disk, "image-2", "--image-backend", "images", "--method", "copy",
        "--hashing-algo", "sha256",
    )  # fmt: skip
    assert made == {
        "id": "image-2",
        "location": images.uri("image-2"),
        "size": 9 * MiB,
        "method": "copy",
        "reason": None,
        "checksum": hashlib.md5(data).hexdigest(),
        "os_hash_algo": "sha256",
        "os_hash_value": hashlib.sha256(data).hexdigest(),
    }
    line = shell.fails(
        noun, "to-image", disk, "image-2", "--image-backend", "images", "--method", "copy"
    )
    assert line == "rbdstore: images/image-2: the name is taken"
    images.delete(images.uri("image-2"))


@pytest.mark.parametrize("noun", ["disk", "volume"])
def test_an_image_within_the_pool(shell, disk, noun):
    made = shell.json(noun, "to-image", disk, "image-2")
    assert (made["method"], made["checksum"]) == ("cow", None)
    shell.ok("image", "delete", "image-2", "--backend", "volumes")


@pytest.mark.parametrize("noun", ["disk", "volume"])
def test_how_others_open_it(place, shell, disk, noun):
    if place.driver == "file":
        assert "no other client can open them" in shell.fails(noun, "connection", disk)
        return
    assert json.loads(shell.ok(noun, "connection", disk))["data"]["name"] == f"volumes/{disk}"
    told = json.loads(shell.ok(noun, "connection", disk, "--for", "qemu"))
    assert (told["driver"], told["image"]) == ("rbd", disk)
    told = ElementTree.fromstring(shell.ok(noun, "connection", disk, "--for", "libvirt"))
    assert told.find("source").get("name") == f"volumes/{disk}"


def test_an_image_is_deleted_when_its_children_are_flattened(place, shell, raw):
    images, volumes = place.images("admin"), place.volumes("admin")
    stored = images.add("image-2", samples.pattern("image", MiB))
    for name in ("volume-1", "volume-2"):
        volumes.clone(name, stored.uri)
    options = place.options("images", "admin")
    words = [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    ended = commands.run(
        "--driver", place.driver, *words, "image", "delete", "image-2", "--flatten-children"
    )
    assert ended == commands.Ended(0, "", "")
    assert raw.images("images") == []
    for name in ("volume-1", "volume-2"):
        assert volumes.get(name).parent is None
        volumes.delete(name)


def test_one_policy_at_a_time(shell):
    line = shell.fails(
        "image", "delete", "image-1", "--flatten-children", "--in-use", "defer", status=2
    )
    assert "not allowed with" in line
