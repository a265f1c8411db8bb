# SPDX-License-Identifier: Apache-2.0
"""``rbdstore tree``: the forest as a command, in its formats. What it draws: test_trees."""

import re
import xml.etree.ElementTree as ET

import commands
import pytest
import samples
import yaml

MiB = samples.MiB


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@pytest.fixture
def clones(volumes, image):
    """A volume from the image, with a snapshot, and a clone of it."""
    volumes.clone("volume-1", image.uri)
    volumes.create_snapshot("volume-1", "snapshot-1")
    volumes.create_cloned_volume("volume-2", "volume-1")
    yield
    volumes.delete_snapshot("volume-1", "snapshot-1")
    for name in ("volume-1", "volume-2"):
        volumes.delete(name)


def test_a_tree(shell, clones):
    lines = shell.ok("tree", "volumes", "images").splitlines()
    assert [re.split(r"(?<=\w)  ", line)[0] for line in lines[:4]] == [
        "images",
        "└── image-1",
        "    └── volumes/volume-1",
        "        └── volumes/volume-2",
    ]
    assert "depth 1/5  snapshots snapshot-1" in lines[2]
    assert "depth 2/5" in lines[3]
    assert lines[4:] == ["3 images, 3 snapshots, 27 MiB provisioned"]


def test_parents_in_other_pools_are_shown(shell, clones):
    text = shell.ok("tree")
    assert text.splitlines()[0] == "images  another pool"
    assert text.splitlines()[-1] == "2 images, 2 snapshots, 18 MiB provisioned"


def test_a_depth_beyond_the_limit_is_marked(shell, clones):
    text = shell.config_file.read_text()
    shell.config_file.write_text(text.replace("[volumes]", "[volumes]\nrbd_max_clone_depth = 1"))
    text = shell.ok("tree", "--all")
    assert "depth 2/1 !" in text
    assert text.endswith("1 deeper than allowed: volumes/volume-2\n")


def test_json_and_yaml(shell, clones, place):
    (tree,) = shell.json("tree", "--all")
    assert (tree["pool"], tree["name"], tree["kind"]) == ("images", "image-1", "image")
    (snapshot,) = tree["snapshots"]
    (volume,) = snapshot["clones"]
    assert (volume["name"], volume["depth"], volume["limit"]) == ("volume-1", 1, 5)
    assert volume["size"] == 9 * MiB
    assert yaml.safe_load(shell.ok("tree", "--all", "--format", "yaml")) == [tree]


def test_pictures(shell, clones):
    assert shell.ok("tree", "--format", "dot").startswith("digraph")
    assert ET.fromstring(shell.ok("tree", "--format", "svg")).tag.endswith("}svg")
    page = shell.ok("tree", "volumes", "images", "--format", "html")
    assert page.count('role="treeitem"') == 3


@pytest.mark.parametrize("how", ["tree", "dot", "svg", "html", "json", "yaml"])
def test_a_file(shell, clones, tmp_path, how):
    written = tmp_path / "tree"
    assert shell.ok("tree", "--format", how, "--output", str(written)) == ""
    assert "volume-2" in written.read_text()
    refused = shell.fails("tree", "--format", how, "-o", str(written))
    assert "--force replaces it" in refused
    shell.ok("tree", "--format", how, "-o", str(written), "--force")
    assert [each.name for each in tmp_path.iterdir() if "tree" in each.name] == ["tree"]


def test_an_empty_pool(shell):
    assert shell.ok("tree") == "0 images, 0 snapshots, 0 B provisioned\n"
    assert shell.json("tree") == []


def test_a_backend_that_is_none(shell):
    assert "there is no backend 'other'" in shell.fails("tree", "other")


def test_backends_of_several_clusters(shell, tmp_path):
    text = shell.config_file.read_text().replace("images:", "images:file, elsewhere:", 1)
    text = text.replace("images:file, elsewhere:", "elsewhere:file, images:")
    shell.config_file.write_text(
        f"{text}\n[elsewhere]\nrbd_pool = volumes\nfile_store_datadir = {tmp_path}/elsewhere\n"
    )
    assert "of several clusters" in shell.fails("tree", "--all")
