# SPDX-License-Identifier: Apache-2.0
"""Processes killed in the middle of librbd's calls.

librbd's own steps are not atomic, and a killed process takes nothing back. Yet nobody ever sees
something half made under its name, the next one to try completes it, and nothing is left once
everything is deleted.
"""

import concurrent.futures
import contextlib
import dataclasses
import random
import time
from collections.abc import Callable

import pools
import pytest
import rados
import rbd
import samples
import stores
import worker

from rbdstore import spec

MiB = samples.MiB
KILLS = 10
AT_ONCE = 10
LEASE_SECONDS = 5
# Large enough that flattening and writing take a while.
SIZE = 24 * MiB

# Calls that change something, and are long.
CHANGES = {
    "Image.create_snap",
    "Image.flatten",
    "Image.flush",
    "Image.protect_snap",
    "Image.remove_snap",
    "Image.resize",
    "Image.unprotect_snap",
    "Image.write",
    "Pool.clone",
    "Pool.create",
    "Pool.remove",
    "Pool.remove_leased",
    "Pool.rename",
    "Pool.set_keys",
    "Pool.trash_move",
    "Pool.trash_remove",
    "Pool.write_leased",
}


class Scene:
    """An image and the volumes that are there, and what each must read as."""

    def __init__(self, sandbox, **options):
        self.options = {"rbd_lease_seconds": LEASE_SECONDS, **options}
        self.images = stores.image_store(sandbox, **self.options)
        self.volumes = stores.volume_store(sandbox, **self.options)
        self.data = samples.pattern("image", SIZE)
        self.image = self.images.add("image", self.data)
        self.expected = {"image": self.data}

    def add_volume(self, name):
        self.volumes.clone(name, self.image.uri)
        self.expected[name] = self.data

    def names(self):
        found = {volume.name for volume in self.volumes.list()}
        return found | {spec.Location.parse(image.uri).image for image in self.images.list()}


def clone(scene, name):
    return "volumes.clone", (name, scene.image.uri)


def clone_volume(scene, name):
    source = f"source of {name}"
    scene.add_volume(source)
    return "volumes.create_cloned_volume", (name, source)


def flatten(scene, name):
    scene.add_volume(name)
    return "volumes.flatten", (name,)


def delete(scene, name):
    """The last clone of a deleted volume, which goes with it."""
    parent = f"parent of {name}"
    scene.add_volume(parent)
    scene.volumes.create_cloned_volume(name, parent)
    scene.volumes.delete(parent)
    return "volumes.delete", (name,)


def to_image(scene, name):
    source = f"source of {name}"
    scene.add_volume(source)
    return "volumes.copy_to_image", (source, worker.IMAGES, name)


def made_by(request):
    """The name that a request makes, or does something to."""
    verb, arguments = request
    return arguments[-1] if verb == "volumes.copy_to_image" else arguments[0]


def upload(scene, name):
    return "images.add", (name, scene.data, SIZE)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    prepare: Callable
    user: str = "cinder"
    pool: str = "volumes"
    options: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return self.name


# Many objects, so that a flatten is killed between them.
SMALL_OBJECTS = {"rbd_store_chunk_size": 1}

CASES = [
    Case("clone", clone),
    Case("clone-volume", clone_volume),
    Case("clone-deep-volume", clone_volume, options={"rbd_max_clone_depth": 1, **SMALL_OBJECTS}),
    Case("flatten", flatten, options=SMALL_OBJECTS),
    Case("delete", delete),
    Case("upload", upload, user="glance", pool="images"),
    Case("to-image", to_image, user="admin", options=SMALL_OBJECTS),
]


