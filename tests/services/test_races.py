# SPDX-License-Identifier: Apache-2.0
"""Processes that want the same names at the same moment: one gets them, the others are told."""

import contextlib

import pytest
import racers
import samples

from rbdstore import exceptions

MiB = samples.MiB
ROUNDS = 20
FEWER = 8

# What the maker of a clone is told when its source went away before the clone was made.
GONE = {"ImageNotFound", "SnapshotNotFound", "Vanished"}


@pytest.fixture(scope="module")
def pair(place):
    with racers.running(place, 2) as found:
        yield found


@pytest.fixture(scope="module")
def four(place, pair):
    with racers.running(place, 2) as more:
        yield [*pair, *more]


@pytest.fixture
def each_format(place, pair, clone_format):
    """Two processes, and a store like theirs, for each clone format."""
    with contextlib.ExitStack() as stack:
        found = pair
        if clone_format == 1:
            found = stack.enter_context(racers.running(place, 2, rbd_clone_format="1"))
        yield found, place.volumes("admin", clone_format=clone_format)


@pytest.fixture(scope="module")
def volumes(place):
    return place.volumes("admin")


@pytest.fixture(scope="module")
def images(place):
    return place.images("admin")


def upload(all_stores, image_id, seed):
    all_stores.images.add(image_id, samples.pattern(seed, MiB), MiB)


def delete_image(all_stores, uri):
    all_stores.images.delete(uri)


def assert_listed(raw, pool, expected):
    """See that these images are listed, no others, and that each can be opened."""
    assert raw.images(pool) == sorted(expected)
    for name in expected:
        with raw.reader(pool, name):
            pass


def holds(raw, pool, name):
    return raw.read(pool, name)[:1]


# The same name


def test_one_of_two_creates_a_volume(pair, volumes, raw):
    for number in range(ROUNDS):
        name = f"volume-{number}"
        # Sizes tell whose it is.
        outcomes = racers.race(*((p, "volumes.create", name, MiB) for p in pair))
        assert sorted(outcomes) == ["Duplicate", "ok"]
        assert_listed(raw, "volumes", [name])
        volumes.delete(name)


def test_one_of_four_creates_a_volume(four, volumes, raw):
    for number in range(FEWER):
        name = f"volume-{number}"
        sizes = [MiB * size for size in range(1, 5)]
        outcomes = racers.race(
            *((p, "volumes.create", name, size) for p, size in zip(four, sizes, strict=True))
        )
        assert sorted(outcomes) == ["Duplicate", "Duplicate", "Duplicate", "ok"]
        assert volumes.get(name).size == sizes[outcomes.index("ok")]
        assert_listed(raw, "volumes", [name])
        volumes.delete(name)


def test_one_of_two_renames_to_a_name(pair, volumes, raw):
    for number in range(ROUNDS):
        ours, theirs, target = f"a-{number}", f"b-{number}", f"target-{number}"
        raw.create("volumes", ours, data=b"a")
        raw.create("volumes", theirs, data=b"b")
        outcomes = racers.race(
            (pair[0], "volumes.rename", ours, target), (pair[1], "volumes.rename", theirs, target)
        )
        assert sorted(outcomes) == ["Duplicate", "ok"]
        first_won = outcomes[0] == "ok"
        left = theirs if first_won else ours
        assert_listed(raw, "volumes", [left, target])
        assert raw.read("volumes", target) == (b"a" if first_won else b"b")
        volumes.delete(left)
        volumes.delete(target)


def test_one_of_two_new_names_is_given_to_a_volume(pair, volumes, raw):
    for number in range(FEWER):
        source, targets = f"s-{number}", [f"a-{number}", f"z-{number}"]
        raw.create("volumes", source, data=b"s")
        outcomes = racers.race(
            *((p, "volumes.rename", source, t) for p, t in zip(pair, targets, strict=True))
        )
        assert sorted(outcomes) == ["ImageNotFound", "ok"]
        target = targets[outcomes.index("ok")]
        assert_listed(raw, "volumes", [target])
        assert raw.read("volumes", target) == b"s"
        volumes.delete(target)


