# SPDX-License-Identifier: Apache-2.0
"""Pools that the stock drivers, operators and other clients have worked in before, and still do.

What Cinder and Glance make is made here with librbd alone, the way they do: clone format 1,
protected snapshots, and their names.
"""

import subprocess

import pytest
import rbd
import samples
import stores

from rbdstore import exceptions
from rbdstore.spec import ImageSpec

MiB = samples.MiB
SIZE = MiB
VOLUME, OTHER, THIRD = (f"volume-{number * 8}-0000-4000-8000-{number * 12}" for number in "123")
SNAPSHOT = "snapshot-44444444-0000-4000-8000-444444444444"
IMAGE = "55555555-0000-4000-8000-555555555555"

FORMATS = pytest.mark.parametrize("clone_format", [1, 2], ids=["format 1", "format 2"])
FEATURES = pytest.mark.parametrize(
    "features", [None, samples.OLD_FEATURES], ids=["new features", "old features"]
)


@pytest.fixture
def stock(sandbox):
    """A client as the stock drivers are one: as admin, with clone format 1."""
    with stores.foreign(sandbox, clone_format=1) as client:
        yield client


@pytest.fixture
def images(sandbox):
    return stores.image_store(sandbox)


@pytest.fixture
def volumes(sandbox, clone_format):
    return stores.volume_store(sandbox, clone_format=clone_format)


def cinder_clone(stock, source, name, features=None):
    """What Cinder leaves when it clones a volume."""
    stock.snap("volumes", source, f"{name}.clone_snap")
    stock.clone("volumes", source, f"{name}.clone_snap", "volumes", name, features=features)


def glance_image(stock, sandbox, features=None):
    """What Glance leaves when it stores an image; return its location."""
    stock.create("images", IMAGE, data=samples.pattern(IMAGE, SIZE), features=features)
    stock.snap("images", IMAGE, "snap")
    return f"rbd://{sandbox.fsid}/images/{IMAGE}/snap"


def nothing_left(stock):
    return all(not stock.images(pool) and not stock.trash(pool) for pool in ("images", "volumes"))


# What Glance made


@FORMATS
@FEATURES
def test_an_image_of_glance_s(sandbox, stock, images, volumes, features):
    uri = glance_image(stock, sandbox, features)
    data = samples.pattern(IMAGE, SIZE)
    assert [found.uri for found in images.list()] == [uri]
    assert b"".join(images.get(uri)) == data
    stock.clone("images", IMAGE, "snap", "volumes", VOLUME, features=features)
    ours = volumes.clone(OTHER, uri, 2 * SIZE)
    assert (ours.size, ours.depth) == (2 * SIZE, 1)
    assert volumes.get(VOLUME).parent == ImageSpec("images", IMAGE, "snap")
    with pytest.raises(exceptions.InUse) as caught:
        images.delete(uri)
    assert {child.image for child in caught.value.children} == {VOLUME, OTHER}
    with stock.open("images", IMAGE, read_only=True) as opened:
        assert opened.is_protected_snap("snap")
    volumes.delete(VOLUME)
    assert stock.read("volumes", OTHER) == data + bytes(SIZE)
    volumes.delete(OTHER)
    images.delete(uri)
    assert nothing_left(stock)


def test_what_we_store_glance_can_serve_and_delete(stock, images):
    data = samples.pattern("ours", 9 * MiB)
    image = images.add(IMAGE, data)
    # As the stock driver deletes: the snapshot first, then the image.
    with stock.open("images", IMAGE, snap="snap", read_only=True) as opened:
        assert opened.read(0, opened.size()) == data
    stock.remove_snap("images", IMAGE, "snap")
    stock.remove("images", IMAGE)
    assert not images.exists(image.uri)
    assert images.list() == []


# What Cinder made


