# SPDX-License-Identifier: Apache-2.0
"""Backups of what is no volume of Ceph: from a file, and to one."""

import io

import pytest
import samples

from rbdstore import exceptions

MiB = samples.MiB
NAME = "volume-1"
# Data, a hole, data, and an end that is in the middle of a chunk.
DATA = samples.pattern("file", 5 * MiB) + bytes(9 * MiB) + samples.pattern("end", MiB + 5)


class Slow(io.BytesIO):
    """Reads and writes less than it is asked to, as files may."""

    def read(self, length):
        return super().read(min(length, MiB - 1))

    def write(self, data):
        return super().write(data[: MiB - 1])


class Silent(io.BytesIO):
    """Does not say where it is, nor how much it wrote."""

    def seek(self, *where):
        super().seek(*where)

    def write(self, data):
        super().write(data)


@pytest.fixture(autouse=True)
def _emptied(backups):
    yield
    for backup in backups.list():
        backups.delete(backup.id)


@pytest.fixture
def backup(backups):
    return backups.create_from_file(io.BytesIO(DATA), NAME, "b1")


@pytest.mark.parametrize("kind", [io.BytesIO, Slow, Silent])
def test_there_and_back(backups, kind):
    calls = []
    made = backups.create_from_file(
        kind(DATA), NAME, "b1", progress=lambda *call: calls.append(call)
    )
    assert (made.volume, made.kind, made.size, made.source) == (NAME, "full", len(DATA), None)
    assert calls[-1] == (len(DATA), len(DATA))
    assert backups.show("b1") == made
    assert backups.verify("b1").sound
    file = kind(samples.pattern("old", 20 * MiB))
    calls.clear()
    backups.restore_to_file("b1", file, progress=lambda *call: calls.append(call))
    assert file.getvalue() == DATA + bytes(20 * MiB - len(DATA))
    assert calls[-1] == (len(DATA), len(DATA))


def test_what_is_zeros_is_not_written(backups, raw, backup):
    assert 6 * MiB <= backup.stored <= 12 * MiB
    file = io.BytesIO(b"\xff" * len(DATA))
    backups.restore_to_file("b1", file, is_zeros=True)
    assert file.getvalue()[: 5 * MiB] == DATA[: 5 * MiB]
    assert file.getvalue()[-MiB:] == DATA[-MiB:]
    # Chunks of zeros were left alone, for they are zeros already.
    assert file.getvalue()[9 * MiB] == 0xFF


def test_an_empty_file(backups):
    backups.create_from_file(io.BytesIO(), NAME, "b1")
    file = io.BytesIO(b"old")
    backups.restore_to_file("b1", file)
    assert file.getvalue() == bytes(3)


def test_to_a_volume_and_to_a_file(backups, volumes, raw, backup):
    volume = backups.restore("b1", volumes, "volume-2")
    assert volume.size == len(DATA)
    assert raw.read("volumes", "volume-2") == DATA
    raw.write("volumes", "volume-2", b"later")
    backups.create(volumes, "volume-2", "b2")
    raw.write("volumes", "volume-2", b"LATER")
    backups.create(volumes, "volume-2", "b3", incremental=True)
    for backup_id, begin in (("b2", b"later"), ("b3", b"LATER")):
        file = io.BytesIO()
        backups.restore_to_file(backup_id, file)
        assert file.getvalue() == begin + DATA[5:]
    volumes.delete("volume-2")


class Shrunk(io.BytesIO):
    def read(self, length):
        return super().read(length) if self.tell() < MiB else b""


class Unreadable(io.BytesIO):
    def read(self, length):
        raise OSError(5, "it cannot be read")


@pytest.mark.parametrize(
    ("kind", "error"), [(Shrunk, exceptions.BrokenStream), (Unreadable, OSError)]
)
def test_nothing_is_left_of_a_file_that_cannot_be_read(backups, unchanged, kind, error):
    with pytest.raises(error):
        backups.create_from_file(kind(DATA), NAME, "b1")


def test_an_id_that_is_taken(backups, backup):
    with pytest.raises(exceptions.Duplicate):
        backups.create_from_file(io.BytesIO(b"other"), NAME, "b1")
    assert backups.show("b1") == backup


def test_a_damaged_backup_is_not_restored(backups, raw, backup):
    raw.flip("backups", f"{NAME}.backup.b1", 100)
    with pytest.raises(exceptions.BrokenBackup, match="damaged"):
        backups.restore_to_file("b1", io.BytesIO())
    backups.restore_to_file("b1", io.BytesIO(), verify=False)


def test_what_is_no_file(backups, backup, unchanged):
    for wrong in (None, "/dev/sda", b"data"):
        with pytest.raises(exceptions.InvalidInput, match="seek"):
            backups.create_from_file(wrong, NAME, "b2")
        with pytest.raises(exceptions.InvalidInput, match="seek"):
            backups.restore_to_file("b1", wrong)
    with pytest.raises(exceptions.BackupNotFound):
        backups.restore_to_file("b2", io.BytesIO())


def test_metadata_go_with_their_backup(backups, backup):
    assert backups.metadata("b1") is None
    backups.set_metadata("b1", '{"name": "Grüße"}')
    assert backups.metadata("b1") == '{"name": "Grüße"}'
    assert [found.id for found in backups.list()] == ["b1"]
    with pytest.raises(exceptions.InUse, match="there is a backup b1"):
        backups.remove_metadata("b1")
    backups.delete("b1")
    assert backups.metadata("b1") is None
    # Where nothing is, nothing is to be removed.
    backups.remove_metadata("b1")
    with pytest.raises(exceptions.BackupNotFound):
        backups.set_metadata("b1", "text")
    with pytest.raises(exceptions.InvalidInput, match="metadata"):
        backups.set_metadata("b1", "")
