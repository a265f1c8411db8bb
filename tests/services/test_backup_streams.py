# SPDX-License-Identifier: Apache-2.0
"""Backups that leave as streams and come back: every point of a chain, and nothing else."""

import io

import pytest
import samples

from rbdstore import exceptions
from rbdstore.backup.diffstreams import DiffReader, DiffWriter, Header

MiB = samples.MiB
SIZE = 20 * MiB + 5


@pytest.fixture
def source(volumes, raw, backups):
    """A volume with data here and there, deleted at the end with all backups."""
    volumes.create("volume-1", SIZE)
    raw.write("volumes", "volume-1", samples.pattern("before", 6 * MiB), 3 * MiB)
    yield "volume-1"
    volumes.delete("volume-1")
    for backup in backups.list():
        backups.delete(backup.id)


@pytest.fixture
def points(volumes, backups, raw, source):
    """A full backup and two increments, by their ids: what they must restore to."""
    found = {}

    def back_up(backup_id):
        backups.create(volumes, source, backup_id)
        found[backup_id] = raw.read("volumes", source)

    back_up("b1")
    raw.write("volumes", source, b"written", 1000)
    with volumes.pool.open(source, read_only=False) as image:
        image.discard(4 * MiB, 4 * MiB)
    back_up("b2")
    volumes.extend(source, 30 * MiB)
    raw.write("volumes", source, bytes(100), 3 * MiB)
    raw.write("volumes", source, b"at the end", 30 * MiB - 10)
    back_up("b3")
    return found


def exported(backups, backup_id, since=None, **how):
    stream = io.BytesIO()
    backups.export(backup_id, stream, since, **how)
    return stream.getvalue()


def written(header, *records):
    """A stream: stretches are of zeros where they are numbers."""
    stream = io.BytesIO()
    writer = DiffWriter(stream, header)
    for offset, what in records:
        if isinstance(what, int):
            writer.zeros(offset, what)
        else:
            writer.data(offset, what)
    writer.end()
    return stream.getvalue()


def imported(backups, data, *arguments, **how):
    return backups.import_(io.BytesIO(data), *arguments, **how)


def check(volumes, backups, raw, backup_id, expected):
    """See that a backup is whole, and restores to a new volume."""
    assert backups.verify(backup_id).damage == ()
    backups.restore(backup_id, volumes, "restored")
    assert raw.read("volumes", "restored") == expected
    volumes.delete("restored")


def test_a_chain_leaves_and_comes_back(volumes, backups, raw, points):
    streams = [
        exported(backups, "b1"),
        exported(backups, "b2", "b1"),
        exported(backups, "b3", "b2"),
    ]
    # No more than was written, in steps of 64 KiB, and not the objects that it is in.
    assert len(streams[0]) < 6 * MiB + 128 * 1024
    assert len(streams[1]) < MiB
    before = backups.list()
    for backup_id in points:
        backups.delete(backup_id)
    made = [imported(backups, streams[0], volume="volume-1")]
    made += [imported(backups, stream) for stream in streams[1:]]
    assert [(one.id, one.volume, one.size, one.parent) for one in made] == [
        (one.id, one.volume, one.size, one.parent) for one in before
    ]
    assert [one.source for one in made] == [None, None, None]
    for backup_id, data in points.items():
        check(volumes, backups, raw, backup_id, data)


def test_whole_backups_and_changes_between_any_two(volumes, backups, raw, points):
    for number, backup_id in enumerate(points):
        imported(backups, exported(backups, backup_id), f"w{number}", volume="volume-1")
        check(volumes, backups, raw, f"w{number}", points[backup_id])
    # From a later one to an earlier one, which is smaller; from one image to another.
    pairs = [("b3", "b1"), ("b1", "b3"), ("w0", "b3"), ("b2", "w2")]
    for since, backup_id in pairs:
        stream = exported(backups, backup_id, since)
        made = imported(backups, stream, "to")
        assert (made.parent, made.volume) == (since, "volume-1")
        check(volumes, backups, raw, "to", points.get(backup_id, points["b3"]))
        backups.delete("to")