def test_a_name_is_either_created_or_given_to_another_volume(pair, volumes, raw):
    for number in range(FEWER):
        source, target = f"source-{number}", f"target-{number}"
        raw.create("volumes", source, data=b"s")
        outcomes = racers.race(
            (pair[0], "volumes.rename", source, target), (pair[1], "volumes.create", target, MiB)
        )
        assert sorted(outcomes) == ["Duplicate", "ok"]
        renamed = outcomes[0] == "ok"
        assert_listed(raw, "volumes", [target] if renamed else [source, target])
        assert holds(raw, "volumes", target) == (b"s" if renamed else b"\0")
        volumes.delete(source)
        volumes.delete(target)


def test_a_volume_is_either_renamed_or_deleted(pair, volumes, raw):
    for number in range(ROUNDS):
        source, target = f"source-{number}", f"target-{number}"
        raw.create("volumes", source, data=b"s")
        renamed, deleted = racers.race(
            (pair[0], "volumes.rename", source, target), (pair[1], "volumes.delete", source)
        )
        # To delete what has just been renamed is to delete what is not there.
        assert deleted == "ok"
        assert renamed in ("ok", "ImageNotFound")
        assert_listed(raw, "volumes", [target] if renamed == "ok" else [])
        volumes.delete(target)


def test_two_who_swap_names_are_both_refused(pair, volumes, raw):
    raw.create("volumes", "a", data=b"a")
    raw.create("volumes", "b", data=b"b")
    for _ in range(FEWER):
        outcomes = racers.race(
            (pair[0], "volumes.rename", "a", "b"), (pair[1], "volumes.rename", "b", "a")
        )
        assert outcomes == ["Duplicate", "Duplicate"]
    assert raw.read("volumes", "a") == b"a"
    assert raw.read("volumes", "b") == b"b"
    volumes.delete("a")
    volumes.delete("b")


def test_a_chain_of_renames_is_done_in_some_order(four, volumes, raw):
    for number in range(FEWER):
        names = [f"{letter}-{number}" for letter in "abcde"]
        raw.create("volumes", names[0], data=b"a")
        outcomes = racers.race(
            *(
                (p, "volumes.rename", old, new)
                for p, old, new in zip(four, names, names[1:], strict=False)
            )
        )
        assert set(outcomes) <= {"ok", "ImageNotFound"}
        # It stands where the first rename that came too early stopped it.
        stopped = outcomes.index("ImageNotFound") if "ImageNotFound" in outcomes else 4
        assert "ok" not in outcomes[stopped:]
        assert_listed(raw, "volumes", [names[stopped]])
        assert raw.read("volumes", names[stopped]) == b"a"
        volumes.delete(names[stopped])


def test_a_volume_may_be_deleted_by_all_at_once(four, raw):
    for number in range(ROUNDS):
        raw.create("volumes", f"volume-{number}", data=b"v")
        outcomes = racers.race(*((p, "volumes.delete", f"volume-{number}") for p in four))
        assert outcomes == ["ok"] * 4
        assert_listed(raw, "volumes", [])


def test_one_who_waits_finds_the_volume_gone(pair, place, raw):
    raw.create("volumes", "volume", data=b"v")
    with place.held_open("volumes", "volume"):
        pair[0].begin(delete_waiting, "volume", 60)
        racers.until(lambda: raw.is_claimed("volumes", "volume"))
        raw.rename("volumes", "volume", "other")
    assert pair[0].outcome() == "ok"
    assert_listed(raw, "volumes", ["other"])
    raw.remove("volumes", "other")


def delete_waiting(all_stores, name, wait):
    all_stores.volumes.delete(name, wait=wait)


def test_an_image_is_deleted_by_one(pair, images, raw):
    for number in range(FEWER):
        uri = images.add(f"image-{number}", b"data").uri
        outcomes = racers.race(*((p, delete_image, uri) for p in pair))
        assert sorted(outcomes) == ["ImageNotFound", "ok"]
        assert_listed(raw, "images", [])


@pytest.mark.parametrize(("count", "rounds"), [(2, ROUNDS), (4, FEWER)])
def test_one_of_many_uploads_an_image(four, images, raw, count, rounds):
    for number in range(rounds):
        name = f"image-{number}"
        outcomes = racers.race(*((p, upload, name, seed) for seed, p in enumerate(four[:count])))
        assert sorted(outcomes) == ["Duplicate"] * (count - 1) + ["ok"]
        assert_listed(raw, "images", [name])
        assert raw.read("images", name) == samples.pattern(outcomes.index("ok"), MiB)
        images.delete(f"rbd://{name}")