@pytest.fixture(scope="module")
def client(sandbox):
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as connected:
        yield connected


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_killed_operation_harms_nothing_and_can_be_repeated(sandbox, client, case):
    dice = random.Random(case.name)
    scene = Scene(sandbox, **case.options)
    options = {"rbd_user": case.user, "rbd_pool": case.pool, **scene.options}
    names = [f"{case}-{number}" for number in range(AT_ONCE + KILLS)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
        requests = list(threads.map(lambda name: case.prepare(scene, name), names))
    scene.expected |= dict.fromkeys(names, scene.data)

    # How long it takes with as many at once as are killed below, and what it calls.
    undisturbed = run(sandbox, requests[:AT_ONCE], [(None, None)] * AT_ONCE, options)
    assert [outcomes[0][0] for outcomes, _, _ in undisturbed] == ["ok"] * AT_ONCE
    took = max(seconds for _, seconds, _ in undisturbed)
    changes = [n for n, call in enumerate(undisturbed[0][2], 1) if call in CHANGES]

    killed = []
    for start in range(AT_ONCE, AT_ONCE + KILLS, AT_ONCE):
        kills = [
            (dice.uniform(0, took), None)
            if number % 2
            else (None, (dice.choice(changes), dice.uniform(0, 0.05)))
            for number in range(AT_ONCE)
        ]
        batch = requests[start : start + AT_ONCE]
        ended = run(sandbox, batch, kills, options)
        killed += [request for request, end in zip(batch, ended, strict=True) if end is None]
    print(f"{case}: {took:.2f} s undisturbed, {len(killed)} of {KILLS} killed before they ended")
    check_seen(sandbox, scene)
    whole = scene.names()

    # An upload does not wait for another one's lease.
    time.sleep(LEASE_SECONDS)
    with worker.Worker(sandbox, killed, **options) as again:
        again.begin()
        for request, (outcome, told) in zip(killed, again.outcomes()[0], strict=True):
            name = made_by(request)
            # It may have been killed when all was done, and nothing was left to say so.
            assert outcome == "ok" or (outcome == "Duplicate" and name in whole), (name, told)
    check_seen(sandbox, scene)
    assert scene.names() & set(names) == (set() if case.prepare is delete else set(names))
    if case.prepare is flatten:
        assert all(volume.parent is None for volume in scene.volumes.list())
        check_object_maps(sandbox, names)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(scene.volumes.delete, [each.name for each in scene.volumes.list()]))
        list(threads.map(scene.images.delete, [each.uri for each in scene.images.list()]))
    pools.assert_empty(client)


def test_killed_while_several_share_a_snapshot(sandbox, client):
    """Each is made by whoever repeats it, and the snapshot goes with the last one."""
    dice = random.Random("several")
    scene = Scene(sandbox)
    scene.add_volume("source")
    options = {"rbd_user": "cinder", "rbd_pool": "volumes", **scene.options}
    for number in range(4):
        names = [f"clone-{number}-{letter}" for letter in "abcde"]
        scene.expected |= dict.fromkeys(names, scene.data)
        requests = [("volumes.create_cloned_volume", (name, "source")) for name in names]
        at = dice.randint(20, 120), dice.uniform(0, 0.05)
        with worker.Worker(sandbox, requests, kill_at=at, **options) as process:
            process.begin()
            process.outcomes()
        check_seen(sandbox, scene)
        whole = scene.names()
        with worker.Worker(sandbox, requests, **options) as again:
            again.begin()
            for name, (outcome, told) in zip(names, again.outcomes()[0], strict=True):
                assert outcome == "ok" or (outcome == "Duplicate" and name in whole), (name, told)
        check_seen(sandbox, scene)
        assert scene.names() == {"image", "source", *names}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(scene.volumes.delete, names))
        with stores.foreign(sandbox) as raw:
            assert raw.snaps("volumes", "source") == []
    scene.volumes.delete("source")
    scene.images.delete(scene.image.uri)
    pools.assert_empty(client)


def run(sandbox, requests, kills, options):
    """Carry each request out in a process of its own, all at once, and kill them.

    :param kills: for each, how many seconds after it began, or at which call
    """
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(worker.Worker(sandbox, [request], kill_at=at, **options))
            for request, (_, at) in zip(requests, kills, strict=True)
        ]
        for process in processes:
            process.begin()
        begun = time.monotonic()
        timed = [(after, p) for (after, _), p in zip(kills, processes, strict=True) if after]
        for after, process in sorted(timed, key=lambda each: each[0]):
            time.sleep(max(0.0, begun + after - time.monotonic()))
            process.kill()
        return [process.outcomes() for process in processes]


def check_seen(sandbox, scene):
    """See that whatever has a name can be opened, and reads as it must."""
    with stores.foreign(sandbox) as raw:
        for pool in ("images", "volumes"):
            for name in raw.images(pool):
                if not spec.is_unfinished_or_deleted(name):
                    wrong = raw.read(pool, name) != scene.expected[name]
                    assert not wrong, f"{pool}/{name} has other data"


def check_object_maps(sandbox, names):
    """See that volumes have their object maps, which are off during a flatten, and valid ones."""
    with stores.foreign(sandbox) as raw:
        for name in names:
            with raw.open("volumes", name, read_only=True) as image:
                assert image.features() & rbd.RBD_FEATURE_OBJECT_MAP, name
                assert image.flags() == 0, name