def test_a_stream_may_have_any_names(volumes, backups, raw, points):
    data = samples.pattern("first", MiB)
    first = written(Header(8 * MiB, None, "monday"), (MiB, data))
    second = written(Header(8 * MiB, "monday", "friday"), (MiB, 10), (5 * MiB, b"five"))
    imported(backups, first, "m", volume="volume-2")
    made = imported(backups, second, "f")
    assert (made.parent, made.volume, made.kind) == ("m", "volume-2", "incremental")
    expected = bytes(MiB + 10) + data[10:] + bytes(3 * MiB) + b"five" + bytes(3 * MiB - 4)
    check(volumes, backups, raw, "f", expected)
    third = written(Header(8 * MiB, "saturday", None))
    with pytest.raises(exceptions.BackupNotFound, match="saturday"):
        imported(backups, third, "s")
    with pytest.raises(exceptions.InvalidInput, match=r"saturday.* which backup f is not"):
        imported(backups, third, "s", since="f")
    # One that came without a name may have any.
    imported(backups, written(Header(MiB)), "n", volume="volume-3")
    imported(backups, third, "s", since="n")
    check(volumes, backups, raw, "s", bytes(8 * MiB))


def test_records_in_any_order_and_over_each_other(volumes, backups, raw, source):
    image = bytearray(9 * MiB)
    records = [
        (5 * MiB, samples.pattern("a", MiB)),
        (0, samples.pattern("b", 6 * MiB - 100)),
        (MiB, 4 * MiB + 7),
        (3 * MiB, bytes(100)),
        (4 * MiB, samples.pattern("c", 100)),
        (9 * MiB - 1, 1),
    ]
    for offset, what in records:
        data = bytes(what) if isinstance(what, int) else what
        image[offset : offset + len(data)] = data
    imported(backups, written(Header(9 * MiB, None, "x"), *records), "x", volume="volume-1")
    check(volumes, backups, raw, "x", bytes(image))
    imported(backups, written(Header(9 * MiB, "x", "y"), *records[::-1]), "y")
    for offset, what in records[::-1]:
        data = bytes(what) if isinstance(what, int) else what
        image[offset : offset + len(data)] = data
    check(volumes, backups, raw, "y", bytes(image))


def test_a_shrunken_volume(volumes, backups, raw, source):
    data = samples.pattern("long", 11 * MiB)
    imported(backups, written(Header(len(data), None, "x"), (0, data)), "x", volume="volume-1")
    imported(backups, written(Header(5 * MiB, "x", "y")), "y")
    imported(backups, written(Header(11 * MiB, "y", "z")), "z")
    check(volumes, backups, raw, "y", data[: 5 * MiB])
    check(volumes, backups, raw, "z", data[: 5 * MiB].ljust(11 * MiB, b"\0"))
    # Told as one step, the zeros are told.
    imported(backups, exported(backups, "z", "x"), "again")
    check(volumes, backups, raw, "again", data[: 5 * MiB].ljust(11 * MiB, b"\0"))


def test_a_few_bytes_may_say_much(backups, source):
    """Of zeros without end, which cost nothing, as nothing was there."""
    size = 1 << 40
    stream = written(Header(size, None, "x"), (0, size), (size // 2, b"data"), (0, size))
    made = imported(backups, stream, "x", volume="volume-1")
    assert made.size == size
    made = imported(backups, written(Header(size, "x", "y"), (0, size), (7, size - 7)), "y")
    assert backups.verify("y").damage == ()


@pytest.fixture
def nothing_new(raw, backups):
    """See that there is no more at the end than when this was called."""

    def seen():
        return raw.state(), raw.images("backups"), [backup.id for backup in backups.list()]

    before = []
    yield lambda: before.append(seen())
    assert seen() == before[0]


def test_a_stream_that_is_cut_off_leaves_nothing(backups, points, nothing_new):
    full, more = exported(backups, "b1"), exported(backups, "b3", "b1")
    nothing_new()
    for stream in (full, more):
        for length in (5, 40, len(stream) // 2, len(stream) - 1):
            with pytest.raises(exceptions.InvalidBody):
                imported(backups, stream[:length], "x", volume="volume-1")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, exceptions.Duplicate, "there is a backup b1"),
        ({"backup_id": "x", "volume": None}, exceptions.InvalidInput, "which volume"),
        ({"backup_id": "x", "since": "b1"}, exceptions.InvalidInput, "of all of a volume"),
        ({"backup_id": "a/b"}, exceptions.InvalidName, "a/b"),
        ({"backup_id": "x", "volume": "a" * 215}, exceptions.InvalidName, "limit"),
    ],
)
def test_what_a_stream_cannot_become(backups, points, nothing_new, arguments, error, said):
    stream = exported(backups, "b1")
    nothing_new()
    with pytest.raises(error, match=said):
        imported(backups, stream, **{"volume": "volume-1", **arguments})