def test_one_of_four_clones_to_a_name(four, images, volumes, raw):
    image = images.add("image", b"i" * MiB)
    raw.create("volumes", "source", data=b"s" * MiB)
    for number in range(FEWER):
        name = f"volume-{number}"
        outcomes = racers.race(
            (four[0], "volumes.clone", name, image.uri),
            (four[1], "volumes.create_cloned_volume", name, "source"),
            (four[2], "volumes.clone", name, image.uri),
            (four[3], "volumes.create_cloned_volume", name, "source"),
        )
        assert sorted(outcomes) == ["Duplicate", "Duplicate", "Duplicate", "ok"]
        assert_listed(raw, "volumes", ["source", name])
        from_image = outcomes.index("ok") in (0, 2)
        assert raw.read("volumes", name) == (b"i" if from_image else b"s") * MiB
        volumes.delete(name)
        assert raw.snaps("volumes", "source") == []
    volumes.delete("source")
    images.delete(image.uri)


# Parents and children


def test_the_last_clones_of_a_deleted_volume_are_deleted_at_once(each_format, raw):
    pair, volumes = each_format
    for _ in range(ROUNDS):
        volumes.create("source", MiB)
        volumes.create_cloned_volumes(["clone-1", "clone-2"], "source")
        volumes.delete("source")
        outcomes = racers.race(
            (pair[0], "volumes.delete", "clone-1"), (pair[1], "volumes.delete", "clone-2")
        )
        assert outcomes == ["ok", "ok"]
        assert_listed(raw, "volumes", [])
        assert raw.trash("volumes") == {}


def test_a_volume_and_its_last_clone_are_deleted_at_once(each_format, raw):
    pair, volumes = each_format
    for _ in range(FEWER):
        volumes.create("source", MiB)
        volumes.create_cloned_volume("clone", "source")
        source, clone = racers.race(
            (pair[0], "volumes.delete", "source"), (pair[1], "volumes.delete", "clone")
        )
        assert clone == "ok"
        # While the clone lets go of its source, that is open for writing.
        assert source in ("ok", "InUse")
        if source == "InUse":
            volumes.delete("source")
        assert_listed(raw, "volumes", [])
        assert raw.trash("volumes") == {}


def test_a_volume_is_cloned_while_it_is_deleted(each_format, raw):
    pair, volumes = each_format
    for _ in range(ROUNDS):
        raw.create("volumes", "source", data=b"s" * MiB)
        deleted, cloned = racers.race(
            (pair[0], "volumes.delete", "source"),
            (pair[1], "volumes.create_cloned_volume", "clone", "source"),
        )
        assert (deleted, cloned) in {("ok", "ok"), ("InUse", "ok"), *(("ok", why) for why in GONE)}
        if cloned == "ok":
            assert raw.read("volumes", "clone") == b"s" * MiB
        left = {"source": deleted != "ok", "clone": cloned == "ok"}
        assert_listed(raw, "volumes", [name for name, there in left.items() if there])
        volumes.delete("clone")
        volumes.delete("source")
        assert_listed(raw, "volumes", [])
        assert raw.trash("volumes") == {}


def test_an_image_is_cloned_while_it_is_deleted(pair, images, volumes, raw):
    for number in range(FEWER):
        uri = images.add(f"image-{number}", b"i" * MiB).uri
        deleted, cloned = racers.race(
            (pair[0], delete_image, uri), (pair[1], "volumes.clone", "clone", uri)
        )
        assert (deleted, cloned) in {("ok", "ok"), ("InUse", "ok"), *(("ok", why) for why in GONE)}
        if cloned == "ok":
            assert raw.read("volumes", "clone") == b"i" * MiB
        volumes.delete("clone")
        if deleted == "InUse":
            images.delete(uri)
        assert_listed(raw, "volumes", [])
        assert_listed(raw, "images", [])
        assert raw.trash("images") == {}


