# SPDX-License-Identifier: Apache-2.0
"""Flattening: one at a time on one image, whoever asks for it and why."""

import contextlib
import logging
import os
import signal
import threading
import time

import memory
import pytest
import scenes
from rbdstore_memory.driver import MemoryCluster

from rbdstore import exceptions, leases, spec
from rbdstore.clones.flattening import Flattener
from rbdstore.settings import Settings

DATA = b"data" * 1024
SECONDS = 1

# Long enough for a look or two, on whatever machine.
PATIENCE = 0.5

DENIED = exceptions.PermissionDenied("`ceph auth caps client.x mgr 'profile rbd'` grants it")
SILENT = exceptions.Timeout("the cluster's manager did not answer")
# What one says that has just taken over, and has not loaded its modules.
STARTING = exceptions.InvalidInput("the cluster refused an argument (no handler found)")
DISABLED = exceptions.NotSupported("the cluster cannot do it (the module is not enabled)")


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["images", "volumes"])


def stores(cluster, **values):
    """The images of one pool, and the volumes of another."""
    images = memory.memory_store(cluster, pool="images", **values).images
    return images, memory.memory_store(cluster, pool="volumes", **values).volumes


def id_of(pool, name):
    with pool.open(name) as image:
        return image.id


@pytest.mark.parametrize("verb", ["flatten a volume", "delete an image flattening its clones"])
def test_one_waits_for_another_who_is_at_it(cluster, verb):
    images, volumes = stores(cluster)
    stored = images.add("image", DATA)
    volumes.clone("volume", stored.uri)
    pool = cluster.open_pool("volumes")
    begin = time.monotonic()
    # As if the other process had died, so that what it holds ends by itself, and not before.
    name = spec.flatten_lease(id_of(pool, "volume"))
    leases.acquire(pool, name, SECONDS, wait=0).abandon()
    if verb == "flatten a volume":
        volumes.flatten("volume")
    else:
        images.delete(stored.uri, in_use="flatten")
    assert time.monotonic() - begin >= SECONDS
    assert volumes.get("volume").parent is None


def test_what_no_task_can_reach_is_flattened_here(cluster):
    images, volumes = stores(cluster, flatten_mode="task")
    stored = images.add("image", DATA)
    volumes.clone("volume", stored.uri)
    volumes.create_cloned_volume("clone", "volume")
    volumes.delete("volume")
    # This cluster knows no tasks, and would say so.
    images.delete(stored.uri, in_use="flatten")
    assert images.list() == []
    volumes.delete("clone")
    for pool in map(cluster.open_pool, ("images", "volumes")):
        assert pool.list_images() == []
        assert pool.trash_list() == []


def test_a_child_process_has_slots_of_its_own(cluster):
    """Whoever had those of its parent is not there to give them back."""
    images, volumes = stores(cluster)
    volumes.clone("volume", images.add("image", DATA).uri)
    pool = cluster.open_pool("volumes")
    flattener = Flattener(Settings(concurrent_flatten_operations=1))
    with flattener._slot(lambda: None):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                signal.alarm(60)
                flattener.flatten(pool, id_of(pool, "volume"))
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0


# Tasks


class TaskCluster(MemoryCluster):
    """A cluster whose managers flatten in the background, as a test says.

    :ivar course: what each look at the task finds: how much of it is done, or an error; then it
        has ended, or, after ``...``, it stays as it is
    :ivar flattens: whether the image is flattened at the end
    """

    course = ()
    flattens = True
    refusal = None
    cancelling = None

    def begin(self, *course, flattens=True, refusal=None, cancelling=None):
        self.course = list(course)
        self.flattens = flattens
        self.refusal = refusal
        self.cancelling = cancelling
        self.tasks = []

    def flatten_in_background(self, spec):
        if self.refusal:
            raise self.refusal
        self.tasks.append(spec)
        return "task-1"

    def task_progress(self, task_id):
        assert task_id == "task-1"
        if not self.course:
            if self.flattens:
                with self.open_pool("volumes").open("volume", read_only=False) as image:
                    image.flatten()
            return None
        found = self.course[0] if self.course[1:] == [...] else self.course.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def cancel_task(self, task_id):
        if self.cancelling:
            raise self.cancelling
        self.tasks.clear()


@pytest.fixture
def managed(cluster):
    """A cluster with a volume called ``volume`` that is a clone, and managers."""
    images, volumes = stores(cluster)
    volumes.clone("volume", images.add("image", DATA).uri)
    cluster.__class__ = TaskCluster
    return cluster


