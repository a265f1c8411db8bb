# SPDX-License-Identifier: Apache-2.0
"""What becomes of an image that another client has open: one that writes, and one that died."""

import datetime
import json
import logging
import re
import time

import commands
import pytest
import racers
import samples
import stores
from rbd_place import RbdPlace
from writers import Writer

import rbdstore
from rbdstore import exceptions
from rbdstore.testing.recipe import Role

MiB = samples.MiB
SIZE = 8 * MiB
DATA = samples.pattern("volume", SIZE)

# As some set-up guides made it: it may read what the monitors know, and no more.
READER = Role("cinder-reads", osd=("profile rbd pool=volumes",), mgr=(), mon=("allow r",))

ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+/\d+")


@pytest.fixture
def volume(volumes, raw):
    raw.create("volumes", "volume-1", data=DATA)
    volumes.create_snapshot("volume-1", "snapshot-1")
    yield "volume-1"
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete("volume-1", wait=60)


@pytest.fixture
def writer(sandbox, volume):
    """qemu-io, at work on the volume."""
    with Writer(sandbox, "volumes", volume, SIZE) as running:
        running.wait_for_writes()
        yield running


@pytest.fixture
def listed(raw):
    """The addresses that the cluster refuses, and until when."""

    def ask():
        asked = json.dumps({"prefix": "osd blocklist ls"})
        _status, said, _message = raw.client.mon_command(asked, b"")
        lines = [line.split() for line in said.decode().splitlines()]
        return {
            line[0]: datetime.datetime.strptime(line[1], "%Y-%m-%dT%H:%M:%S.%f%z")
            for line in lines
            if line and ADDRESS.fullmatch(line[0])
        }

    return ask


@pytest.fixture
def cut_off(listed):
    """The addresses that the cluster refuses, as far as this test has added to them."""
    before = set(listed())
    return lambda: set(listed()) - before


def test_what_is_done_to_a_volume_that_is_written_to(sandbox, volumes, volume, raw):
    """Its writer goes on, and all that was acknowledged is there, whatever has been done."""
    volumes.create_from_snapshot("clone", volume, "snapshot-1")
    with Writer(sandbox, "volumes", "clone", SIZE) as writer:
        for act in (
            lambda: volumes.extend("clone", 2 * SIZE),
            lambda: volumes.create_snapshot("clone", "snapshot-2"),
            lambda: volumes.create_cloned_volume("another", "clone"),
            lambda: volumes.delete_snapshot("clone", "snapshot-2"),
            lambda: volumes.flatten("clone"),
            lambda: volumes.rename("clone", "renamed"),
        ):
            writer.wait_for_writes()
            act()
        writer.wait_for_writes()
    assert writer.errors == []
    assert raw.parent("volumes", "renamed") is None
    assert raw.size("volumes", "renamed") == 2 * SIZE
    assert raw.read("volumes", "renamed")[:SIZE] == writer.expected(DATA)
    volumes.delete("another")
    volumes.delete("renamed")


def test_what_is_refused_while_a_volume_is_written_to(volumes, writer, raw, cut_off):
    for refused in (
        lambda: volumes.revert_to_snapshot("volume-1", "snapshot-1"),
        lambda: volumes.revert_to_snapshot("volume-1", "snapshot-1", wait=0.5),
    ):
        with pytest.raises(exceptions.InUse) as caught:
            refused()
        assert len(caught.value.watchers) == 1
        assert ADDRESS.fullmatch(caught.value.watchers[0])
    raw.remove_snap("volumes", "volume-1", "snapshot-1")
    for wait in (0, 0.5):
        with pytest.raises(exceptions.InUse) as caught:
            volumes.delete("volume-1", wait=wait)
        assert len(caught.value.watchers) == 1
    writer.wait_for_writes()
    assert writer.errors == []
    assert raw.trash("volumes") == {}
    assert cut_off() == set()


def test_a_client_that_died_is_waited_for(sandbox, volumes, volume, raw, caplog):
    caplog.set_level(logging.INFO, "rbdstore.names.removal")
    with stores.held_open(sandbox, "volumes", volume, data=b"other") as client:
        client.kill()
        client.wait()
        with pytest.raises(exceptions.InUse):
            volumes.revert_to_snapshot(volume, "snapshot-1")
        volumes.revert_to_snapshot(volume, "snapshot-1", wait=60)
    assert raw.read("volumes", volume) == DATA
    (line,) = [one.getMessage() for one in caplog.records if "waiting" in one.getMessage()]
    assert line.startswith("volumes/volume-1 is open for writing by ")
    assert line.endswith(": waiting for up to 60 s")


def test_after_a_client_died_librbd_itself_waits_for_what_needs_its_lock(sandbox, volumes, volume):
    with stores.held_open(sandbox, "volumes", volume, data=b"other") as client:
        client.kill()
        client.wait()
        assert volumes.extend(volume, 2 * SIZE).size == 2 * SIZE


def test_a_writer_that_is_cut_off_writes_nothing_more(
    volumes, writer, raw, cut_off, listed, caplog
):
    volumes.revert_to_snapshot("volume-1", "snapshot-1", fence=True)
    (address,) = cut_off()
    writer.wait_for_an_error()
    assert raw.read("volumes", "volume-1") == DATA
    (line,) = [one.getMessage() for one in caplog.records if "cut off" in one.getMessage()]
    assert line == f"cut off {address}, which had volumes/volume-1 open for writing"
    # For longer than any host is away, which then would write what it was not answered.
    assert listed()[address].timestamp() - time.time() > 300 * 86400
    # What librbd would wait for half a minute to do with the dead one's lock there.
    with raw.open("volumes", "volume-1", read_only=True) as image:
        assert not image.list_lockers()


