# SPDX-License-Identifier: Apache-2.0
"""Arguments that are nearly right: whatever they are, only documented errors and no surprises.

5,000 locations, names and sizes, each given to every method that takes such a thing. What is
refused has changed nothing; what is taken means what it says. Always the same ones, but in a soak
other ones and more.
"""

import os
import urllib.parse

import hypothesis
import memory
import pytest
from wrong import nearly

from rbdstore import exceptions, sizes, spec

CASES = {"locations": 2500, "names": 1500, "sizes": 1000}
KiB = 1024
DATA = b"0123456789"

_SOAK = bool(os.environ.get("RBDSTORE_SOAK"))


def cases(kind):
    """Run a test with that many examples of the only argument it does not get from fixtures."""
    return hypothesis.settings(
        max_examples=CASES[kind] * (10 if _SOAK else 1),
        derandomize=not _SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def test_there_are_enough_cases():
    assert sum(CASES.values()) >= 5000


class World:
    """An image, the same in another pool, and a volume with a snapshot."""

    def __init__(self):
        cluster = memory.memory_cluster()
        self.stores = [
            memory.memory_store(cluster, pool=pool, lease_seconds=30.0)
            for pool in ("images", "volumes")
        ]
        self.images, self.volumes = self.stores[0].images, self.stores[1].volumes
        self.pools = [cluster.open_pool(pool) for pool in ("images", "volumes")]
        self.fsid = cluster.fsid
        self.uri = self.images.add("image-1", DATA).uri
        self.stores[1].images.add("image-1", b"not to be reached")
        self.volumes.create("source", KiB)
        self.volumes.create_snapshot("source", "snapshot-1")
        self.before = self.state()

    def state(self):
        found = {}
        for pool in self.pools:
            found[pool.name, "trash"] = pool.trash_list()
            for name in pool.list_images():
                with pool.open(name) as image:
                    found[pool.name, name] = (image.size(), image.snaps(), image.parent())
        return found

    def refuses(self, errors, method, *arguments, **options):
        """Whether a call is refused, with one of these errors exactly and a readable text."""
        try:
            self.result = method(*arguments, **options)
        except exceptions.RbdStoreError as error:
            if type(error) not in errors or not spec.is_plain(str(error)):
                raise
            return True
        return False


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    for store in made.stores:
        store.close()


def test_locations(world):
    seen = {"refused": 0, "missing": 0, "found": 0}

    @cases("locations")
    @hypothesis.given(uri=nearly.locations(world.fsid))
    @hypothesis.example(uri=world.uri)
    @hypothesis.example(uri="rbd://image-1")
    def tried(uri):
        seen[try_location(world, uri)] += 1
        assert world.state() == world.before

    tried()
    assert min(seen.values()) > 50, seen


def try_location(world, uri):
    """Give a location to every method that takes one; return what became of it."""
    wrong_ones = (exceptions.InvalidLocation,)
    try:
        location = spec.Location.parse(uri)
    except exceptions.InvalidLocation:
        for method in looks(world):
            assert world.refuses(wrong_ones, method, uri)
        assert world.refuses(wrong_ones, world.volumes.clone, "volume-1", uri)
        return "refused"
    # What was understood is written as it is understood.
    assert spec.Location.parse(location.uri) == location
    assert spec.Location.parse(location.uri).uri == location.uri
    assert location.uri.isascii()
    parts = [urllib.parse.unquote(part) for part in uri[len("rbd://") :].split("/")]
    assert parts in (
        [location.image],
        [location.fsid, location.pool, location.image, location.snap],
    )
    try_clone(world, uri, location)
    # By its parts, and not by what the library made of them.
    right = [world.fsid, "images", "image-1", "snap"]
    if parts not in ([right[2]], right):
        here = len(parts) == 1 or parts[:2] == right[:2]
        refusals = exceptions.NotFound.__subclasses__() if here else wrong_ones
        if here and len(parts) == 4 and parts[3] != "snap":
            refusals = [*refusals, *wrong_ones]
        for method in looks(world):
            if not world.refuses(refusals, method, uri):
                assert method == world.images.exists
                assert world.result is False
        return "missing" if here else "refused"
    assert b"".join(world.images.get(uri)) == DATA
    assert world.images.get_size(uri) == len(DATA)
    assert world.images.exists(uri)
    world.images.delete(uri)
    assert [stored.uri for stored in world.images.list()] == []
    world.uri = world.images.add("image-1", DATA).uri
    world.before = world.state()
    return "found"


def looks(world):
    images = world.images
    return (images.get, images.get_size, images.exists, images.delete)


def try_clone(world, uri, location):
    """Clone what is there, which may be in any pool of the cluster."""
    errors = (
        exceptions.NotCloneable,
        exceptions.PoolNotFound,
        exceptions.ImageNotFound,
        exceptions.SnapshotNotFound,
    )
    if world.refuses(errors, world.volumes.clone, "volume-1", uri):
        return
    assert location.fsid == world.fsid
    assert world.result.parent == spec.ImageSpec(location.pool, location.image, location.snap)
    world.volumes.delete("volume-1")


@cases("names")
@hypothesis.given(name=nearly.NAMES)
def test_names(world, name):
    volumes, images = world.volumes, world.images
    wrong_ones = (exceptions.InvalidName,)
    calls = {
        "check_new_name": [
            lambda: volumes.create(name, KiB),
            lambda: volumes.create_cloned_volumes(["volume-1", name], "source"),
            lambda: volumes.create_cloned_volume(name, "source"),
            lambda: volumes.create_from_snapshot(name, "source", "snapshot-1"),
            lambda: volumes.create_from_snapshot("volume-1", name, "snapshot-1"),
            lambda: volumes.create_cloned_volume("volume-1", name),
            lambda: volumes.clone(name, world.uri),
            lambda: volumes.extend(name, KiB),
            lambda: volumes.rename("source", name),
            lambda: volumes.rename(name, "volume-1"),
            lambda: volumes.flatten(name),
            lambda: volumes.delete(name),
            lambda: volumes.create_snapshot(name, "snapshot-2"),
            lambda: volumes.delete_snapshot(name, "snapshot-1"),
            lambda: volumes.revert_to_snapshot(name, "snapshot-1"),
            lambda: images.add(name, DATA),
        ],
        "check_snapshot_name": [
            lambda: volumes.create_snapshot("source", name),
            lambda: volumes.delete_snapshot("source", name),
            lambda: volumes.revert_to_snapshot("source", name),
            lambda: volumes.create_from_snapshot("volume-1", "source", name),
        ],
        "check_name": [lambda: volumes.get(name)],
    }
    for check, tried in calls.items():
        if is_valid(check, name):
            assert getattr(spec, check)(name) == name
        else:
            assert all(world.refuses(wrong_ones, call) for call in tried)
    if is_valid("check_new_name", name) and name not in ("source", "image-1"):
        try_new_name(world, name)
    if is_valid("check_snapshot_name", name) and name != "snapshot-1":
        volumes.create_snapshot("source", name)
        assert volumes.get("source").snapshots == ("snapshot-1", name)
        volumes.delete_snapshot("source", name)
    assert world.state() == world.before


def is_valid(check, name):
    """The rules, in other words than the library's."""
    if not isinstance(name, str) or name in (".", "..") or name != name.strip() or not name:
        return False
    if name.encode("utf-8", "replace") != name.encode("utf-8", "surrogatepass"):
        return False
    if len(name.encode()) > 220 or set("/@") & set(name) or len(name.splitlines()) != 1:
        return False
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in name):
        return False
    if check == "check_new_name":
        return not name.startswith("rbdstore.") and name[-8:] not in (".partial", ".deleted")
    if check == "check_snapshot_name":
        return not name.startswith("rbdstore.") and not name.endswith(".clone_snap")
    return True


