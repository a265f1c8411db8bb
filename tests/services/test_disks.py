# SPDX-License-Identifier: Apache-2.0
"""Disks of instances: their names, sizes and snapshots, and that all of them go, and no others."""

import signal
import uuid

import pytest
import samples

from rbdstore import exceptions, spec
from rbdstore.disks import Disk

MiB = samples.MiB
INSTANCE = str(uuid.UUID(int=7))
DATA = samples.pattern("image", 9 * MiB)


@pytest.fixture
def disks(place):
    return place.store("volumes", "admin").disks


@pytest.fixture
def images(place):
    return place.images("admin")


@pytest.fixture
def disk(disks, raw):
    """A disk that holds data."""
    name = disks.name(INSTANCE)
    raw.create("volumes", name, data=DATA)
    yield name
    disks.cleanup(INSTANCE)


# Names


def test_names(disks):
    assert disks.name(INSTANCE) == f"{INSTANCE}_disk"
    assert disks.name(INSTANCE, "local") == f"{INSTANCE}_disk.local"
    assert disks.name(INSTANCE, "config.rescue") == f"{INSTANCE}_disk.config.rescue"
    for kind in ("Local", "local/1", "a_disk", ".", "local.", None, 5, "x" * 300, "partial"):
        with pytest.raises(exceptions.InvalidName):
            disks.name(INSTANCE, kind)


def test_which_names_are_an_instances():
    for kind in ("", ".local", ".eph0", ".config.rescue", ".12ab34cd.partial"):
        assert spec.is_disk(f"a_disk{kind}", "a")
        assert not spec.is_disk(f"a_disk{kind}", "a_disk")
    for name in ("a_disk2", "a_disk_disk", "a_disk.b_disk", "ab_disk", "a", "a_disk.", "A_disk"):
        assert not spec.is_disk(name, "a")


def test_what_there_is(disks, disk, raw):
    raw.create("volumes", f"{INSTANCE}_disk.swap", MiB)
    raw.create("volumes", "volume-1", MiB)
    raw.create("volumes", "another_disk", MiB)
    mine = [Disk(disk, 9 * MiB, None), Disk(f"{INSTANCE}_disk.swap", MiB, None)]
    assert disks.list(INSTANCE) == mine
    assert {each.name for each in disks.list()} == {each.name for each in mine} | {"another_disk"}
    assert disks.exists(disk)
    assert not disks.exists(f"{INSTANCE}_disk.local")
    assert disks.get_size(disk) == 9 * MiB
    for look in (disks.get_size, disks.parent):
        with pytest.raises(exceptions.ImageNotFound):
            look("missing_disk")
    for name in ("volume-1", "another_disk"):
        raw.remove("volumes", name)


def test_names_of_what_there_is(disks, disk, raw):
    raw.create("volumes", f"{INSTANCE}_disk.swap", MiB)
    # One that somebody was killed while making.
    raw.create("volumes", f"{INSTANCE}_disk.local.12ab34cd.partial", MiB)
    raw.create("volumes", "volume-1", MiB)
    mine = [disk, f"{INSTANCE}_disk.local", f"{INSTANCE}_disk.swap"]
    assert disks.names(INSTANCE) == mine
    assert disks.names() == mine
    raw.remove("volumes", "volume-1")
    raw.remove("volumes", f"{INSTANCE}_disk.local.12ab34cd.partial")


def test_snapshots_that_are_there(disks, disk):
    disks.create_snapshot(disk, "snapshot-1")
    assert disks.exists(disk, "snapshot-1")
    assert not disks.exists(disk, "snapshot-2")
    assert not disks.exists("missing_disk", "snapshot-1")


def test_one_disk_is_deleted_with_its_snapshots(disks, disk, raw):
    other = disks.name(INSTANCE, "swap")
    raw.create("volumes", other, MiB)
    disks.create_snapshot(disk)
    for _ in range(2):
        disks.delete(disk)
        assert raw.images("volumes") == [other]