@FORMATS
@FEATURES
@pytest.mark.parametrize("order", ["source first", "clone first"])
def test_a_clone_of_cinder_s(stock, volumes, features, order):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE), features=features)
    cinder_clone(stock, VOLUME, OTHER, features)
    found = {volume.name: volume for volume in volumes.list()}
    assert found[VOLUME].snapshots == ()
    assert found[OTHER].parent == ImageSpec("volumes", VOLUME, f"{OTHER}.clone_snap")
    assert found[OTHER].depth == 1
    assert volumes.create_cloned_volume(THIRD, OTHER).depth == 2
    for name in (VOLUME, OTHER) if order == "source first" else (OTHER, VOLUME):
        volumes.delete(name)
        assert stock.read("volumes", THIRD) == samples.pattern(VOLUME, SIZE)
        assert volumes.get(THIRD).depth == 2
    assert [volume.name for volume in volumes.list()] == [THIRD]
    volumes.delete(THIRD)
    assert nothing_left(stock)


@FORMATS
def test_the_snapshot_goes_with_the_clone_that_cinder_made(stock, volumes):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE))
    cinder_clone(stock, VOLUME, OTHER)
    volumes.delete(OTHER)
    assert stock.snaps("volumes", VOLUME) == []
    cinder_clone(stock, VOLUME, OTHER)
    volumes.flatten(OTHER)
    assert stock.snaps("volumes", VOLUME) == []
    for name in (VOLUME, OTHER):
        assert stock.read("volumes", name) == samples.pattern(VOLUME, SIZE)
        volumes.delete(name)


@FORMATS
@FEATURES
@pytest.mark.parametrize("order", [(OTHER, THIRD), (THIRD, OTHER)], ids=["forward", "reverse"])
def test_what_cinder_left_deleted_goes_with_its_last_clone(stock, volumes, features, order):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE), features=features)
    cinder_clone(stock, VOLUME, OTHER, features)
    cinder_clone(stock, OTHER, THIRD, features)
    # Cinder renames a volume that has clones, and hides it so.
    stock.rename("volumes", VOLUME, f"{VOLUME}.deleted")
    stock.rename("volumes", OTHER, f"{OTHER}.deleted")
    cinder_clone(stock, THIRD, OTHER, features)
    assert [volume.name for volume in volumes.list()] == [OTHER, THIRD]
    assert volumes.get(THIRD).depth == 2
    assert volumes.get(OTHER).depth == 3
    for name in order:
        assert stock.read("volumes", name) == samples.pattern(VOLUME, SIZE)
        volumes.delete(name)
    assert nothing_left(stock)


@FORMATS
def test_flatten_frees_what_cinder_left_deleted(stock, volumes):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE))
    cinder_clone(stock, VOLUME, OTHER)
    stock.rename("volumes", VOLUME, f"{VOLUME}.deleted")
    volumes.flatten(OTHER)
    assert stock.images("volumes") == [OTHER]
    assert stock.read("volumes", OTHER) == samples.pattern(VOLUME, SIZE)
    volumes.delete(OTHER)


@FORMATS
def test_a_name_is_used_again_beside_what_cinder_left_of_it(stock, volumes):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE))
    cinder_clone(stock, VOLUME, OTHER)
    stock.rename("volumes", VOLUME, f"{VOLUME}.deleted")
    volumes.create(VOLUME, SIZE)
    volumes.create_cloned_volume(THIRD, VOLUME)
    volumes.delete(VOLUME)
    assert stock.read("volumes", OTHER) == samples.pattern(VOLUME, SIZE)
    assert stock.read("volumes", THIRD) == bytes(SIZE)
    volumes.delete(THIRD)
    assert stock.read("volumes", OTHER) == samples.pattern(VOLUME, SIZE)
    assert f"{VOLUME}.deleted" in stock.images("volumes")
    volumes.delete(OTHER)
    assert nothing_left(stock)


