# SPDX-License-Identifier: Apache-2.0
"""Many threads, one store."""

import concurrent.futures

import pytest
import samples

from rbdstore import exceptions

MiB = samples.MiB
THREADS = 8


@pytest.fixture(scope="module")
def volumes(place):
    return place.volumes("admin")


@pytest.fixture(scope="module")
def images(place):
    return place.images("admin")


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(THREADS) as executor:
        yield executor


def outcome(do, *args):
    """Whether it succeeded, or which error of ours it ended with."""
    try:
        do(*args)
    except exceptions.RbdStoreError as error:
        return type(error).__name__
    return "ok"


def each(pool, do, items):
    return list(pool.map(do, items))


def test_a_volume_is_cloned_and_the_clones_deleted_by_all(pool, volumes, raw):
    raw.create("volumes", "source", data=b"s" * MiB)
    names = [f"clone-{number}" for number in range(2 * THREADS)]
    made = each(pool, lambda name: volumes.create_cloned_volume(name, "source"), names)
    assert [volume.name for volume in made] == names
    assert {volume.depth for volume in made} == {1}
    assert raw.images("volumes") == sorted(["source", *names])
    assert each(pool, lambda name: raw.read("volumes", name), names) == [b"s" * MiB] * len(names)
    each(pool, volumes.delete, names)
    assert raw.images("volumes") == ["source"]
    assert raw.snaps("volumes", "source") == []
    volumes.delete("source")


def test_clones_are_deleted_by_all_after_their_source(pool, volumes, raw):
    raw.create("volumes", "source", data=b"s" * MiB)
    names = [f"clone-{number}" for number in range(THREADS)]
    volumes.create_cloned_volumes(names, "source")
    volumes.delete("source")
    each(pool, volumes.delete, names)
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}


def test_a_family_is_deleted_at_once(pool, volumes, raw):
    """As when a whole stack is taken down: parents, clones and their clones, in any order."""
    volumes.create("root", MiB)
    middle = [f"middle-{number}" for number in range(3)]
    volumes.create_cloned_volumes(middle, "root")
    leaves = [f"leaf-{name}" for name in middle]
    for leaf, above in zip(leaves, middle, strict=True):
        volumes.create_cloned_volume(leaf, above)

    left = ["root", *middle, *leaves]
    for _ in range(10):
        outcomes = each(pool, lambda name: outcome(volumes.delete, name), left)
        # While a clone lets go of its parent, that may be open for writing.
        assert set(outcomes) <= {"ok", "InUse"}
        left = [name for name, end in zip(left, outcomes, strict=True) if end == "InUse"]
        if not left:
            break
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}


def test_one_thread_gets_the_name(pool, volumes, raw):
    for number in range(10):
        name = f"volume-{number}"
        outcomes = each(
            pool, lambda _, name=name: outcome(volumes.create, name, MiB), range(THREADS)
        )
        assert sorted(outcomes) == ["Duplicate"] * (THREADS - 1) + ["ok"]
        volumes.delete(name)


def test_uploads_side_by_side(pool, images, raw):
    bodies = {f"image-{number}": samples.pattern(number, 3 * MiB) for number in range(THREADS)}
    # Of unknown size, so that all that is known of an upload is its own.
    each(pool, lambda name: images.add(name, samples.pieces(bodies[name])), bodies)
    for name, data in bodies.items():
        assert raw.read("images", name) == data
    each(pool, lambda name: images.delete(f"rbd://{name}"), bodies)


def test_a_volume_is_seen_whole_whatever_becomes_of_its_clones(pool, volumes, raw):
    raw.create("volumes", "source", data=b"s" * MiB)
    busy = [
        pool.submit(clone_and_delete, volumes, f"clone-{number}", 5)
        for number in range(THREADS - 2)
    ]
    while not all(future.done() for future in busy):
        assert volumes.get("source").depth == 0
        assert "source" in [volume.name for volume in volumes.list()]
    for future in busy:
        future.result()
    assert raw.snaps("volumes", "source") == []
    volumes.delete("source")


def clone_and_delete(volumes, name, times):
    for _ in range(times):
        volumes.create_cloned_volume(name, "source")
        volumes.delete(name)
