# SPDX-License-Identifier: Apache-2.0
"""Clones of one volume that are asked for at the same time share a snapshot, and nothing else."""

import concurrent.futures
import contextlib
import threading
import time

import pytest
import samples

from rbdstore import exceptions
from rbdstore.clones import flattening

MiB = samples.MiB
LIMIT = 120
COUNT = 12
NAMES = [f"clone-{number}" for number in range(COUNT)]

# What the makers of clones are told when their source went away.
GONE = (exceptions.ImageNotFound, exceptions.SnapshotNotFound, exceptions.Vanished)


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(2 * COUNT) as executor:
        yield executor


@pytest.fixture
def source(raw):
    raw.create("volumes", "source", data=samples.pattern("source", MiB))
    return "source"


@contextlib.contextmanager
def one_group(volumes, threads, source, count):
    """Have the next ``count`` calls wait for each other: a group before them is being served."""
    gathering = volumes._cloner._gathering
    with volumes._pool.open(source) as image:
        key = image.id
    begun, go_on = threading.Event(), threading.Event()

    def hold():
        with gathering.join(key) as member:
            member.once(lambda: (begun.set(), go_on.wait(LIMIT)))

    holding = threads.submit(hold)
    try:
        assert begun.wait(LIMIT)
        yield
        end = time.monotonic() + LIMIT
        while (group := gathering._open.get(key)) is None or group.members < count:
            assert time.monotonic() < end, "they did not come"
            time.sleep(0.005)
    finally:
        go_on.set()
    holding.result(LIMIT)


def outcome(call):
    """What it returned, or which error of ours ended it."""
    try:
        return call.result(LIMIT)
    except exceptions.RbdStoreError as error:
        return error


def clone_together(volumes, threads, source, names=NAMES):
    with one_group(volumes, threads, source, len(names)):
        calls = [threads.submit(volumes.create_cloned_volume, name, source) for name in names]
    return [outcome(call) for call in calls]


def delete_all(volumes, threads, names):
    for call in [threads.submit(volumes.delete, name) for name in names]:
        call.result(LIMIT)


def test_one_snapshot_for_all(volumes, raw, threads, source):
    made = clone_together(volumes, threads, source)
    assert [(volume.name, volume.depth) for volume in made] == [(name, 1) for name in NAMES]
    assert made == [volumes.get(name) for name in NAMES]
    assert len(raw.snaps("volumes", source)) == 1
    for name in NAMES:
        assert raw.read("volumes", name) == samples.pattern("source", MiB)
    delete_all(volumes, threads, NAMES)
    assert raw.snaps("volumes", source) == []
    volumes.delete(source)


def test_many_names_in_one_call_share_it_too(volumes, raw, threads, source):
    with one_group(volumes, threads, source, 2):
        many = threads.submit(volumes.create_cloned_volumes, NAMES[1:], source)
        one = threads.submit(volumes.create_cloned_volume, NAMES[0], source, 2 * MiB)
    assert [volume.name for volume in many.result(LIMIT)] == NAMES[1:]
    assert one.result(LIMIT).size == 2 * MiB
    assert len(raw.snaps("volumes", source)) == 1
    delete_all(volumes, threads, [*NAMES, source])


def test_each_format_1_clone_has_a_snapshot_of_its_own(place, raw, threads, source, clone_format):
    volumes = place.volumes(clone_format=clone_format)
    calls = [threads.submit(volumes.create_cloned_volume, name, source) for name in NAMES]
    for call in calls:
        call.result(LIMIT)
    snaps = raw.snaps("volumes", source)
    if clone_format == 1:
        assert sorted(snaps) == sorted(f"{name}.clone_snap" for name in NAMES)
    else:
        assert len(snaps) <= COUNT
    delete_all(volumes, threads, NAMES)
    volumes.delete(source)


def test_a_clone_holds_what_was_written_before_its_call(volumes, raw, threads, source):
    written, ended = [0], threading.Event()

    def write():
        with volumes._pool.open(source, read_only=False) as image:
            while not ended.is_set():
                image.write(0, (written[0] + 1).to_bytes(8, "big"))
                image.flush()
                written[0] += 1

    def clone(name):
        before = written[0]
        volumes.create_cloned_volume(name, source)
        return before, name

    raw.write("volumes", source, bytes(8))
    writing = threads.submit(write)
    try:
        cloned = [call.result(LIMIT) for call in [threads.submit(clone, name) for name in NAMES]]
        cloned += [clone("last")]
    finally:
        ended.set()
    writing.result(LIMIT)
    for before, name in cloned:
        held = int.from_bytes(raw.read("volumes", name)[:8], "big")
        assert before <= held <= written[0]
    delete_all(volumes, threads, [*NAMES, "last", source])