def test_monitors(disks, request):
    if request.config.getoption("driver") == "file":
        with pytest.raises(exceptions.NotSupported):
            disks.monitors()
    else:
        assert {host for host, _port in disks.monitors()} == {"127.0.0.1"}


# Sizes


def test_a_disk_shrinks_only_where_that_is_allowed(disks, disk, raw):
    disks.resize(disk, 10 * MiB)
    assert raw.read("volumes", disk) == DATA + bytes(MiB)
    with pytest.raises(exceptions.InvalidSize):
        disks.resize(disk, 8 * MiB)
    for word in (1, "yes", None):
        with pytest.raises(exceptions.InvalidInput, match="allow_shrink is True or False"):
            disks.resize(disk, 8 * MiB, allow_shrink=word)
    assert disks.get_size(disk) == 10 * MiB
    disks.resize(disk, 8 * MiB, allow_shrink=True)
    assert raw.read("volumes", disk) == DATA[: 8 * MiB]


# Snapshots


def test_a_resize_that_is_reverted(disks, disk, raw):
    disks.create_snapshot(disk)
    assert raw.snaps("volumes", disk) == ["nova-resize"]
    assert not raw.is_protected("volumes", disk, "nova-resize")
    with pytest.raises(exceptions.Duplicate):
        disks.create_snapshot(disk)
    raw.write("volumes", disk, b"written later")
    disks.resize(disk, 20 * MiB)
    disks.rollback_to_snapshot(disk)
    assert raw.read("volumes", disk) == DATA
    disks.remove_snapshot(disk)
    disks.remove_snapshot(disk)
    assert raw.snaps("volumes", disk) == []
    with pytest.raises(exceptions.SnapshotNotFound):
        disks.rollback_to_snapshot(disk)


# From images, and to images


def test_a_disk_shares_the_data_of_an_image(disks, images, raw):
    uri = images.add("image-1", DATA).uri
    name = disks.name(INSTANCE)
    assert disks.is_cloneable(uri, {"disk_format": "raw"})
    elsewhere = "https://glance.example/image-1"
    made = disks.clone(name, [elsewhere, uri], 20 * MiB, open_image=lambda: DATA)
    assert (made.method, made.location) == ("clone", uri)
    assert [verdict.location for verdict in made.passed_over] == [elsewhere]
    assert str(disks.parent(name)) == "images/image-1@snap"
    assert raw.read("volumes", name) == DATA + bytes(11 * MiB)
    disks.flatten(name)
    assert disks.parent(name) is None
    disks.cleanup(INSTANCE)
    images.delete(uri)


def test_a_disk_of_what_cannot_be_cloned_is_a_copy(disks, raw):
    name = disks.name(INSTANCE)
    for location, disk_format, reason in (
        ("rbd://image-1", "raw", "names no snapshot to clone from"),
        ("rbd://a/images/image-1/snap", "raw", "is in cluster a, not in"),
        ("rbd://a/images/image-1/snap", "qcow2", "is 'qcow2'; only raw can be cloned"),
        ("file:///image-1", "raw", "is not an rbd:// location"),
    ):
        verdict = disks.is_cloneable(location, {"disk_format": disk_format})
        assert not verdict
        assert reason in verdict.reason
    with pytest.raises(exceptions.NotCloneable):
        disks.clone(name, ["rbd://image-1"], 9 * MiB)
    made = disks.clone(name, ["rbd://image-1"], 9 * MiB, open_image=lambda: DATA)
    assert (made.method, made.location) == ("copy", "")
    assert raw.read("volumes", name) == DATA
    swap = disks.name(INSTANCE, "swap")
    assert disks.import_image(swap, DATA, 10 * MiB).method == "copy"
    assert raw.read("volumes", swap) == DATA + bytes(MiB)
    assert disks.cleanup(INSTANCE) == [name, swap]