def test_a_snapshot_is_deleted_while_volumes_are_made_from_it(four, volumes, raw):
    raw.create("volumes", "source", data=b"s" * MiB)
    for number in range(FEWER):
        names = [f"volume-{number}-{letter}" for letter in "abc"]
        volumes.create_snapshot("source", "snapshot")
        deleted, *made = racers.race(
            (four[0], "volumes.delete_snapshot", "source", "snapshot"),
            *(
                (p, "volumes.create_from_snapshot", name, "source", "snapshot")
                for p, name in zip(four[1:], names, strict=True)
            ),
        )
        assert deleted == "ok"
        assert set(made) <= {"ok", *GONE}
        assert volumes.get("source").snapshots == ()
        for name, outcome in zip(names, made, strict=True):
            if outcome == "ok":
                assert raw.read("volumes", name) == b"s" * MiB
                volumes.delete(name)
        assert raw.snaps("volumes", "source") == []
    volumes.delete("source")


def test_a_snapshot_and_its_last_volume_are_deleted_at_once(pair, volumes, raw):
    raw.create("volumes", "source", data=b"s" * MiB)
    for _ in range(FEWER):
        volumes.create_snapshot("source", "snapshot")
        volumes.create_from_snapshot("volume", "source", "snapshot")
        outcomes = racers.race(
            (pair[0], "volumes.delete_snapshot", "source", "snapshot"),
            (pair[1], "volumes.delete", "volume"),
        )
        assert outcomes == ["ok", "ok"]
        assert raw.snaps("volumes", "source") == []
        assert_listed(raw, "volumes", ["source"])
    volumes.delete("source")


def test_a_parent_is_deleted_while_its_clone_is_flattened(pair, volumes, raw):
    for _ in range(FEWER):
        raw.create("volumes", "source", data=b"s" * MiB)
        volumes.create_cloned_volume("clone", "source")
        deleted, flattened = racers.race(
            (pair[0], "volumes.delete", "source"), (pair[1], "volumes.flatten", "clone")
        )
        assert flattened == "ok"
        assert deleted in ("ok", "InUse")
        assert raw.read("volumes", "clone") == b"s" * MiB
        volumes.delete("source")
        assert_listed(raw, "volumes", ["clone"])
        assert raw.trash("volumes") == {}
        volumes.delete("clone")


def test_a_snapshot_is_made_while_its_volume_is_flattened(pair, place, volumes, raw):
    # Of many objects, so that there is a while.
    data = samples.pattern("source", 12 * MiB)
    small = place.volumes("admin", rbd_store_chunk_size=1)
    for _ in range(FEWER // 2):
        small.create("source", len(data))
        raw.write("volumes", "source", data)
        volumes.create_cloned_volume("clone", "source")
        outcomes = racers.race(
            (pair[0], "volumes.flatten", "clone"),
            (pair[1], "volumes.create_snapshot", "clone", "snapshot"),
        )
        assert outcomes == ["ok", "ok"]
        assert volumes.get("clone").snapshots == ("snapshot",)
        assert volumes.get("clone").parent is None
        volumes.delete("source")
        assert raw.trash("volumes") == {}
        assert raw.read("volumes", "clone") == data
        assert raw.read("volumes", "clone", "snapshot") == data
        volumes.delete_snapshot("clone", "snapshot")
        volumes.delete("clone")
        assert_listed(raw, "volumes", [])


def test_a_volume_that_is_cloned_and_deleted_again_and_again(four, volumes, raw):
    """Clones come and go by four processes; the source is never harmed, and nothing piles up."""
    raw.create("volumes", "source", data=b"s" * MiB)
    for number in range(FEWER):
        outcomes = racers.race(
            *((p, clone_and_delete, f"volume-{number}-{i}") for i, p in enumerate(four))
        )
        assert outcomes == ["ok"] * 4
    assert raw.read("volumes", "source") == b"s" * MiB
    assert raw.snaps("volumes", "source") == []
    volumes.delete("source")


def clone_and_delete(all_stores, name):
    all_stores.volumes.create_cloned_volume(name, "source")
    all_stores.volumes.delete(name)
    with contextlib.suppress(exceptions.ImageNotFound):
        all_stores.volumes.get(name)
        raise AssertionError(f"{name} is still there")