@FORMATS
@FEATURES
def test_a_snapshot_of_cinder_s(stock, volumes, features):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE), features=features)
    stock.snap("volumes", VOLUME, SNAPSHOT)
    stock.clone("volumes", VOLUME, SNAPSHOT, "volumes", OTHER, features=features)
    stock.write("volumes", VOLUME, b"later")
    assert volumes.get(VOLUME).snapshots == (SNAPSHOT,)
    volumes.create_from_snapshot(THIRD, VOLUME, SNAPSHOT)
    with pytest.raises(exceptions.InUse) as caught:
        volumes.delete(VOLUME)
    assert caught.value.snapshots == (SNAPSHOT,)
    volumes.delete_snapshot(VOLUME, SNAPSHOT)
    assert volumes.get(VOLUME).snapshots == ()
    volumes.delete(VOLUME)
    volumes.delete(OTHER)
    assert stock.read("volumes", THIRD) == samples.pattern(VOLUME, SIZE)
    volumes.delete(THIRD)
    assert nothing_left(stock)


@FORMATS
def test_a_volume_that_was_backed_up(stock, volumes):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE))
    backup = "backup.66666666-0000-4000-8000-666666666666.snap.1700000000.12"
    stock.snap("volumes", VOLUME, backup, protect=False)
    assert volumes.get(VOLUME).snapshots == ()
    volumes.create_cloned_volume(OTHER, VOLUME)
    volumes.delete(OTHER)
    assert stock.snaps("volumes", VOLUME) == [backup]
    volumes.delete(VOLUME)
    assert nothing_left(stock)


def test_stock_cinder_understands_what_format_1_makes(sandbox, stock):
    volumes = stores.volume_store(sandbox, clone_format=1)
    volumes.create(VOLUME, SIZE)
    stock.write("volumes", VOLUME, samples.pattern(VOLUME, SIZE))
    volumes.create_cloned_volume(OTHER, VOLUME)
    volumes.create_snapshot(VOLUME, SNAPSHOT)
    assert stock.snaps("volumes", VOLUME) == [f"{OTHER}.clone_snap", SNAPSHOT]
    with stock.open("volumes", VOLUME, read_only=True) as opened:
        assert opened.is_protected_snap(f"{OTHER}.clone_snap")
        assert opened.is_protected_snap(SNAPSHOT)
    assert stock.parent("volumes", OTHER) == ("volumes", VOLUME, f"{OTHER}.clone_snap")
    volumes.delete_snapshot(VOLUME, SNAPSHOT)
    volumes.delete(VOLUME)
    assert stock.images("volumes") == [f"{VOLUME}.deleted", OTHER]
    # What Cinder does on deleting the clone: its snapshot goes, then the parent that has none.
    with stock.ioctx("volumes") as ioctx:
        rbd.RBD().remove(ioctx, OTHER)
    stock.remove("volumes", f"{VOLUME}.deleted")
    assert volumes.list() == []
    volumes.create(VOLUME, SIZE)
    volumes.delete(VOLUME)
    with stock.ioctx("volumes") as ioctx:
        for key in stock.objects("volumes"):
            # What we knew of the parent, which was removed without our knowledge.
            if key.startswith("rbdstore.image."):
                ioctx.remove_object(key)


# What is nobody's of ours