def test_a_direct_snapshot(disks, disk, images, raw):
    made = disks.snapshot_to_image(disk, images, "image-1", method="cow")
    assert (made.uri, made.size, made.method) == (images.uri("image-1"), 9 * MiB, "cow")
    assert raw.read("images", "image-1", "snap") == DATA
    assert raw.snaps("volumes", disk) == []
    images.delete(made.uri)


# Cleaning up


def test_every_disk_of_an_instance_goes_and_no_other(disks, disk, images, raw):
    others = [f"{INSTANCE}_disk2", f"{INSTANCE}0_disk", f"{INSTANCE}_disk_disk", "volume-1"]
    # What ends like what is being made, and is not.
    others += [f"{INSTANCE}_disk.partial", f"{INSTANCE}_disk.swap.partial"]
    mine = [disks.name(INSTANCE, kind) for kind in ("local", "swap", "config", "eph0")]
    for name in others + mine:
        raw.create("volumes", name, MiB)
        raw.snap("volumes", name, "nova-resize", protect=False)
    raw.snap("volumes", disk, "left by a direct snapshot")
    # Of one that was being made when its maker died.
    raw.create("volumes", f"{INSTANCE}_disk.rescue.12ab34cd.partial", MiB)
    assert disks.cleanup(INSTANCE) == sorted([disk, *mine, f"{INSTANCE}_disk.rescue"])
    unfinished = [name for name in raw.images("volumes") if name not in others]
    for name in unfinished:
        assert name.endswith(".partial")
        raw.remove("volumes", name)
    assert raw.images("volumes") == sorted(others)
    assert disks.cleanup(INSTANCE) == []
    for name in others:
        assert raw.snaps("volumes", name) == ["nova-resize"]
        raw.remove("volumes", name)


def test_a_disk_that_images_were_cloned_from_goes_with_them(place, disks, disk, raw):
    volumes = place.volumes("admin")
    disks.create_snapshot(disk)
    volumes.create_from_snapshot("volume-1", disk, "nova-resize")
    disks.cleanup(INSTANCE)
    assert disks.list() == []
    assert raw.read("volumes", "volume-1") == DATA
    volumes.delete("volume-1")
    assert raw.trash("volumes") == {}


def test_a_crashed_client_is_waited_for(place, disks, disk):
    with place.held_open("volumes", disk) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert disks.cleanup(INSTANCE) == [disk]


def test_a_living_client_is_named_and_loses_nothing(place, disk, raw):
    impatient = place.store(
        "volumes", rbd_destroy_volume_retries=1, rbd_destroy_volume_retry_interval=1
    ).disks
    swap = impatient.name(INSTANCE, "swap")
    raw.create("volumes", swap, MiB)
    impatient.create_snapshot(disk)
    with place.held_open("volumes", disk):
        with pytest.raises(exceptions.InUse) as caught:
            impatient.cleanup(INSTANCE)
        (watcher,) = caught.value.watchers
        assert watcher in str(caught.value)
        assert raw.snaps("volumes", disk) == ["nova-resize"]
        # The others went.
        assert not impatient.exists(swap)
    assert raw.read("volumes", disk) == DATA


@pytest.mark.parametrize(
    "delete",
    [
        lambda disks: disks.cleanup(INSTANCE),
        lambda disks: disks.delete_all(disks.names()),
    ],
    ids=["cleanup", "delete_all"],
)
def test_every_error_is_told(place, disk, raw, delete):
    impatient = place.store("volumes", rbd_destroy_volume_retries=0).disks
    swap, config = (impatient.name(INSTANCE, kind) for kind in ("swap", "config"))
    for name in (swap, config):
        raw.create("volumes", name, MiB)
    with (
        place.held_open("volumes", disk),
        place.held_open("volumes", swap),
        pytest.raises(exceptions.InUse) as caught,
    ):
        delete(impatient)
    assert not impatient.exists(config)
    assert caught.value.spec.image == disk
    (note,) = caught.value.__notes__
    assert swap in note