def flatten(cluster, **more):
    """Flatten the volume, which succeeds, and see that it did."""
    pool = cluster.open_pool("volumes")
    settings = Settings(flatten_mode="task", lease_seconds=5)
    Flattener(settings, patience=PATIENCE).flatten(pool, id_of(pool, "volume"), **more)
    with pool.open("volume") as image:
        assert image.parent() is None
        assert image.read(0, len(DATA)) == DATA


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_task_tells_how_far_it_is(managed, caplog):
    managed.begin(0, 0.25, 0.5)
    seen = []
    flatten(managed, progress=lambda done, total: seen.append((done, total)))
    whole = len(DATA)
    assert seen[:3] == [(0, whole), (whole // 4, whole), (whole // 2, whole)]
    assert managed.tasks == [managed.open_pool("volumes").spec("volume")]
    assert warnings(caplog) == []


@pytest.mark.parametrize("refusal", [DENIED, SILENT, STARTING, DISABLED])
def test_what_no_manager_takes_is_flattened_here(managed, caplog, refusal):
    managed.begin(refusal=refusal)
    flatten(managed)
    (warning,) = warnings(caplog)
    assert warning.startswith("volumes/volume is flattened here")
    assert str(refusal) in warning


def test_a_driver_without_tasks(cluster, caplog):
    images, volumes = stores(cluster, flatten_mode="task")
    volumes.clone("volume", images.add("image", DATA).uri)
    assert volumes.flatten("volume").parent is None
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("course", "reason"),
    [
        ([0.5], "the task has ended"),
        ([0.5, ...], "nothing was done of it"),
        ([0, ...], "nothing was done of it"),
        ([exceptions.ClusterError("it failed"), ...], "it failed"),
        ([0.5, SILENT, ...], str(SILENT)),
    ],
    ids=["ended", "stands still", "never begins", "fails", "nobody answers"],
)
def test_a_task_that_comes_to_nothing_is_given_up(managed, caplog, course, reason):
    managed.begin(*course, flattens=False)
    flatten(managed)
    (warning,) = warnings(caplog)
    assert "task-1" in warning
    assert reason in warning
    assert managed.tasks == []


def test_a_task_that_cannot_be_cancelled_is_named(managed, caplog):
    managed.begin(0.5, ..., cancelling=SILENT)
    flatten(managed)
    (warning,) = warnings(caplog)
    assert "`ceph rbd task cancel task-1`" in warning


def test_another_manager_goes_on_with_the_task(managed, caplog):
    managed.begin(0.2, SILENT, STARTING, DISABLED, 0.2, 0.7)
    flatten(managed)
    assert warnings(caplog) == []


def test_who_is_interrupted_cancels_the_task(managed):
    managed.begin(0.5, ...)

    def interrupted(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flatten(managed, progress=interrupted)
    assert managed.tasks == []
    managed.begin(0.5, ..., cancelling=SILENT)
    with pytest.raises(KeyboardInterrupt) as caught:
        flatten(managed, progress=interrupted)
    assert "task-1" in caught.value.__notes__[0]
    # Nothing of it stands in the way.
    managed.begin(0.5)
    flatten(managed)


# Waiting


@contextlib.contextmanager
def waiting(do):
    """Have it done in a thread, which waits; end its waiting after the block."""
    ended, errors = threading.Event(), []

    def go_on(*_progress):
        if ended.is_set():
            raise scenes.Boom

    def work():
        try:
            do(go_on)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [scenes.Boom]


def test_waiting_for_who_flattens_the_same_image_can_be_ended(managed):
    pool = managed.open_pool("volumes")
    image_id = id_of(pool, "volume")
    flattener = Flattener(Settings(lease_seconds=5))
    with (
        leases.held(pool, spec.flatten_lease(image_id), 5),
        waiting(lambda go_on: flattener.flatten(pool, image_id, progress=go_on)),
    ):
        time.sleep(0.1)


def test_waiting_for_a_slot_can_be_ended(managed):
    pool = managed.open_pool("volumes")
    image_id = id_of(pool, "volume")
    flattener = Flattener(Settings(lease_seconds=5, concurrent_flatten_operations=1))
    with (
        flattener._slot(lambda: None),
        waiting(lambda go_on: flattener.flatten(pool, image_id, progress=go_on)),
    ):
        time.sleep(0.1)
    flattener.flatten(pool, image_id)
    with pool.open("volume") as image:
        assert image.parent() is None


def test_closing_a_store_does_not_wait_for_who_flattens_the_same_clone():
    # The store closes its own connection.
    cluster, mine = (memory.memory_cluster("closing", pools=["volumes"]) for _ in range(2))
    store = memory.memory_store(
        mine, pool="volumes", max_snapshots_on_image=1, lease_seconds=5, clone_gather_time=0
    )
    store.volumes.create("source", 4096)
    store.volumes.create_cloned_volume("clone-1", "source")
    pool = cluster.open_pool("volumes")
    closing = threading.Thread(target=store.close)
    with leases.held(pool, spec.flatten_lease(id_of(pool, "clone-1")), 5):
        store.volumes.create_cloned_volume("clone-2", "source")
        # The first one is about to be flattened in the background.
        deadline = time.monotonic() + 60
        while pool.lease_owner(spec.lease_object("clone-1")) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()
