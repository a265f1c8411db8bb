# SPDX-License-Identifier: Apache-2.0
"""``rbdstore backup``: from a volume to backups and back, and through files and pipes."""

import json
import os
import subprocess

import commands
import pytest
import samples

MiB = samples.MiB
SIZE = 9 * MiB


@pytest.fixture
def shell(place, tmp_path):
    config_file = tmp_path / "rbdstore.conf"
    return Backups(place, config_file, {"backups": "cinder-backup", **commands.BACKENDS})


class Backups(commands.Shell):
    """``rbdstore --backend backups backup``, where volumes are in the default backend."""

    def run(self, *arguments):
        return super().run("--backend", "backups", "backup", *arguments)


@pytest.fixture
def volume(volumes, raw, shell):
    """A volume with data, deleted at the end with all backups."""
    volumes.create("volume-1", SIZE)
    raw.write("volumes", "volume-1", samples.pattern("before", 3 * MiB), MiB)
    yield "volume-1"
    volumes.delete("volume-1")
    if made := ids(shell):
        shell.ok("delete", *made, "--yes")


@pytest.fixture
def two(shell, volume, raw):
    """A full backup and an increment."""
    shell.ok("create", volume, "b-1")
    raw.write("volumes", volume, b"written", 5 * MiB)
    shell.ok("create", volume, "b-2")


def ids(shell):
    return [row["id"] for row in shell.json("list")]


def test_a_backup_is_made_and_restored(shell, volume, volumes, raw):
    made = shell.json("create", volume, "b-1")
    assert (made["id"], made["volume"], made["size"], made["kind"]) == (
        "b-1",
        volume,
        SIZE,
        "full",
    )
    assert made["base"].startswith("backups/volume-1.backup.b-1@backup.b-1.snap.")
    assert (made["parent"], made["origin"]) == (None, "rbdstore")
    assert shell.json("show", "b-1") == made
    before = raw.read("volumes", volume)
    raw.write("volumes", volume, b"written", 5 * MiB)
    (added,) = [shell.json("create", volume)]
    assert (added["kind"], added["parent"]) == ("incremental", "b-1")
    # With a new UUID.
    assert len(added["id"]) == 36
    assert shell.json("create", volume, "b-3", "--full")["kind"] == "full"
    assert ids(shell) == ["b-1", added["id"], "b-3"]
    assert [row["id"] for row in shell.json("list", "--volume", "another")] == []
    assert shell.json("restore", "b-1", "restored") == {"name": "restored", "size": SIZE}
    assert raw.read("volumes", "restored") == before
    line = shell.fails("restore", "b-3", "restored")
    assert line == "rbdstore: there is a volume restored; --overwrite restores to it"
    shell.ok("restore", "b-3", "restored", "--overwrite", "--no-verify")
    assert raw.read("volumes", "restored") == raw.read("volumes", volume)
    volumes.delete("restored")


def test_of_a_users_snapshot(shell, volume, volumes, raw):
    volumes.create_snapshot(volume, "snapshot-1")
    before = raw.read("volumes", volume)
    raw.write("volumes", volume, b"written")
    made = shell.json("create", volume, "b-1", "--snapshot", "snapshot-1")
    assert made["source"] == f"volumes/{volume}@snapshot-1"
    shell.ok("restore", "b-1", "restored")
    assert raw.read("volumes", "restored") == before
    volumes.delete("restored")
    volumes.delete_snapshot(volume, "snapshot-1")


def test_for_people(shell, two):
    shown = shell.ok("list", "-f", "value", "-c", "id", "-c", "size", "-c", "stored")
    assert shown == f"b-1 {SIZE} {4 * MiB}\nb-2 {SIZE} {4 * MiB}\n"
    table = shell.ok("list")
    assert "9 MiB" in table
    # When it was made, as a time.
    assert "| 20" in table


def test_verify(shell, two, raw):
    rows = shell.json("verify", "b-1", "b-2")
    assert [(row["id"], row["state"], row["damage"]) for row in rows] == [
        ("b-1", "sound", []),
        ("b-2", "sound", []),
    ]
    assert rows[0]["read"] > 3 * MiB


