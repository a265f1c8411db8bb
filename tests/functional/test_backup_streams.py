# SPDX-License-Identifier: Apache-2.0
"""``rbd import-diff`` reads the streams of backups; ``rbd export-diff`` writes some, too."""

import io
import os
import subprocess
import threading

import pytest
import samples
import stores

MiB = samples.MiB
NAME = "volume-1"


@pytest.fixture
def start(sandbox):
    """Start the command ``rbd``."""

    def started(*arguments, **streams):
        command = ["rbd", *arguments, "--no-progress"]
        return subprocess.Popen(command, env=sandbox.env(), **streams)

    return started


@pytest.fixture
def source(volumes, raw, backups):
    volumes.create(NAME, 10 * MiB)
    raw.write("volumes", NAME, samples.pattern("one", 5 * MiB), MiB // 2)
    yield NAME
    volumes.delete(NAME)
    for backup in backups.list():
        backups.delete(backup.id)


def change(raw, number):
    """Write, discard and resize; what has become of it."""
    with raw.open("volumes", NAME) as image:
        image.write(samples.pattern(number, 100_000), number * MiB - 50_000)
        image.discard(number * MiB + MiB // 2, MiB)
        image.resize((10 + number * (-1) ** number) * MiB)
    return raw.read("volumes", NAME)


def test_the_command_reads_what_leaves(volumes, backups, raw, source, start):
    backups.create(volumes, source, "b-1")
    points = [raw.read("volumes", source)]
    for number in (2, 3):
        points.append(change(raw, number))
        backups.create(volumes, source, f"b-{number}")
    raw.create("volumes", "rebuilt", MiB)
    for number, since in ((1, None), (2, "b-1"), (3, "b-2")):
        # Through a pipe, as it would be into anything else.
        with start("import-diff", "-", "volumes/rebuilt", stdin=subprocess.PIPE) as process:
            backups.export(f"b-{number}", process.stdin, since)
        assert process.returncode == 0
        assert raw.read("volumes", "rebuilt") == points[number - 1]
    snaps = raw.snaps("volumes", "rebuilt")
    assert snaps == [backup.base.snap for backup in backups.list()]
    for snap, data in zip(snaps, points, strict=True):
        assert raw.read("volumes", "rebuilt", snap) == data
    raw.remove("volumes", "rebuilt")


def test_the_command_goes_on_where_a_stream_ended(volumes, backups, raw, source, start):
    """From the pool of the backups, whose snapshots have the names that streams have."""
    backups.create(volumes, source, "b-1")
    change(raw, 2)
    made = backups.create(volumes, source, "b-2")
    raw.create("volumes", "rebuilt", MiB)
    with start("import-diff", "-", "volumes/rebuilt", stdin=subprocess.PIPE) as process:
        backups.export("b-1", process.stdin)
    since = backups.show("b-1").base.snap
    with (
        start(
            "export-diff", "--from-snap", since, str(made.base), "-", stdout=subprocess.PIPE
        ) as source_end,
        start("import-diff", "-", "volumes/rebuilt", stdin=source_end.stdout) as target_end,
    ):
        source_end.stdout.close()
        assert (source_end.wait(), target_end.wait()) == (0, 0)
    assert raw.read("volumes", "rebuilt") == raw.read("volumes", source)
    raw.remove("volumes", "rebuilt")


def test_what_the_command_writes_comes_in(volumes, backups, raw, source, start):
    points, since = [], []
    for number in (1, 2, 3):
        points.append(change(raw, number))
        raw.snap("volumes", source, f"s-{number}", protect=False)
        with start(
            "export-diff", *since, f"volumes/{source}@s-{number}", "-", stdout=subprocess.PIPE
        ) as process:
            made = backups.import_(process.stdout, f"b-{number}", volume=source)
        assert process.returncode == 0
        assert made.kind == ("full" if number == 1 else "incremental")
        since = ["--from-snap", f"s-{number}"]
    for number, data in enumerate(points, 1):
        assert backups.verify(f"b-{number}").damage == ()
        backups.restore(f"b-{number}", volumes, "rebuilt")
        assert raw.read("volumes", "rebuilt") == data
        volumes.delete("rebuilt")
    raw.remove_snaps("volumes", source)


def test_from_one_store_to_another_through_a_pipe(sandbox, volumes, backups, raw, source):
    """To another pool, as it would be to another cluster."""
    others = stores.store(sandbox, "admin", "vms").backups
    backups.create(volumes, source, "b-1")
    change(raw, 2)
    backups.create(volumes, source, "b-2")
    for backup_id, since in (("b-1", None), ("b-2", "b-1")):
        reads, writes = os.pipe()

        def export(writes=writes, backup_id=backup_id, since=since):
            with open(writes, "wb", buffering=0) as stream:
                backups.export(backup_id, stream, since)

        thread = threading.Thread(target=export)
        thread.start()
        with open(reads, "rb", buffering=0) as stream:
            others.import_(stream, volume=source)
        thread.join()
    assert [backup.parent for backup in others.list()] == [None, "b-1"]
    streams = [io.BytesIO(), io.BytesIO()]
    for store, stream in zip((backups, others), streams, strict=True):
        store.export("b-2", stream)
    # They differ in the time at which each store has the backup from.
    assert streams[0].getvalue()[200:] == streams[1].getvalue()[200:]
    for backup_id in ("b-1", "b-2"):
        others.delete(backup_id)