@FORMATS
def test_an_operator_s_things_are_left_alone(sandbox, stock, volumes):
    stock.create("volumes", "operators", data=b"in the pool")
    stock.snap("volumes", "operators", "his")
    stock.create("volumes", VOLUME, data=b"a safety copy")
    with stock.ioctx("volumes") as ioctx:
        rbd.RBD().trash_move(ioctx, VOLUME, 0)
        ioctx.write_full("his object", b"his bytes")
        ioctx.write_full("rbdstore.unknown", b"of another release")
    trash = stock.trash("volumes")
    volumes.create(VOLUME, SIZE)
    volumes.create_cloned_volume(OTHER, VOLUME)
    volumes.delete(VOLUME)
    volumes.flatten(OTHER)
    volumes.delete(OTHER)
    volumes.delete(VOLUME)
    assert stock.trash("volumes") == trash
    assert stock.read("volumes", "operators", "his") == b"in the pool"
    with stock.ioctx("volumes") as ioctx:
        assert ioctx.read("his object") == b"his bytes"
        assert ioctx.read("rbdstore.unknown") == b"of another release"
        (image_id,) = trash
        rbd.RBD().trash_restore(ioctx, image_id, "restored")
        for key in ("his object", "rbdstore.unknown"):
            ioctx.remove_object(key)
    assert stock.read("volumes", "restored") == b"a safety copy"
    for name in ("operators", "restored"):
        stock.remove("volumes", name)


@FORMATS
def test_an_operator_s_trashed_parent_stays_when_its_last_clone_goes(stock, volumes):
    volumes.create(VOLUME, SIZE)
    volumes.create_cloned_volume(OTHER, VOLUME)
    with stock.ioctx("volumes") as ioctx:
        rbd.RBD().trash_move(ioctx, VOLUME, 0)
    trash = stock.trash("volumes")
    volumes.delete(OTHER)
    assert stock.trash("volumes") == trash
    with stock.ioctx("volumes") as ioctx:
        rbd.RBD().trash_restore(ioctx, next(iter(trash)), VOLUME)
    assert stock.snaps("volumes", VOLUME) == []
    volumes.delete(VOLUME)


@FORMATS
def test_one_that_is_listed_but_has_lost_its_name_is_not_taken_for_deleted(stock, volumes):
    stock.create("volumes", VOLUME, data=b"still there")
    with stock.ioctx("volumes") as ioctx:
        content = ioctx.read(f"rbd_id.{VOLUME}")
        ioctx.remove_object(f"rbd_id.{VOLUME}")
        with pytest.raises(exceptions.ClusterError, match="cannot be opened"):
            volumes.delete(VOLUME)
        assert stock.images("volumes") == [VOLUME]
        ioctx.write_full(f"rbd_id.{VOLUME}", content)
    assert stock.read("volumes", VOLUME)[:11] == b"still there"
    volumes.delete(VOLUME)


@FORMATS
def test_an_operator_s_snapshot_on_a_deleted_volume_is_kept(stock, volumes):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE))
    cinder_clone(stock, VOLUME, OTHER)
    stock.rename("volumes", VOLUME, f"{VOLUME}.deleted")
    stock.snap("volumes", f"{VOLUME}.deleted", "his", protect=False)
    volumes.delete(OTHER)
    assert stock.snaps("volumes", f"{VOLUME}.deleted") == ["his"]
    assert stock.read("volumes", f"{VOLUME}.deleted", "his") == samples.pattern(VOLUME, SIZE)
    stock.remove("volumes", f"{VOLUME}.deleted")


@FORMATS
def test_a_clone_in_another_pool_is_seen_and_not_harmed(sandbox, stock, clone_format):
    volumes = stores.admin_volume_store(sandbox, clone_format=clone_format)
    volumes.create(VOLUME, SIZE)
    stock.write("volumes", VOLUME, samples.pattern(VOLUME, SIZE))
    volumes.create_snapshot(VOLUME, SNAPSHOT)
    stock.clone("volumes", VOLUME, SNAPSHOT, "vms", "disk")
    volumes.delete_snapshot(VOLUME, SNAPSHOT)
    volumes.delete(VOLUME)
    assert stock.read("vms", "disk") == samples.pattern(VOLUME, SIZE)
    disks = stores.volume_store(sandbox, user="admin", pool="vms", clone_format=clone_format)
    assert disks.get("disk").depth == 1
    disks.delete("disk")
    assert stock.images("vms") == []
    assert nothing_left(stock)