def test_verify_tells_of_damage(shell, volume, raw, backups):
    shell.ok("create", volume, "b-1")
    with backups._pool.open("volume-1.backup.b-1", read_only=False) as image:
        (snap,) = image.snaps()
        image.write(MiB, b"?")
        image.remove_snap(snap.id)
        image.create_snap(snap.name)
    ended = shell.run("verify", "b-1", "-f", "json")
    assert ended.status == 1
    (row,) = json.loads(ended.out)
    assert row["state"] == "damaged"
    assert row["damage"]


def test_delete_and_prune(shell, two, volume):
    assert "add --yes" in shell.fails("delete", "b-1", "b-2")
    shell.ok("create", volume, "b-3")
    assert "add --yes" in shell.fails("prune", volume, "--keep", "1")
    assert shell.json("prune", volume, "--keep", "2") == [{"id": "b-1"}]
    shell.ok("delete", "b-2")
    shell.ok("delete", "b-2")
    assert ids(shell) == ["b-3"]
    assert "keep is a whole number" in shell.fails("prune", volume, "--keep", "-1")


def test_to_files_and_back(shell, two, volume, volumes, raw, tmp_path):
    full, more = tmp_path / "full", tmp_path / "more"
    shell.ok("export", "b-1", "-o", str(full))
    shell.ok("export", "b-2", "--since", "b-1", "-o", str(more))
    assert full.read_bytes().startswith(b"rbd diff v1\n")
    assert more.stat().st_size < MiB
    line = shell.fails("export", "b-1", "-o", str(full))
    assert line == f"rbdstore: {full}: there is such a file; --force replaces it"
    shell.ok("export", "b-1", "-o", str(full), "--force")
    shell.ok("delete", "b-1", "b-2", "--yes")
    assert "which volume" in shell.fails("import", str(full))
    assert shell.json("import", str(full), "--volume", volume)["kind"] == "full"
    assert shell.json("import", str(more))["parent"] == "b-1"
    assert "there is a backup b-2" in shell.fails("import", str(more))
    assert shell.json("import", str(more), "b-3", "--since", "b-1")["parent"] == "b-1"
    shell.ok("restore", "b-3", "restored")
    assert raw.read("volumes", "restored") == raw.read("volumes", volume)
    volumes.delete("restored")


def test_what_fails_leaves_no_file(shell, two, tmp_path):
    for arguments in (("nope",), ("b-1", "--since", "nope")):
        line = shell.fails("export", *arguments, "-o", str(tmp_path / "file"))
        assert line == "rbdstore: there is no backup nope in pool backups"
    assert commands.folder_of(tmp_path) == {"rbdstore.conf"}
    (tmp_path / "file").write_bytes(os.urandom(1000))
    assert "the stream begins with" in shell.fails("import", str(tmp_path / "file"), "b-3")
    line = shell.fails("import", str(tmp_path / "none"), "b-3")
    assert line == f"rbdstore: {tmp_path}/none: No such file or directory"


def test_through_a_pipe(shell, two, volume):
    arguments = ("--backend", "backups", "backup")
    with (
        shell.start(*arguments, "export", "b-1", "-o", "-", stdout=subprocess.PIPE) as source,
        shell.start(
            *arguments, "import", "-", "b-3", "--volume", volume, "-f", "json",
            stdin=source.stdout, stdout=subprocess.PIPE,
        ) as target,
    ):  # fmt: skip
        source.stdout.close()
        made = json.loads(target.stdout.read())
        assert (source.wait(), target.wait()) == (0, 0)
    assert (made["id"], made["kind"]) == ("b-3", "full")


def test_all_in_one_pool(place, volume, volumes, raw):
    """Without a configuration there is one backend, of volumes and backups."""
    options = place.options("volumes", "admin")
    words = [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    command = ("--driver", place.driver, *words, "backup")
    for arguments in (
        ("create", volume, "b-1"),
        ("restore", "b-1", "restored"),
        ("delete", "b-1"),
    ):
        ended = commands.run(*command, *arguments)
        assert (ended.status, ended.err) == (0, "")
    assert raw.read("volumes", "restored") == raw.read("volumes", volume)
    volumes.delete("restored")
    assert raw.images("volumes") == [volume]