@pytest.mark.parametrize("features", [None, samples.OLD_FEATURES])
def test_one_that_has_written_nothing_yet_is_cut_off(sandbox, volumes, raw, cut_off, features):
    """It has no lock, and in an old image nobody ever has one."""
    raw.create("volumes", "volume-2", data=DATA, features=features)
    with stores.held_open(sandbox, "volumes", "volume-2") as client:
        volumes.delete("volume-2", fence=True)
        client.kill()
    assert len(cut_off()) == 1
    assert raw.images("volumes") == []


def test_a_volume_is_deleted_under_a_writer_that_is_cut_off(volumes, writer, raw):
    raw.remove_snap("volumes", "volume-1", "snapshot-1")
    volumes.delete("volume-1", fence=True)
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}
    writer.wait_for_an_error()


def test_nobody_is_cut_off_where_it_is_refused_all_the_same(volumes, writer, cut_off):
    with pytest.raises(exceptions.InUse, match="snapshots snapshot-1"):
        volumes.delete("volume-1", fence=True)
    with pytest.raises(exceptions.SnapshotNotFound):
        volumes.revert_to_snapshot("volume-1", "snapshot-2", fence=True)
    assert cut_off() == set()
    writer.wait_for_writes()
    assert writer.errors == []


def test_nobody_cuts_itself_off(sandbox, volumes, volume, cut_off):
    """Whatever client of this process has it open."""
    other = stores.store(sandbox, "admin", "volumes").volumes
    with (
        other._pool.open(volume, read_only=False),
        pytest.raises(exceptions.InUse, match="does not cut itself off"),
    ):
        volumes.revert_to_snapshot(volume, "snapshot-1", fence=True)
    assert cut_off() == set()


def test_who_may_not_cut_others_off_is_told_the_capability(sandbox, writer, cut_off):
    with (
        stores.volume_store_as(sandbox, READER) as volumes,
        pytest.raises(exceptions.PermissionDenied) as caught,
    ):
        volumes.revert_to_snapshot("volume-1", "snapshot-1", fence=True)
    for part in ("lacks the mon capability `profile rbd`", "ceph auth caps client.cinder-reads"):
        assert part in str(caught.value)
    assert cut_off() == set()
    writer.wait_for_writes()
    assert writer.errors == []


def test_the_disks_of_a_host_that_is_cut_off(sandbox, raw, cut_off):
    disks = stores.store(sandbox, "nova", "vms", rbd_destroy_volume_retries=0).disks
    instance = "8b9ea0cc-0000-4000-8000-000000000000"
    raw.create("vms", f"{instance}_disk", data=DATA)
    with Writer(sandbox, "vms", f"{instance}_disk", SIZE) as writer:
        writer.wait_for_writes()
        assert disks.cleanup(instance, fence=True) == [f"{instance}_disk"]
        writer.wait_for_an_error()
    assert raw.images("vms") == []
    assert len(cut_off()) == 1


def test_nobody_is_cut_off_for_a_disk_that_is_not_deleted(sandbox, raw, cut_off):
    """There may be clones of it where its user may not look."""
    instance = "8b9ea0cc-0000-4000-8000-000000000000"
    disk = f"{instance}_disk"
    raw.create("vms", disk, data=DATA)
    raw.snap("vms", disk, "snap", protect=False)
    raw.clone("vms", disk, "snap", "volumes", "clone")
    blind = Role("nova-blind", osd=("profile rbd pool=vms",), mgr=())
    options = {"rbd_ceph_conf": sandbox.conf_path, "rbd_user": "nova-blind", "rbd_pool": "vms"}
    with (
        stores.more_users(sandbox, blind),
        rbdstore.connect("rbd", rbd_destroy_volume_retries=0, **options) as store,
        Writer(sandbox, "vms", disk, SIZE) as writer,
    ):
        writer.wait_for_writes()
        with pytest.raises(exceptions.PermissionDenied):
            store.disks.cleanup(instance, fence=True)
        assert cut_off() == set()
        writer.wait_for_writes()
    assert raw.snaps("vms", disk) == ["snap"]
    raw.remove("volumes", "clone")
    raw.remove_snap("vms", disk, "snap")
    raw.remove("vms", disk)


def test_the_manager_is_not_cut_off(sandbox, volumes, raw, cut_off):
    """Its one client does the tasks for the whole cluster."""
    raw.create("images", "image", data=samples.pattern("image", 128 * MiB))
    raw.snap("images", "image", "snap")

    def is_refused():
        with volumes._pool.open("clone") as image:
            try:
                image.fence()
            except exceptions.InUse as error:
                return "the cluster's manager is at work on it" in str(error)
            return False

    def is_refused_meanwhile():
        raw.clone("images", "image", "snap", "volumes", "clone")
        sandbox.ceph("rbd", "task", "add", "flatten", "volumes/clone")
        refused = False
        while raw.parent("volumes", "clone") is not None:
            refused = refused or is_refused()
        volumes.delete("clone", wait=60)
        return refused

    # The task may be over sooner than it is looked at.
    racers.until(is_refused_meanwhile)
    assert cut_off() == set()
    raw.remove("images", "image")


def test_the_command(sandbox, writer, raw, tmp_path):
    place = RbdPlace(sandbox)
    try:
        shell = commands.Shell(place, tmp_path / "rbdstore.conf")
        assert "opened by" in shell.fails("snapshot", "revert", "volume-1@snapshot-1")
        ended = shell.run("snapshot", "revert", "volume-1@snapshot-1", "--fence")
        assert ended.status == 0
        assert "cut off" in ended.err
        assert raw.read("volumes", "volume-1") == DATA
        shell.ok("snapshot", "delete", "volume-1@snapshot-1")
        shell.ok("volume", "delete", "volume-1", "--wait=1", "--fence")
    finally:
        place.close()
