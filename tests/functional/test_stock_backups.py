# SPDX-License-Identifier: Apache-2.0
"""Backups that Cinder's own driver made, by the commands and names that it makes them with."""

import io
import subprocess

import pytest
import rbd
import samples

from rbdstore import exceptions

MiB = samples.MiB
SIZE = 12 * MiB
VOLUME = "volume-11111111-0000-4000-8000-111111111111"
OTHER = "volume-22222222-0000-4000-8000-222222222222"
# What Cinder's driver asks of librbd for its backups' images.
FEATURES = (
    rbd.RBD_FEATURE_LAYERING
    | rbd.RBD_FEATURE_STRIPINGV2
    | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    | rbd.RBD_FEATURE_OBJECT_MAP
    | rbd.RBD_FEATURE_FAST_DIFF
)


class Cinder:
    """Cinder's Ceph backup driver, as far as the cluster sees it."""

    def __init__(self, sandbox, raw):
        self._sandbox = sandbox
        self._raw = raw
        self._snaps = {}
        # Its clock: the order of backups is that of these.
        self._now = 1763000000.25

    def back_up(self, volume, backup_id, parent=None, base=None):
        """Back up a volume, all of it or what has changed; give the image that has it."""
        base = base or f"{volume}.backup.{backup_id}"
        if base not in self._raw.images("backups"):
            self.create(base)
        self._now += 60
        snap = self._snaps[backup_id] = f"backup.{backup_id}.snap.{self._now}"
        self._raw.snap("volumes", volume, snap, protect=False)
        since = ["--from-snap", self._snaps[parent]] if parent else []
        exported = self._rbd("export-diff", *since, f"volumes/{volume}@{snap}", "-")
        self._rbd("import-diff", "-", f"backups/{base}", stdin=exported)
        self.write_metadata(backup_id)
        return base

    def create(self, base):
        with self._raw.ioctx("backups") as ioctx:
            self._raw.rbd.create(ioctx, base, SIZE, old_format=False, features=FEATURES)

    def write_metadata(self, backup_id):
        with self._raw.ioctx("backups") as ioctx:
            ioctx.write_full(f"backup.{backup_id}.meta", b'{"version": 2}')

    def copy(self, volume, base):
        """Back up what is not on Ceph, or a snapshot: copy it, without a snapshot of the copy."""
        self.create(base)
        self._raw.write("backups", base, self._raw.read("volumes", volume))

    def _rbd(self, *arguments, stdin=None):
        done = subprocess.run(
            ["rbd", *arguments],
            env=self._sandbox.env(),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=True,
        )
        return done.stdout


@pytest.fixture
def cinder(sandbox, raw):
    return Cinder(sandbox, raw)


@pytest.fixture
def source(raw):
    raw.create("volumes", VOLUME, SIZE)
    raw.write("volumes", VOLUME, samples.pattern("before", 5 * MiB), 3 * MiB)
    yield VOLUME
    raw.remove("volumes", VOLUME)


@pytest.fixture(params=[None, f"{VOLUME}.backup.base"], ids=["new names", "old names"])
def chain(request, cinder, raw, source, backups):
    """A full backup and two increments, of either naming: what they must restore to."""
    found = {}

    def back_up(backup_id, parent=None):
        cinder.back_up(source, backup_id, parent, request.param or f"{VOLUME}.backup.b-1")
        found[backup_id] = raw.read("volumes", source)

    back_up("b-1")
    raw.write("volumes", source, b"written", 1000)
    with raw.open("volumes", source) as image:
        image.discard(4 * MiB, 4 * MiB)
    back_up("b-2", "b-1")
    raw.write("volumes", source, b"at the end", SIZE - 10)
    back_up("b-3", "b-2")
    yield found
    for backup in backups.list():
        backups.delete(backup.id)
    assert raw.images("backups") == []


def check(volumes, backups, raw, backup_id, expected):
    backups.restore(backup_id, volumes, "restored")
    assert raw.read("volumes", "restored") == expected
    volumes.delete("restored")


def test_they_are_listed(chain, backups, raw):
    (base,) = raw.images("backups")
    found = backups.list()
    assert [(one.id, one.volume, one.size, one.kind, one.parent) for one in found] == [
        ("b-1", VOLUME, SIZE, "full", None),
        ("b-2", VOLUME, SIZE, "incremental", "b-1"),
        ("b-3", VOLUME, SIZE, "incremental", "b-2"),
    ]
    assert [one.created for one in found] == [1763000060.25, 1763000120.25, 1763000180.25]
    assert {(one.base.image, one.origin, one.stored) for one in found} == {(base, "cinder", None)}
    assert backups.list(VOLUME) == found
    assert backups.list(OTHER) == []
    assert backups.show("b-2") == found[1]


