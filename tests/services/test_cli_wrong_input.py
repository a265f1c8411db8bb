# SPDX-License-Identifier: Apache-2.0
"""Wrong input on the command line: the tables of :mod:`wrong`, as far as they can be typed."""

import commands
import pytest
import samples
import wrong

MiB = samples.MiB
# A name that begins like an option is typed after this.
ENDS_OPTIONS = "--"


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


@pytest.fixture
def scene(volumes, image, raw):
    """A volume with a snapshot, and an image, which stay what they are."""
    volumes.create("source", MiB)
    volumes.create_snapshot("source", "snapshot-1")
    before = raw.state()
    yield
    assert raw.state() == before
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")


def refused(shell, entry, *arguments):
    """Say how a command fails to refuse what is wrong."""
    ended = shell.run(*arguments)
    lines = ended.err.splitlines()
    if ended.status != 1 or ended.out or len(lines) != 1 or not lines[0].startswith("rbdstore: "):
        return f"{arguments}: {ended}"
    said = " ".join(entry.says.split())
    return None if said in lines[0] else f"{arguments}: {lines[0]!a} does not say {said!a}"


def faults(shell, table, *arguments):
    """The same of a command with each entry of a table in the place of None."""
    found = []
    for entry in wrong.typed(table):
        words = [entry.value if word is None else word for word in arguments]
        if (fault := refused(shell, entry, *words)) is not None:
            found.append(f"{entry.id}: {fault}")
    return "\n".join(found)


@pytest.mark.parametrize(
    "arguments",
    [
        ("volume", "create", "--size", "1MiB", ENDS_OPTIONS, None),
        ("volume", "clone", "--source", "source", ENDS_OPTIONS, None),
        ("volume", "clone", "--snapshot", "source@snapshot-1", ENDS_OPTIONS, None),
        ("volume", "clone", "--image", "image-1", "--image-backend", "images", "--", None),
        ("volume", "rename", ENDS_OPTIONS, "source", None),
        ("volume", "rename", ENDS_OPTIONS, None, "volume-1"),
        ("volume", "delete", ENDS_OPTIONS, None),
        ("image", "add", "--backend", "images", ENDS_OPTIONS, "/dev/null", None),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_names_of_what_is_made_or_deleted(shell, scene, arguments):
    assert faults(shell, wrong.NEW_NAMES, *arguments) == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("volume", "show", ENDS_OPTIONS, None),
        ("snapshot", "list", ENDS_OPTIONS, None),
        ("image", "show", "--backend", "images", ENDS_OPTIONS, None),
        ("image", "get", "--backend", "images", "-o", "/dev/null", ENDS_OPTIONS, None),
        ("image", "delete", "--backend", "images", ENDS_OPTIONS, None),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_names_of_what_is_there(shell, scene, arguments):
    table = [
        entry for entry in wrong.NAMES if not str(entry.value).startswith("rbd://")
    ]  # which is a location
    assert faults(shell, table, *arguments) == ""


@pytest.mark.parametrize("verb", ["create", "delete", "revert"])
def test_names_of_snapshots(shell, scene, verb):
    """Of volume and snapshot; what has no @ in the right place is wrong usage."""
    for entry in wrong.typed(wrong.SNAPSHOTS):
        for words in (f"source@{entry.value}", f"{entry.value}@snapshot-1"):
            if entry in wrong.RESERVED_SNAPSHOTS and not words.startswith("source@"):
                continue
            ended = shell.run("snapshot", verb, "--", words)
            assert ended.status in (1, 2), words
            assert ended.out == ""
            assert len(ended.err.splitlines()) == 1, words


@pytest.mark.parametrize(
    "arguments",
    [
        ("image", "show", "--backend", "images", None),
        ("image", "get", "--backend", "images", "-o", "/dev/null", None),
        ("image", "delete", "--backend", "images", None),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_locations(shell, scene, place, arguments):
    table = [
        entry
        for entry in wrong.at(place.fsid, wrong.LOCATIONS + wrong.ELSEWHERE)
        if str(entry.value).startswith("rbd://")
    ]
    assert faults(shell, table, *arguments) == ""


def test_locations_to_clone_from(shell, scene, place):
    table = [
        entry
        for entry in wrong.at(place.fsid, wrong.LOCATIONS)
        if str(entry.value).startswith("rbd://")
    ]
    assert faults(shell, table, "volume", "clone", "volume-1", "--image", None) == ""


def test_hashes(shell, scene):
    arguments = ("image", "add", "--backend", "images", "/dev/null", "image-2")
    assert faults(shell, wrong.ALGORITHMS, *arguments, "--hashing-algo", None) == ""


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf", ""])
def test_seconds_to_wait(shell, scene, seconds):
    ended = shell.run("volume", "delete", "source", f"--wait={seconds}")
    assert ended.status in (1, 2)
    assert len(ended.err.splitlines()) == 1
