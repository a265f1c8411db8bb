# SPDX-License-Identifier: Apache-2.0
"""Increments of clones, whose parents' data show where they have none: compared byte by byte.

Their digests follow from what was told of the changes, so verifying alone would find nothing.
"""

import random

import pytest
import rbd

# Of four blocks.
OBJECT = 256 * 1024
# The last object is a part of one, and so is the last one that the parent shows through.
SIZE = 6 * OBJECT + 777
SHOWN = 4 * OBJECT + 333
NEW = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")
FEATURES = {
    "new": NEW,
    "no deep-flatten": NEW[:-1],
    "no object map": NEW[:2],
    "old": ("layering",),
}


def clone(raw, features):
    """A clone in small objects, of a parent that has data in most of its own."""
    bits = sum(getattr(rbd, f"RBD_FEATURE_{name.upper().replace('-', '_')}") for name in features)
    how = {"features": bits, "order": OBJECT.bit_length() - 1}
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().create(ioctx, "parent", SHOWN, old_format=False, **how)
        chance = random.Random("parent")
        with rbd.Image(ioctx, "parent") as image:
            for offset in range(0, SHOWN, OBJECT):
                if offset != OBJECT:
                    image.write(chance.randbytes(min(OBJECT, SHOWN - offset)), offset)
            image.create_snap("s")
            image.protect_snap("s")
        rbd.RBD().clone(ioctx, "parent", "s", ioctx, "clone", **how)
        with rbd.Image(ioctx, "clone") as image:
            image.resize(SIZE)


def change(raw, volumes, chance):
    """Do something to the clone, as its user, or as an operator."""
    offset = chance.randrange(SIZE)
    length = chance.randrange(1, min(2 * OBJECT, SIZE - offset) + 1)
    match chance.choice(("write", "write", "write", "discard", "zeros", "shrink", "revert")):
        case "write":
            raw.write("volumes", "clone", chance.randbytes(min(length, 5000)), offset)
        case "zeros":
            raw.write("volumes", "clone", bytes(length), offset)
        case "discard":
            with raw.open("volumes", "clone") as image:
                image.discard(offset, length)
        case "shrink":
            with raw.open("volumes", "clone") as image:
                image.resize(offset + 1)
                image.resize(SIZE)
        case "revert":
            if snapshots := volumes.get("clone").snapshots:
                volumes.revert_to_snapshot("clone", chance.choice(snapshots))
            else:
                volumes.create_snapshot("clone", "snapshot")


def check(raw, volumes, backups, points):
    for backup_id, data in points.items():
        made = backups.show(backup_id)
        assert raw.read("backups", made.base.image, made.base.snap) == data, backup_id
        assert backups.verify(backup_id).sound
    for backup_id in points:
        backups.delete(backup_id, volumes=volumes)
    for snapshot in volumes.get("clone").snapshots:
        volumes.delete_snapshot("clone", snapshot)
    volumes.delete("clone")
    raw.remove("volumes", "parent")


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_to_it(raw, volumes, backups, seed, features):
    chance = random.Random(f"{seed} {features}")
    clone(raw, features)
    points = {}
    for number in range(6):
        made = backups.create(volumes, "clone", f"b{number}")
        assert made.kind == ("incremental" if number else "full")
        points[f"b{number}"] = raw.read("volumes", "clone")
        for _ in range(chance.randrange(1, 5)):
            change(raw, volumes, chance)
    check(raw, volumes, backups, points)


def test_an_object_that_is_made_and_cut_off_by_who_copies_nothing_to_snapshots(
    raw, volumes, backups
):
    """As krbd did of old. What is told has changed is what the object has, not what it hides."""
    clone(raw, NEW[:2])
    points = {"b0": b"", "b1": b""}
    backups.create(volumes, "clone", "b0")
    points["b0"] = raw.read("volumes", "clone")
    with raw.ioctx("volumes") as ioctx:
        with raw.open("volumes", "clone") as image:
            name = f"{image.block_name_prefix()}.{2:016x}"
            snaps = [snap["id"] for snap in image.list_snaps()]
        ioctx.set_self_managed_snap_write(snaps)
        ioctx.write_full(name, b"written" + points["b0"][2 * OBJECT + 7 : 3 * OBJECT])
        ioctx.trunc(name, 1000)
    backups.create(volumes, "clone", "b1")
    points["b1"] = raw.read("volumes", "clone")
    assert points["b1"][2 * OBJECT : 3 * OBJECT] == (
        b"written" + points["b0"][2 * OBJECT + 7 : 2 * OBJECT + 1000] + bytes(OBJECT - 1000)
    )
    check(raw, volumes, backups, points)
