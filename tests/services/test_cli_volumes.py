# SPDX-License-Identifier: Apache-2.0
"""``rbdstore volume`` and ``rbdstore snapshot``: what they do, print, and say when they cannot."""

import re

import commands
import containers
import pytest
import samples

MiB = samples.MiB


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@pytest.fixture
def volume(volumes):
    """A volume of a MiB."""
    volumes.create("volume-1", MiB)
    yield "volume-1"
    for snapshot in ("snapshot-1", "snapshot-2"):
        volumes.delete_snapshot("volume-1", snapshot)
    volumes.delete("volume-1")


def test_create(shell, volumes):
    assert shell.json("volume", "create", "volume-1", "--size", "1.5MiB") == {
        "name": "volume-1",
        "size": MiB * 3 // 2,
        "parent": None,
        "depth": 0,
        "snapshots": [],
    }
    assert volumes.get("volume-1").size == MiB * 3 // 2
    line = shell.fails("volume", "create", "volume-1", "--size", "1MiB")
    assert line == "rbdstore: volumes/volume-1: the name is taken"
    volumes.delete("volume-1")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("20", "give a number and a unit, such as 20GiB"),
        ("20GB", "give a number and a unit"),
        ("much", "give a number and a unit"),
        ("", "give a number and a unit"),
        ("1e3B", "give a number and a unit"),
        ("٣MiB", "give a number and a unit"),
        ("0.3KiB", "is not a whole number of bytes"),
        ("9EiB", "is beyond the limit"),
        ("-1MiB", "expected one argument"),
    ],
)
def test_a_size_that_is_none(shell, unchanged, size, said):
    line = shell.fails("volume", "create", "volume-1", "--size", size, status=2)
    assert said in line
    assert line.endswith("; see rbdstore volume create --help")


def test_create_from_an_image(shell, image, volumes, tmp_path):
    made = shell.json(
        "volume", "create", "volume-1", "--size", "10MiB", "--image", "file:///image-1",
        "--image", "image-1", "--image-backend", "images",
    )  # fmt: skip
    (passed_over,) = made.pop("passed_over")
    assert "'file:///image-1' is not an rbd:// location" in passed_over
    assert made == {
        "name": "volume-1",
        "size": 10 * MiB,
        "parent": "images/image-1@snap",
        "depth": 1,
        "snapshots": [],
        "method": "clone",
        "location": image.uri,
    }
    volumes.delete("volume-1")
    line = shell.fails("volume", "create", "volume-1", "--size", "1MiB", "--image", image.uri)
    assert "1048576 bytes is smaller than the 9437184 bytes of images/image-1@snap" in line


def test_create_from_a_file(shell, volumes, raw, tmp_path):
    disk = samples.pattern("disk", MiB)
    (tmp_path / "disk.qcow2").write_bytes(containers.make(tmp_path, disk, "-O", "qcow2"))
    arguments = ("volume", "create", "volume-1", "--size", "2MiB", "--file")
    made = shell.json(*arguments, str(tmp_path / "disk.qcow2"), "--disk-format", "qcow2")
    assert (made["method"], made["location"], made["passed_over"]) == ("copy", None, [])
    assert raw.read("volumes", "volume-1") == disk + bytes(MiB)
    volumes.delete("volume-1")
    line = shell.fails(*arguments, str(tmp_path / "disk.qcow2"))
    assert line == "rbdstore: the image was declared as raw, but looks like qcow2"
    assert "No such file" in shell.fails(*arguments, str(tmp_path / "none"))
    line = shell.fails(*arguments, str(tmp_path / "disk.raw"), "--disk-format", "vpc")
    assert "disk_format is one of raw, iso, qcow2" in line


def test_create_from_an_image_that_is_not_raw(shell, images, volumes, raw, tmp_path):
    disk = samples.pattern("disk", MiB)
    stored = images.add("image-2", containers.make(tmp_path, disk, "-O", "qcow2"))
    made = shell.json(
        "volume", "create", "volume-1", "--size", "2MiB", "--image", stored.uri,
        "--image-backend", "images", "--disk-format", "qcow2",
    )  # fmt: skip
    assert made["method"] == "copy"
    assert made["passed_over"] == [
        f"{stored.uri}: {stored.uri} is 'qcow2'; only raw can be cloned"
    ]
    assert raw.read("volumes", "volume-1") == disk + bytes(MiB)
    volumes.delete("volume-1")
    images.delete(stored.uri)


