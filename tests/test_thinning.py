# SPDX-License-Identifier: Apache-2.0
"""Thinning: which clones are flattened for it, what stands against it, and how it ends."""

import logging
import threading

import memory
import pytest
import scenes

from rbdstore import exceptions, leases, records, spec
from rbdstore.clones import thinning
from rbdstore.settings import Settings

LIMIT = 60
MOST = 2


@pytest.fixture
def pool():
    return memory.memory_cluster(pools=["volumes"]).open_pool("volumes")


@pytest.fixture
def image(pool):
    """An image with four snapshots, each with a clone of the same number."""
    scenes.make(pool, "image", b"data")
    for number in range(4):
        add_clone(pool, number)
    with pool.open("image") as opened:
        yield opened


def add_clone(pool, number, name=None):
    snap = f"rbdstore.clone.{number}"
    with pool.open("image", read_only=False) as parent:
        parent.create_snap(snap)
    pool.clone(pool, "image", snap, name or f"clone-{number}")


class Flattening:
    """Flattens nothing, but says what it was asked for, and fails as it is told."""

    def __init__(self, **errors):
        self.asked = []
        self.errors = errors

    def __call__(self, child, pool, progress):
        self.asked.append(child.image)
        progress(0, 1)
        if child.image in self.errors:
            raise self.errors[child.image]


def thin(image, flattening, snaps=None, most=MOST):
    """Have it done, and wait for its end."""
    thinner = thinning.Thinner(Settings(max_snapshots_on_image=most, lease_seconds=5), flattening)
    thinner.see_to(image, len(image.snaps()) if snaps is None else snaps)
    worker = thinner._worker
    if worker is not None:
        worker.join(LIMIT)
        assert not worker.is_alive()
    thinner.close()
    return flattening.asked


def test_the_oldest_come_first_and_no_more_than_needed(image):
    assert thin(image, Flattening()) == ["clone-0", "clone-1"]
    assert thin(image, Flattening(), most=3) == ["clone-0"]


def test_nothing_is_done_up_to_the_limit(image):
    assert thin(image, Flattening(), most=4) == []
    # Somebody else has done it since.
    assert thin(image, Flattening(), snaps=5, most=4) == []


def test_a_users_snapshot_keeps_its_clones(pool, image):
    with pool.open("image", read_only=False) as writable:
        writable.rename_snap("rbdstore.clone.0", "snapshot")
    assert thin(image, Flattening()) == ["clone-1", "clone-2"]


def test_what_is_being_cloned_from_is_left(pool, image):
    pool.clone(pool, "image", "rbdstore.clone.0", spec.draft_name("new"))
    assert thin(image, Flattening()) == ["clone-1", "clone-2"]


def test_a_snapshot_that_has_no_clones_yet_is_left(pool, image):
    pool.remove("clone-0")
    assert thin(image, Flattening()) == ["clone-1", "clone-2"]
    with pool.open("image") as opened:
        assert len(opened.snaps()) == 4


def test_a_snapshot_that_goes_meanwhile_is_one_less(pool, image, caplog):
    class Deleting(Flattening):
        def __call__(self, child, pool, progress):
            super().__call__(child, pool, progress)
            if child.image == "clone-0":
                pool.remove("clone-1")
                with pool.open("image", read_only=False) as writable:
                    writable.remove_snap(writable.snaps()[1].id)

    with caplog.at_level(logging.WARNING):
        assert thin(image, Deleting(), most=1) == ["clone-0", "clone-2"]
    assert caplog.records == []


def test_what_cannot_be_flattened_is_logged_and_the_next_one_is(image, caplog):
    flattening = Flattening(**{"clone-0": exceptions.Timeout("injected"), "clone-2": ValueError()})
    with caplog.at_level(logging.WARNING):
        assert thin(image, flattening) == ["clone-0", "clone-1", "clone-2", "clone-3"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].endswith("injected")
    assert "volumes/clone-2" in said[1]


def test_a_failure_to_look_is_logged(pool, image, caplog):
    for number in range(4):
        pool.remove(f"clone-{number}")
        with pool.open("image", read_only=False) as writable:
            writable.remove_snap(writable.snaps()[0].id)
    pool.remove("image")
    with caplog.at_level(logging.WARNING):
        assert thin(image, Flattening(), snaps=3) == []
    assert [image.id in record.getMessage() for record in caplog.records] == [True]


def test_one_process_at_a_time(pool, image, caplog):
    name = spec.thinning_lease(image.id)
    lease = leases.acquire(pool, name, 30, wait=0)
    with caplog.at_level(logging.WARNING):
        assert thin(image, Flattening()) == []
    assert caplog.records == []
    lease.release()
    assert thin(image, Flattening()) == ["clone-0", "clone-1"]
    assert pool.lease_owner(spec.lease_object(name)) is None


def test_what_a_killed_one_held_goes_with_the_image(pool, image):
    leases.acquire(pool, spec.thinning_lease(image.id), 30, wait=0).abandon()
    records.drop(pool, image.id)
    assert pool.lease_owner(spec.lease_object(spec.thinning_lease(image.id))) is None


class Endless:
    """A flatten that goes on until it is ended."""

    def __init__(self):
        self.begun = threading.Event()
        self.running = 0
        self.asked = []

    def __call__(self, child, pool, progress):
        self.asked.append(child.image)
        self.running += 1
        assert self.running == 1
        self.begun.set()
        try:
            while True:
                progress(0, 1)
        finally:
            self.running -= 1


def test_closing_ends_it(image):
    flattening = Endless()
    thinner = thinning.Thinner(Settings(max_snapshots_on_image=MOST), flattening)
    # However often it is asked for, it is one thread that does it.
    for _ in range(5):
        thinner.see_to(image, 4)
    assert flattening.begun.wait(LIMIT)
    worker = thinner._worker
    thinner.see_to(image, 4)
    assert thinner._worker is worker
    thinner.close()
    assert not worker.is_alive()
    assert flattening.asked == ["clone-0"]
    thinner.see_to(image, 4)
    assert thinner._worker is None
    thinner.close()


def test_who_wants_a_clone_need_not_wait_for_it():
    """Deleting a volume does not fail for what goes on in the background."""
    with memory.memory_store(max_snapshots_on_image=1, pool="volumes") as store:
        flattening = Endless()
        thinner = store.volumes._cloner._thinner
        flatten_child = thinner._flatten_child

        def flatten(child, pool, progress):
            # Under the claim, as it is.
            flatten_child(child, pool, lambda *_: flattening(child, pool, progress))

        thinner._flatten_child = flatten
        store.volumes.create("source", 1024)
        for name in ("clone-0", "clone-1"):
            store.volumes.create_cloned_volume(name, "source")
        assert flattening.begun.wait(LIMIT)
        store.volumes.delete("clone-0")
        assert [volume.name for volume in store.volumes.list()] == ["clone-1", "source"]
    assert "clone-0" in flattening.asked


def test_a_store_closes_it():
    with memory.memory_store(max_snapshots_on_image=1, pool="volumes") as store:
        flattening = Endless()
        thinner = store.volumes._cloner._thinner
        thinner._flatten_child = flattening
        store.volumes.create("source", 1024)
        for name in ("clone-0", "clone-1"):
            store.volumes.create_cloned_volume(name, "source")
        assert flattening.begun.wait(LIMIT)
    assert thinner._worker is None