def test_a_duplicate_is_one_however_often_it_is_tried(volumes, backups, points):
    stream = exported(backups, "b1")
    for _ in range(3):
        with pytest.raises(exceptions.Duplicate):
            imported(backups, stream, volume="volume-1")
        with pytest.raises(exceptions.Duplicate):
            backups.create(volumes, "volume-1", "b1")


def test_changes_of_another_volume(backups, points, nothing_new):
    stream = exported(backups, "b2", "b1")
    nothing_new()
    with pytest.raises(exceptions.InvalidInput, match="a backup of volume-1, and not of another"):
        imported(backups, stream, "x", volume="another")
    nameless = written(Header(MiB))
    with pytest.raises(exceptions.InvalidInput, match="which backup it is"):
        imported(backups, nameless, volume="volume-1")


def test_changes_since_an_earlier_backup_of_the_same_id(volumes, backups, raw, source):
    for week in range(2):
        backups.delete("monday")
        backups.create(volumes, source, "monday")
        backups.delete("tuesday")
        raw.write("volumes", source, b"tuesday's")
        backups.create(volumes, source, "tuesday")
        if not week:
            stream = exported(backups, "tuesday", "monday")
            raw.write("volumes", source, samples.pattern("later", 6 * MiB))
    with pytest.raises(exceptions.BackupNotFound):
        imported(backups, stream, "x")
    with pytest.raises(exceptions.InvalidInput):
        imported(backups, stream, "x", since="monday")


def test_what_cannot_be_exported(backups, points):
    with pytest.raises(exceptions.BackupNotFound):
        exported(backups, "nope")
    with pytest.raises(exceptions.BackupNotFound):
        exported(backups, "b1", "nope")
    imported(backups, written(Header(MiB)), "other", volume="volume-2")
    with pytest.raises(exceptions.InvalidInput, match="another volume"):
        exported(backups, "b1", "other")
    for stream in (io.StringIO(), 7, None):
        with pytest.raises(exceptions.InvalidInput):
            backups.export("b1", stream)
        with pytest.raises(exceptions.InvalidInput):
            backups.import_(stream, "x", volume="volume-1")


def test_what_was_damaged_does_not_leave_as_if_it_were_whole(backups, raw, points):
    with backups._pool.open("volume-1.backup.b1") as image:
        snaps = image.snaps()
    # The image as it is now is what the latest backup's snapshot shares.
    raw.write("backups", "volume-1.backup.b1", b"?", 3 * MiB + 500_000)
    with backups._pool.open("volume-1.backup.b1", read_only=False) as image:
        image.remove_snap(snaps[-1].id)
        image.create_snap(snaps[-1].name)
    stream = io.BytesIO()
    with pytest.raises(exceptions.BrokenBackup):
        backups.export("b3", stream)
    with pytest.raises(exceptions.BrokenStream, match="cut off"):
        list(DiffReader(io.BytesIO(stream.getvalue())))


def test_progress(backups, points):
    seen = []
    stream = exported(backups, "b3", progress=lambda *done: seen.append(done))
    assert seen[-1][0] == seen[-1][1] > 0
    seen.clear()
    imported(backups, stream, "x", volume="volume-1", progress=lambda *done: seen.append(done))
    assert seen[-1] == (30 * MiB, 30 * MiB)


def test_a_stream_that_has_no_room(backups, points):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        backups.export("b1", Full())