def test_clone_from_an_image(shell, image, volumes):
    for name in (image.uri, "image-1"):
        (made,) = shell.json(
            "volume", "clone", "volume-1", "--image", name, "--image-backend", "images",
            "--size", "10MiB",
        )  # fmt: skip
        assert made == {
            "name": "volume-1",
            "size": 10 * MiB,
            "parent": "images/image-1@snap",
            "depth": 1,
            "snapshots": [],
        }
        volumes.delete("volume-1")
    line = shell.fails("volume", "clone", "volume-1", "--image", image.uri, "--size", "1MiB")
    assert "1048576 bytes is smaller than the 9437184 bytes of images/image-1@snap" in line
    assert "no such image" in shell.fails("volume", "clone", "volume-1", "--image", "image-1")


def test_clone_from_a_snapshot(shell, volume, volumes):
    volumes.create_snapshot(volume, "snapshot-1")
    made = shell.json(
        "volume", "clone", "volume-2", "volume-3", "--snapshot", "volume-1@snapshot-1"
    )
    assert [row["parent"] for row in made] == ["volumes/volume-1@snapshot-1"] * 2
    line = shell.fails("volume", "clone", "volume-4", "--snapshot", "volume-1@other")
    assert line == "rbdstore: volumes/volume-1@other: no such snapshot"
    for name in ("volume-2", "volume-3"):
        volumes.delete(name)


def test_clone_from_volumes(shell, volume, volumes):
    made = shell.json("volume", "clone", "volume-2", "volume-3", "--source", "volume-1")
    assert commands.names(made) == ["volume-2", "volume-3"]
    assert made[0]["parent"] == made[1]["parent"]
    line = shell.fails("volume", "clone", "volume-4", "--source", "other")
    assert line == "rbdstore: volumes/other: no such image"
    for name in ("volume-2", "volume-3"):
        volumes.delete(name)


def test_clone_from_nothing_and_from_everything(shell, unchanged):
    line = shell.fails("volume", "clone", "volume-1", status=2)
    assert "one of the arguments --image --snapshot --source is required" in line
    line = shell.fails(
        "volume", "clone", "volume-1", "--source", "a", "--snapshot", "a@b", status=2
    )
    assert "not allowed with" in line
    line = shell.fails("volume", "clone", "volume-1", "--snapshot", "a", status=2)
    assert "give VOLUME@SNAPSHOT" in line


def test_show(shell, volume, volumes):
    volumes.create_snapshot(volume, "snapshot-1")
    shown = shell.json("volume", "show", "volume-1")
    assert (shown["size"], shown["depth"], shown["max_clone_depth"]) == (MiB, 0, 5)
    assert [(snap["name"], snap["kind"]) for snap in shown["snapshots"]] == [
        ("snapshot-1", "user")
    ]
    assert (shown["parent"], shown["children"], shown["watchers"]) == (None, [], [])
    assert "layering" in shown["features"]
    text = shell.ok("volume", "show", "volume-1")
    assert re.search(r"\| snapshots +\| snapshot-1, 1 MiB +\|", text)
    volumes.create_cloned_volume("volume-2", volume)
    assert shell.json("volume", "show", "volume-1")["children"] == ["volumes/volume-2"]
    shown = shell.json("volume", "show", "volume-2")
    assert shown["parent"].startswith("volumes/volume-1@rbdstore.clone.")
    assert (shown["depth"], shown["used"]) == (1, 0)
    volumes.delete("volume-2")
    assert shell.fails("volume", "show", "other") == "rbdstore: volumes/other: no such image"


def test_list(shell, volumes):
    assert shell.json("volume", "list") == []
    for name in ("volume-2", "volume-1"):
        volumes.create(name, MiB)
    assert commands.names(shell.json("volume", "list")) == ["volume-1", "volume-2"]
    assert shell.ok("volume", "list", "-f", "value", "-c", "name", "-c", "size") == (
        "volume-1 1048576\nvolume-2 1048576\n"
    )
    assert "1 MiB" in shell.ok("volume", "list")
    for name in ("volume-2", "volume-1"):
        volumes.delete(name)