def try_new_name(world, name):
    """What can be given to a volume and to an image, it has then, and nothing else has."""
    volumes, images = world.volumes, world.images
    assert volumes.create(name, KiB) == volumes.get(name)
    assert sorted(world.pools[1].list_images()) == sorted(["image-1", "source", name])
    volumes.delete(name)
    stored = images.add(name, DATA)
    assert spec.Location.parse(stored.uri).image == name
    assert sorted(world.pools[0].list_images()) == sorted(["image-1", name])
    assert b"".join(images.get(stored.uri)) == DATA
    images.delete(stored.uri)


@cases("sizes")
@hypothesis.given(size=nearly.SIZES)
def test_sizes(world, size):
    volumes, images = world.volumes, world.images
    wrong_ones = (exceptions.InvalidSize,)
    number = whole(size)
    made = [
        (0, lambda: volumes.create("volume-1", size)),
        (10, lambda: volumes.clone("volume-1", world.uri, size)),
        (KiB, lambda: volumes.create_from_snapshot("volume-1", "source", "snapshot-1", size)),
        (KiB, lambda: volumes.create_cloned_volume("volume-1", "source", size)),
    ]
    for least, make in made if size is not None else made[:1]:
        refused = world.refuses(wrong_ones, make)
        assert refused is (number is None or not least <= number <= sizes.MAX_SIZE), least
        if not refused:
            assert world.result.size == volumes.get("volume-1").size == number
            assert type(world.result.size) is int
            volumes.delete("volume-1")
    if number is None or not KiB <= number <= sizes.MAX_SIZE:
        assert world.refuses(wrong_ones, volumes.extend, "source", size)
    if number is None or not 0 <= number <= len(DATA):
        assert world.refuses(wrong_ones, images.get, world.uri, size)
    else:
        assert b"".join(images.get(world.uri, size, size)) == DATA[number : 2 * number]
    if size is not None and number != len(DATA):
        errors = (exceptions.InvalidSize, exceptions.InvalidBody)
        assert world.refuses(errors, images.add, "image-2", DATA, size)
    assert world.state() == world.before


def whole(size):
    """What a size is as a number; None: it is no whole one."""
    if isinstance(size, bool | type) or not hasattr(size, "__index__"):
        return None
    return size.__index__()