@FORMATS
def test_qemu_has_it_open(sandbox, stock, volumes):
    volumes.create(VOLUME, SIZE)
    drive = f"rbd:volumes/{VOLUME}:conf={sandbox.conf_path}:id=cinder"
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", drive],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as qemu:
        try:
            qemu.stdin.write("write -P 0x61 0 4096\nflush\n")
            qemu.stdin.flush()
            while "wrote 4096" not in qemu.stdout.readline():
                assert qemu.poll() is None
            with pytest.raises(exceptions.InUse) as caught:
                volumes.delete(VOLUME)
            assert len(caught.value.watchers) == 1
            with pytest.raises(exceptions.InUse):
                volumes.revert_to_snapshot(VOLUME, _snapshot(volumes))
            volumes.create_cloned_volume(OTHER, VOLUME)
            volumes.extend(VOLUME, 2 * SIZE)
            qemu.stdin.write("write -P 0x62 0 4096\nflush\n")
            qemu.communicate("quit\n", timeout=30)
        finally:
            qemu.kill()
    assert qemu.returncode == 0
    assert stock.read("volumes", OTHER)[:4096] == b"a" * 4096
    assert stock.read("volumes", VOLUME) == b"b" * 4096 + bytes(2 * SIZE - 4096)
    volumes.delete_snapshot(VOLUME, SNAPSHOT)
    for name in (VOLUME, OTHER):
        volumes.delete(name)


def _snapshot(volumes):
    volumes.create_snapshot(VOLUME, SNAPSHOT)
    return SNAPSHOT


@FORMATS
def test_another_client_goes_on_writing_through_everything(sandbox, stock, volumes):
    stock.create("volumes", VOLUME, data=samples.pattern(VOLUME, SIZE))
    cinder_clone(stock, VOLUME, OTHER)
    with stores.held_open(sandbox, "volumes", OTHER, data=b"precious"):
        volumes.create_snapshot(OTHER, SNAPSHOT)
        volumes.delete_snapshot(OTHER, SNAPSHOT)
        volumes.delete(VOLUME)
        volumes.flatten(OTHER)
        volumes.rename(OTHER, THIRD)
        with pytest.raises(exceptions.InUse):
            volumes.delete(THIRD)
    assert stock.read("volumes", THIRD) == b"precious" + samples.pattern(VOLUME, SIZE)[8:]
    volumes.delete(THIRD)
    assert nothing_left(stock)


# Mixed formats


@FEATURES
def test_clones_of_both_formats_of_one_snapshot(sandbox, stock, features):
    first, second = (
        stores.volume_store(sandbox, clone_format=number, features=features) for number in (1, 2)
    )
    first.create(VOLUME, SIZE)
    stock.write("volumes", VOLUME, samples.pattern(VOLUME, SIZE))
    first.create_snapshot(VOLUME, SNAPSHOT)
    first.create_from_snapshot("volume-old", VOLUME, SNAPSHOT)
    second.create_from_snapshot("volume-new", VOLUME, SNAPSHOT)
    second.delete_snapshot(VOLUME, SNAPSHOT)
    first.delete(VOLUME)
    second.delete("volume-old")
    assert stock.read("volumes", "volume-new") == samples.pattern(VOLUME, SIZE)
    first.delete("volume-new")
    assert nothing_left(stock)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
def test_a_chain_through_both_formats(sandbox, stock, names):
    first, second = (stores.volume_store(sandbox, clone_format=number) for number in (1, 2))
    first.create("a", SIZE)
    stock.write("volumes", "a", samples.pattern("a", SIZE))
    first.create_cloned_volume("b", "a")
    second.create_cloned_volume("c", "b")
    assert first.create_cloned_volume("d", "c").depth == 3
    for number, name in enumerate(names):
        (first, second)[number % 2].delete(name)
        assert stock.read("volumes", "d") == samples.pattern("a", SIZE)
        assert second.get("d").depth == 3
    second.delete("d")
    assert nothing_left(stock)
