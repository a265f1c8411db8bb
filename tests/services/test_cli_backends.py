# SPDX-License-Identifier: Apache-2.0
"""``rbdstore backend``: what is configured, and whether it can be used."""

import commands
import pytest
import samples


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


def test_list(shell, place, volumes):
    volumes.create("volume-1", samples.MiB)
    rows = shell.json("backend", "list")
    assert [(row["name"], row["driver"], row["pool"], row["default"]) for row in rows] == [
        ("volumes", place.driver, "volumes", True),
        ("images", place.driver, "images", False),
    ]
    for row in rows:
        assert row["state"] == "up"
        assert 0 < row["free"] <= row["total"]
    volumes.delete("volume-1")


def test_a_backend_that_cannot_be_used_is_listed(shell):
    text = shell.config_file.read_text()
    shell.config_file.write_text(text.replace("rbd_pool = images", "rbd_pool = other"))
    _volumes, images = shell.json("backend", "list")
    assert (images["name"], images["pool"], images["free"]) == ("images", "other", None)
    assert "other" in images["state"]
    assert "pool" in images["state"]


def test_without_a_configuration(place):
    options = [
        argument
        for name, value in place.options("volumes").items()
        for argument in ("--option", f"{name}={value}")
    ]
    ended = commands.run("--driver", place.driver, *options, "backend", "list", "-f", "value")
    assert ended.status == 0
    assert ended.out.split()[:3] == [place.driver, "True", "volumes"]


def test_no_backend(shell):
    shell.config_file.write_text("[rbdstore]\n")
    assert "no backend is configured" in shell.fails("backend", "list")
