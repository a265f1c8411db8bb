# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes: full ones and increments, restored and verified, as client.cinder-backup."""

import itertools

import pytest
import samples

MiB = samples.MiB
SIZE = 20 * MiB + 5


@pytest.fixture
def source(volumes, raw, backups):
    """A volume with data here and there, deleted at the end with all backups."""
    volumes.create("source", SIZE)
    raw.write("volumes", "source", samples.pattern("before", 6 * MiB), 3 * MiB)
    raw.write("volumes", "source", b"x" * 5, 20 * MiB)
    yield "source"
    clear(volumes, backups)


def clear(volumes, backups):
    for volume in volumes.list():
        volumes.delete(volume.name)
    for backup in backups.list():
        backups.delete(backup.id)


def discard(volumes, name, offset, length):
    with volumes.pool.open(name, read_only=False) as image:
        image.discard(offset, length)
        image.flush()


def backed_up(volumes, backups, raw, name, backup_id, **how):
    """Back up a volume; give the backup, and what it must restore to."""
    made = backups.create(volumes, name, backup_id, **how)
    return made, raw.read("volumes", name)


def check(volumes, backups, raw, backup_id, expected):
    """See that a backup is whole, and restores to a new volume."""
    verified = backups.verify(backup_id)
    assert verified.sound, verified.damage
    volumes_made = backups.restore(backup_id, volumes, "restored")
    assert volumes_made.size == len(expected)
    assert raw.read("volumes", "restored") == expected
    volumes.delete("restored")


def three(volumes, backups, raw, source):
    """A full backup and two increments: with a write and a discard; after it grew."""
    points = {}
    _, points["b1"] = backed_up(volumes, backups, raw, source, "b1")
    raw.write("volumes", source, b"written", 1000)
    discard(volumes, source, 4 * MiB, 4 * MiB)
    _, points["b2"] = backed_up(volumes, backups, raw, source, "b2")
    volumes.extend(source, 30 * MiB)
    raw.write("volumes", source, b"at the end", 30 * MiB - 10)
    _, points["b3"] = backed_up(volumes, backups, raw, source, "b3")
    return points


def test_a_full_backup(volumes, backups, raw, source):
    seen = []
    made, data = backed_up(
        volumes, backups, raw, source, "b1", progress=lambda *done: seen.append(done)
    )
    assert (made.id, made.volume, made.size, made.kind) == ("b1", source, SIZE, "full")
    # Of six objects four have data, and no more is in the backup.
    assert made.stored == 4 * raw.object_size("volumes", source)
    assert raw.data_objects("backups", "source.backup.b1") == 4
    assert seen[-1] == (12 * MiB + 5, 12 * MiB + 5)
    assert backups.show("b1") == made
    assert backups.list() == backups.list(source) == [made]
    assert backups.list("another") == []
    check(volumes, backups, raw, "b1", data)


def test_increments_restore_to_every_point(volumes, backups, raw, source):
    points = three(volumes, backups, raw, source)
    assert [(each.id, each.kind, each.parent) for each in backups.list()] == [
        ("b1", "full", None),
        ("b2", "incremental", "b1"),
        ("b3", "incremental", "b2"),
    ]
    # Two objects were written to, one of them discarded; then one.
    assert [each.stored for each in backups.list()][1:] == [8 * MiB, 4 * MiB]
    for backup_id, data in points.items():
        check(volumes, backups, raw, backup_id, data)


@pytest.mark.parametrize("gone", [*itertools.permutations(["b1", "b2", "b3"])], ids="-".join)
def test_backups_go_in_any_order_and_the_others_stay(volumes, backups, raw, source, gone):
    points = three(volumes, backups, raw, source)
    for backup_id in gone:
        backups.delete(backup_id)
        del points[backup_id]
        for other, data in points.items():
            check(volumes, backups, raw, other, data)
    assert raw.images("backups") == []
    assert raw.snaps("volumes", source) == []