def test_every_point_is_restored(chain, volumes, backups, raw):
    for backup_id, data in chain.items():
        check(volumes, backups, raw, backup_id, data)


def test_to_a_volume_that_there_is(chain, volumes, backups, raw):
    raw.create("volumes", "restored", SIZE + 3 * MiB)
    raw.write("volumes", "restored", samples.pattern("other", 9 * MiB), 6 * MiB)
    for backup_id in ("b-1", "b-3", "b-2"):
        backups.restore(backup_id, volumes, "restored")
        assert raw.read("volumes", "restored") == chain[backup_id] + bytes(3 * MiB)
    volumes.delete("restored")


def test_they_are_deleted_in_any_order(chain, volumes, backups, raw):
    for gone in ("b-2", "b-1", "b-3"):
        backups.delete(gone)
        del chain[gone]
        assert [one.id for one in backups.list()] == list(chain)
        for backup_id, data in chain.items():
            check(volumes, backups, raw, backup_id, data)
    # Nothing left, and nothing to do again.
    backups.delete("b-2")


def test_they_leave_as_streams_and_come_back_as_ours(chain, volumes, backups, raw):
    streams = []
    for backup_id, since in (("b-1", None), ("b-2", "b-1"), ("b-3", "b-2"), ("b-3", "b-1")):
        stream = io.BytesIO()
        backups.export(backup_id, stream, since)
        streams.append(io.BytesIO(stream.getvalue()))
    for number, stream in enumerate(streams[:3], 1):
        made = backups.import_(stream, f"o-{number}", volume=OTHER)
        assert (made.kind, made.origin) == ("full" if number == 1 else "incremental", "rbdstore")
        assert backups.verify(made.id).damage == ()
        check(volumes, backups, raw, made.id, chain[f"b-{number}"])
    backups.import_(streams[3], "o-4")
    check(volumes, backups, raw, "o-4", chain["b-3"])
    with pytest.raises(exceptions.InvalidInput, match="no increment of b-2"):
        backups.export("b-1", io.BytesIO(), "b-2")


def test_what_they_cannot(chain, backups):
    with pytest.raises(exceptions.NotSupported, match="without checksums"):
        backups.verify("b-1")
    assert backups.prune(VOLUME, keep=0) == []
    assert len(backups.list()) == 3


def test_ours_beside_them(chain, cinder, source, volumes, backups, raw):
    made = backups.create(volumes, source, "ours-1")
    assert (made.kind, made.origin) == ("full", "rbdstore")
    assert [one.id for one in backups.list()] == ["b-1", "b-2", "b-3", "ours-1"]
    # Cinder's go on, and so do ours.
    raw.write("volumes", source, b"more", 2 * MiB)
    cinder.back_up(source, "b-4", "b-3", backups.show("b-3").base.image)
    assert backups.create(volumes, source, "ours-2").parent == "ours-1"
    now = raw.read("volumes", source)
    for backup_id in ("b-4", "ours-2"):
        check(volumes, backups, raw, backup_id, now)
    backups.delete("ours-1")
    check(volumes, backups, raw, "b-4", now)
    check(volumes, backups, raw, "ours-2", now)
    assert backups.prune(source, keep=0) == ["ours-2"]


def test_those_without_a_snapshot(cinder, source, volumes, backups, raw):
    data = raw.read("volumes", source)
    # Whether this one is whole nobody knows but Cinder's database, nor its id.
    cinder.copy(source, f"{VOLUME}.backup.base")
    cinder.copy(source, f"{OTHER}.backup.whole")
    cinder.write_metadata("whole")
    # Cinder is at work on this one, or was.
    cinder.create(f"{OTHER}.backup.unfinished")
    assert [(one.id, one.volume) for one in backups.list()] == [
        (f"{VOLUME}.backup.base", VOLUME),
        ("whole", OTHER),
    ]
    for backup_id in (f"{VOLUME}.backup.base", "whole"):
        check(volumes, backups, raw, backup_id, data)
        stream = io.BytesIO()
        backups.export(backup_id, stream)
        stream.seek(0)
        backups.import_(stream, "imported", volume=VOLUME)
        check(volumes, backups, raw, "imported", data)
        backups.delete("imported")
        backups.delete(backup_id)
    with pytest.raises(exceptions.BackupNotFound):
        backups.restore("unfinished", volumes, "restored")
    backups.delete("unfinished")
    assert raw.images("backups") == [f"{OTHER}.backup.unfinished"]
    raw.remove("backups", f"{OTHER}.backup.unfinished")


def test_images_of_other_names(source, backups, raw):
    for name in (f"{VOLUME}.backup.", "volume-.backup", f"{VOLUME}.backup.a.b", "backup.base"):
        raw.create("backups", name, MiB)
    assert backups.list() == []
    for name in raw.images("backups"):
        raw.remove("backups", name)
