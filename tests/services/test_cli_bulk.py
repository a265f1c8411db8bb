# SPDX-License-Identifier: Apache-2.0
"""Commands for many at once: the too deep, the orphaned, all clones of an image; and what they
would do.
"""

import commands
import pytest
import samples

MiB = samples.MiB


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@pytest.fixture
def chain(place):
    """A chain of volumes, the last of depth 6."""
    volumes = place.volumes(rbd_max_clone_depth=100)
    volumes.create("volume-0", MiB)
    for number in range(1, 7):
        volumes.create_cloned_volume(f"volume-{number}", f"volume-{number - 1}")
    yield volumes
    for number in range(7):
        volumes.delete(f"volume-{number}")


def depths(volumes):
    return [volume.depth for volume in volumes.list()]


def test_of_a_chain_as_many_are_flattened_as_need_be(shell, chain):
    planned = shell.json("flatten", "--deeper-than", "2", "--dry-run")
    assert [(row["name"], row["depth"], row["outcome"]) for row in planned] == [
        ("volume-3", 3, "would be flattened"),
        ("volume-6", 6, "would be flattened"),
    ]
    assert depths(chain) == [0, 1, 2, 3, 4, 5, 6]
    assert "add --yes" in shell.fails("flatten", "--deeper-than", "2")
    done = shell.json("flatten", "--deeper-than", "2", "--yes")
    assert [row["outcome"] for row in done] == ["flattened", "flattened"]
    assert depths(chain) == [0, 1, 2, 0, 1, 2, 0]
    assert shell.json("flatten", "--deeper-than", "2") == []


@pytest.mark.parametrize("depth", ["-1", "many", "1.5"])
def test_a_depth_that_is_none(shell, depth):
    line = shell.fails("flatten", f"--deeper-than={depth}", status=2)
    assert "is no depth" in line


def test_clones_of_what_is_deleted(shell, chain):
    assert shell.json("volume", "list", "--orphaned") == []
    chain.create("alone", MiB)
    chain.create_cloned_volume("orphan", "alone")
    chain.delete("alone")
    (row,) = shell.json("volume", "list", "--orphaned")
    assert (row["name"], row["depth"]) == ("orphan", 1)
    assert row["reason"].startswith("its parent was deleted, and is in the trash")
    chain.delete("orphan")


def test_what_a_deletion_of_an_image_would_do(place, tmp_path, images, volumes, raw):
    users = {"images": "admin", "volumes": "admin"}
    shell = commands.Shell(place, tmp_path / "rbdstore.conf", users)
    stored = images.add("image-1", samples.pattern("image", MiB))
    volumes.clone("volume-1", stored.uri)
    delete = ("--backend", "images", "image", "delete", "image-1", "--dry-run")
    before = raw.state()
    assert "cloned by volumes/volume-1" in shell.fails(*delete)
    assert shell.ok(*delete, "--flatten-children") == (
        "images/image-1 would be deleted once these are flattened: volumes/volume-1\n"
    )
    assert "its data would stay" in shell.ok(*delete, "--in-use", "defer")
    assert raw.state() == before
    shell.ok(*delete[:-1], "--flatten-children")
    assert raw.images("images") == []
    assert volumes.get("volume-1").depth == 0
    volumes.delete("volume-1")