def test_one_who_is_refused_fails_alone(volumes, raw, threads, source):
    volumes.create("taken", MiB)
    with one_group(volumes, threads, source, COUNT + 1):
        calls = [threads.submit(volumes.create_cloned_volume, name, source) for name in NAMES]
        taken = threads.submit(volumes.create_cloned_volume, "taken", source)
        small = threads.submit(volumes.create_cloned_volume, "small", source, MiB - 1)
        both = threads.submit(volumes.create_cloned_volumes, ["other", "taken"], source)
        # This one is too small only once the snapshot is made.
        late = threads.submit(volumes.create_cloned_volume, "late", source, MiB)
        assert isinstance(outcome(taken), exceptions.Duplicate)
        assert isinstance(outcome(both), exceptions.Duplicate)
        assert isinstance(outcome(small), exceptions.InvalidSize)
        wait_for_members(volumes, COUNT + 1)
        volumes.extend(source, 2 * MiB)
    assert [call.result(LIMIT).size for call in calls] == [2 * MiB] * COUNT
    assert isinstance(outcome(late), exceptions.InvalidSize)
    assert raw.images("volumes") == sorted([*NAMES, source, "taken"])
    delete_all(volumes, threads, [*NAMES, "taken"])
    volumes.delete(source)


def wait_for_members(volumes, count):
    end = time.monotonic() + LIMIT
    while [group.members for group in volumes._cloner._gathering._open.values()] != [count]:
        assert time.monotonic() < end, "they did not come"
        time.sleep(0.005)


def test_none_is_made_of_a_source_that_goes_meanwhile(volumes, raw, threads, source):
    with one_group(volumes, threads, source, COUNT):
        calls = [threads.submit(volumes.create_cloned_volume, name, source) for name in NAMES]
        wait_for_members(volumes, COUNT)
        volumes.delete(source)
    assert all(isinstance(outcome(call), GONE) for call in calls)
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}


def test_an_empty_source(volumes, raw, threads):
    volumes.create("source", 0)
    made = clone_together(volumes, threads, "source")
    assert [(volume.size, volume.parent) for volume in made] == [(0, None)] * COUNT
    assert raw.snaps("volumes", "source") == []
    delete_all(volumes, threads, [*NAMES, "source"])


@pytest.fixture
def flattened(monkeypatch):
    """The ids of the images that were flattened."""
    found = []
    flatten = flattening.Flattener.flatten

    def counted(self, pool, image_id, **options):
        found.append(image_id)
        flatten(self, pool, image_id, **options)

    monkeypatch.setattr(flattening.Flattener, "flatten", counted)
    return found


@pytest.mark.parametrize("target", ["source", "destination"])
def test_the_limit_of_depth(place, raw, threads, source, flattened, target):
    volumes = place.volumes(rbd_max_clone_depth=1, rbd_flatten_target=target)
    volumes.create_cloned_volume("middle", source)
    with volumes._pool.open("middle") as image:
        middle_id = image.id
    made = clone_together(volumes, threads, "middle")
    if target == "source":
        assert flattened == [middle_id]
        assert {volume.depth for volume in made} == {1}
        assert raw.snaps("volumes", source) == []
    else:
        assert len(set(flattened)) == len(flattened) == COUNT
        assert {volume.depth for volume in made} == {0}
        assert raw.snaps("volumes", "middle") == []
    for name in NAMES:
        assert raw.read("volumes", name) == samples.pattern("source", MiB)
    delete_all(volumes, threads, NAMES)
    assert raw.snaps("volumes", "middle") == []
    volumes.delete("middle")
    volumes.delete(source)


# Snapshots on one image


def until_snaps(raw, name, most):
    end = time.monotonic() + LIMIT
    while len(raw.snaps("volumes", name)) > most:
        assert time.monotonic() < end, "there are still too many"
        time.sleep(0.05)


def test_the_oldest_clones_are_flattened_where_there_are_too_many(place, raw, source):
    volumes = place.volumes(rbd_max_snapshots_on_image=4)
    # A user's count, and stay.
    for name in ("snapshot-1", "snapshot-2"):
        volumes.create_snapshot(source, name)
    for number in range(6):
        volumes.create_cloned_volumes([f"clone-{number}", f"twin-{number}"], source)
        until_snaps(raw, source, 4)
    assert len(raw.snaps("volumes", source)) == 4
    assert volumes.get(source).snapshots == ("snapshot-1", "snapshot-2")
    for kind in ("clone", "twin"):
        made = [volumes.get(f"{kind}-{number}") for number in range(6)]
        assert [volume.depth for volume in made] == [0, 0, 0, 0, 1, 1]
        for volume in made:
            assert raw.read("volumes", volume.name) == samples.pattern("source", MiB)
            volumes.delete(volume.name)
    for name in ("snapshot-1", "snapshot-2"):
        volumes.delete_snapshot(source, name)
    volumes.delete(source)


def test_a_deleted_clone_is_flattened_as_well(place, raw, source):
    volumes = place.volumes(rbd_max_snapshots_on_image=1)
    volumes.create_cloned_volume("clone", source)
    volumes.create_cloned_volume("clone of it", "clone")
    volumes.delete("clone")
    volumes.create_cloned_volume("other", source)
    until_snaps(raw, source, 1)
    assert volumes.get("clone of it").depth == 1
    assert volumes.get("other").depth == 1
    for name in ("clone of it", "other", source):
        volumes.delete(name)
