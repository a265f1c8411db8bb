# SPDX-License-Identifier: Apache-2.0
"""Deleting volumes later: at once for who deletes them, and nothing is left in the end."""

import time

import commands
import pytest
import racers
import samples

from rbdstore import exceptions

MiB = samples.MiB
LIMIT = 120
DATA = samples.pattern("deferred", 9 * MiB)

# Nobody purges before it is asked to.
LATER = {"enable_deferred_deletion": True, "deferred_deletion_purge_interval": 3600}
SOON = {"enable_deferred_deletion": True, "deferred_deletion_purge_interval": 1}


@pytest.fixture
def volumes(place):
    return place.volumes(**LATER)


def make(volumes, raw, name="volume"):
    volumes.create(name, len(DATA))
    raw.write("volumes", name, DATA)


def until_empty(place):
    deadline = time.monotonic() + LIMIT
    while left := place.leftovers():
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_the_data_stays_until_it_is_purged_and_the_name_is_free(place, volumes, raw):
    make(volumes, raw)
    volumes.delete("volume")
    ((image_id, name),) = raw.trash("volumes").items()
    assert name == "volume"
    with volumes._pool.open(image_id=image_id) as image:
        assert image.read(0, len(DATA)) == DATA
    with pytest.raises(exceptions.ImageNotFound):
        volumes.get("volume")
    volumes.delete("volume")
    volumes.create("volume", MiB)
    volumes.delete("volume")
    found = volumes.purge_deleted()
    assert (found.purged, found.kept) == (("volume", "volume"), ())


def test_what_speaks_against_a_deletion_does_so_at_once(place, volumes, raw, unchanged):
    make(volumes, raw)
    volumes.create_snapshot("volume", "snapshot")
    with pytest.raises(exceptions.InUse) as caught:
        volumes.delete("volume")
    assert caught.value.snapshots == ("snapshot",)
    volumes.delete_snapshot("volume", "snapshot")
    with place.held_open("volumes", "volume"), pytest.raises(exceptions.InUse):
        volumes.delete("volume")
    volumes.delete("volume")
    volumes.purge_deleted()


def test_what_is_kept_for_longer_can_be_brought_back(place, raw):
    volumes = place.volumes(**LATER, deferred_deletion_delay=3600)
    make(volumes, raw)
    volumes.delete("volume")
    (kept,) = volumes.purge_deleted().kept
    assert (kept.name, kept.why) == ("volume", "too early")
    volumes._pool.trash_restore(kept.image_id, "volume")
    assert raw.read("volumes", "volume") == DATA
    volumes = place.volumes()
    volumes.delete("volume")


@pytest.mark.parametrize("options", [LATER, {}], ids=["deferred", "for its clone"])
def test_what_an_operator_brought_back_and_put_there_himself_is_his(place, raw, options):
    """A safety copy of his, though the image bears the mark of an earlier deletion."""
    volumes = place.volumes(**options)
    make(volumes, raw)
    volumes.create_cloned_volume("clone", "volume")
    volumes.delete("volume")
    ((image_id, name),) = raw.trash("volumes").items()
    volumes._pool.trash_restore(image_id, name)
    time.sleep(0.01)
    volumes._pool.trash_move(name)
    volumes.delete("clone")
    (kept,) = volumes.purge_deleted().kept
    assert (kept.image_id, kept.why) == (image_id, "foreign")
    assert raw.trash("volumes") == {image_id: "volume"}
    volumes._pool.trash_restore(image_id, name)
    assert raw.read("volumes", "volume") == DATA
    place.volumes().delete("volume")


# Parents first and last, and neither; purged after each deletion, or once in the end.
ORDERS = (
    ("source", "clone", "deep", "of-image"),
    ("of-image", "deep", "clone", "source"),
    ("clone", "of-image", "source", "deep"),
)


def test_clones_of_all_kinds_in_any_order(place, raw, clone_format):
    """A source, a clone, one of a snapshot of that, and a clone of an image."""
    images = place.images()
    for number, order in enumerate(ORDERS):
        features = samples.OLD_FEATURES if number == 2 else None
        volumes = place.volumes(clone_format=clone_format, features=features, **LATER)
        image = images.add("image", DATA)
        make(volumes, raw, "source")
        volumes.create_cloned_volume("clone", "source")
        volumes.create_snapshot("clone", "snapshot")
        volumes.create_from_snapshot("deep", "clone", "snapshot")
        volumes.clone("of-image", image.uri)
        volumes.delete_snapshot("clone", "snapshot")
        left = set(order)
        for name in order:
            volumes.delete(name)
            left.remove(name)
            assert {volume.name for volume in volumes.list()} == left
            if number % 2:
                volumes.purge_deleted()
            for other in left:
                assert raw.read("volumes", other) == DATA
        assert not [one for one in volumes.purge_deleted().kept if one.why != "needed"]
        assert volumes.purge_deleted().kept == ()
        images.delete(image.uri)
        assert place.leftovers() == []


def test_a_deferred_image_goes_with_a_clone_that_is_purged(place, volumes):
    images = place.images("admin")
    image = images.add("image", DATA)
    place.volumes("admin").clone("volume", image.uri)
    images.delete(image.uri, in_use="defer")
    volumes = place.volumes("admin", **LATER)
    volumes.delete("volume")
    assert volumes.purge_deleted().purged == ("volume",)


def test_any_number_of_processes_do_it_and_what_a_dead_one_left_too(place, raw):
    with racers.running(place, 3, rbd_lease_seconds=3, **SOON) as processes:
        for number, process in enumerate(processes):
            for volume in range(4):
                name = f"volume-{number}-{volume}"
                assert process.run("volumes.create", name, MiB) == "ok"
                assert process.run("volumes.create_cloned_volume", f"{name}-clone", name) == "ok"
                assert process.run("volumes.delete", name) == "ok"
                assert process.run("volumes.delete", f"{name}-clone") == "ok"
            if number == 1:
                processes[0].kill()
        until_empty(place)


def test_one_that_is_killed_while_it_purges(place, raw):
    volumes = place.volumes(**LATER, rbd_lease_seconds=3)
    names = [f"volume-{number}" for number in range(10)]
    volumes.create("source", MiB)
    volumes.create_cloned_volumes(names, "source")
    for name in ("source", *names):
        volumes.delete(name)
    with racers.running(place, 1, rbd_lease_seconds=3) as (process,):
        process.begin("volumes.purge_deleted")
        while len(raw.trash("volumes")) > len(names):
            time.sleep(0.001)
        process.kill()
    deadline = time.monotonic() + LIMIT
    # To librbd a client that was killed is alive for a few seconds more.
    while volumes.purge_deleted().kept:
        assert time.monotonic() < deadline


def test_the_command_line_purges_as_well(place, volumes, raw, tmp_path):
    make(volumes, raw, "operators")
    volumes._pool.trash_move("operators")
    make(volumes, raw)
    volumes.delete("volume")
    shell = commands.Shell(place, tmp_path / "rbdstore.conf")
    assert shell.json("--backend", "volumes", "trash", "purge") == [
        {"name": "volume", "outcome": "purged", "reason": None},
        {"name": "operators", "outcome": "kept", "reason": "rbdstore did not put it there"},
    ]
    ((image_id, _name),) = raw.trash("volumes").items()
    volumes._pool.trash_remove(image_id)