def test_extend(shell, volume):
    assert shell.json("volume", "extend", "volume-1", "2MiB")["size"] == 2 * MiB
    line = shell.fails("volume", "extend", "volume-1", "1MiB")
    assert line.startswith("rbdstore: volumes/volume-1: ")
    assert shell.fails("volume", "extend", "other", "2MiB").endswith("no such image")


def test_rename(shell, volume, volumes):
    assert shell.json("volume", "rename", "volume-1", "volume-2")["name"] == "volume-2"
    assert shell.fails("volume", "rename", "volume-1", "volume-3").endswith("no such image")
    line = shell.fails("volume", "rename", "volume-2", "volume-2.partial")
    assert "is reserved" in line
    volumes.rename("volume-2", "volume-1")


def test_flatten(shell, volume, volumes):
    volumes.create_cloned_volume("volume-2", volume)
    assert shell.json("volume", "show", "volume-2")["depth"] == 1
    flattened = shell.json("volume", "flatten", "volume-2")
    assert (flattened["parent"], flattened["depth"]) == (None, 0)
    assert shell.fails("volume", "flatten", "other").endswith("no such image")
    volumes.delete("volume-2")


def test_delete(shell, volumes):
    volumes.create("volume-1", MiB)
    assert shell.ok("volume", "delete", "volume-1") == ""
    assert shell.ok("volume", "delete", "volume-1") == ""
    assert volumes.list() == []


def test_delete_says_why_not(shell, volume, volumes):
    volumes.create_snapshot(volume, "snapshot-1")
    assert shell.fails("volume", "delete", "volume-1") == (
        "rbdstore: volumes/volume-1: in use; has snapshots snapshot-1 (delete them first)"
    )


def test_several_are_not_deleted_unasked(shell, volume, volumes, unchanged):
    line = shell.fails("volume", "delete", "volume-1", "volume-2")
    assert line == "rbdstore: delete 2 things at once? Nobody is there to ask: add --yes"


def test_several_are_deleted_whatever_becomes_of_one(shell, volume, volumes):
    volumes.create("volume-2", MiB)
    volumes.create_snapshot(volume, "snapshot-1")
    ended = shell.run("volume", "delete", "volume-1", "a/b", "volume-2", "--yes")
    assert ended.status == 1
    first, second = ended.err.splitlines()
    assert first.startswith("rbdstore: volumes/volume-1: in use; has snapshots")
    assert second.startswith("rbdstore: 'a/b' contains '/' or '@'")
    assert [volume.name for volume in volumes.list()] == ["volume-1"]


def test_snapshots(shell, volume, volumes):
    assert shell.ok("snapshot", "create", "volume-1@snapshot-1") == ""
    assert shell.ok("snapshot", "create", "volume-1@snapshot-2") == ""
    assert commands.names(shell.json("snapshot", "list", "volume-1")) == [
        "snapshot-1",
        "snapshot-2",
    ]
    volumes.extend(volume, 2 * MiB)
    assert shell.ok("snapshot", "revert", "volume-1@snapshot-1") == ""
    assert volumes.get(volume).size == MiB
    assert shell.ok("snapshot", "delete", "volume-1@snapshot-1") == ""
    assert shell.ok("snapshot", "delete", "volume-1@snapshot-1") == ""
    line = shell.fails("snapshot", "delete", "volume-1@snapshot-1", "volume-1@snapshot-2")
    assert line.endswith("add --yes")
    assert commands.names(shell.json("snapshot", "list", "volume-1")) == ["snapshot-2"]


def test_what_snapshots_cannot_do(shell, volume, volumes):
    volumes.create_snapshot(volume, "snapshot-1")
    assert shell.fails("snapshot", "create", "volume-1@snapshot-1") == (
        "rbdstore: volumes/volume-1@snapshot-1: the volume has such a snapshot"
    )
    assert shell.fails("snapshot", "create", "other@snapshot-1").endswith("no such image")
    assert shell.fails("snapshot", "list", "other").endswith("no such image")
    assert shell.fails("snapshot", "revert", "volume-1@other").endswith("no such snapshot")
    assert "is reserved" in shell.fails("snapshot", "delete", "volume-1@rbdstore.clone.x")
    for verb in ("create", "delete", "revert"):
        assert "give VOLUME@SNAPSHOT" in shell.fails("snapshot", verb, "volume-1", status=2)
