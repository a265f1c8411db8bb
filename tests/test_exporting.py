# SPDX-License-Identifier: Apache-2.0
"""Images from volumes, where the driver at hand cannot do all that was asked for."""

import threading
import time

import memory
import pytest

from rbdstore import exceptions, settings, spec, store
from rbdstore.exchange.afterwards import Afterwards
from rbdstore.testing import faults


@pytest.fixture
def stores():
    cluster = memory.memory_cluster()
    volumes = memory.memory_store(cluster, pool="volumes")
    volumes.volumes.create("volume-1", 5)
    return volumes, memory.memory_store(cluster, pool="images")


def left(store):
    pools = store._cluster._state.pools.values()
    return snaps_of(store), [[*pool.objects] for pool in pools]


@pytest.mark.parametrize("method", ["auto", "cow"])
def test_tasks_that_there_are_none_of_are_refused_first(stores, method):
    volumes, images = stores
    before = left(volumes)
    with pytest.raises(exceptions.NotSupported):
        volumes.volumes.copy_to_image(
            "volume-1", images.images, "image-1", method=method, flatten="task"
        )
    assert left(volumes) == before
    assert images.images.list() == []
    # A copy needs none.
    volumes.volumes.copy_to_image(
        "volume-1", images.images, "image-1", method="copy", flatten="task"
    )
    assert left(volumes) == before


@pytest.mark.parametrize("error", [exceptions.PermissionDenied, exceptions.Timeout])
def test_who_gets_no_task_has_the_image_flattened_here(stores, monkeypatch, caplog, error):
    volumes, images = stores

    def refuse(*_arguments):
        raise error("the manager says no")

    for call in ("task_progress", "flatten_in_background"):
        monkeypatch.setattr(type(volumes._cluster), call, refuse)
    before = left(volumes)
    made = volumes.volumes.copy_to_image("volume-1", images.images, "image-1", flatten="task")
    assert (made.method, made.reason) == ("cow", "")
    with images.images._pool.open("image-1") as image:
        assert image.parent() is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == "images/image-1 is flattened here and not by the cluster: the manager says no"
    images.images.delete(made.uri)
    snaps, _objects = left(volumes)
    assert snaps == before[0]


@pytest.mark.parametrize(
    ("method", "call", "after"),
    [
        ("cow", "Image.create_snap", True),
        ("cow", "Pool.clone", True),
        ("cow", "Image.flatten", False),
        ("copy", "Image.create_snap", True),
        ("copy", "Image.still_has", False),
    ],
)
def test_who_exports_it_next_removes_what_one_who_died_had_made(method, call, after):
    """Whatever the next image's id is: that of the dead one's is not asked for again."""
    plan = faults.Plan()
    cluster = faults.FaultyCluster(memory.memory_cluster(), plan)
    volumes, images = (
        store.Store(cluster, settings.Settings(pool=pool, lease_seconds=1))
        for pool in ("volumes", "images")
    )
    volumes.volumes.create("volume-1", 5)
    # What is looked up once is known from then on.
    images.images.list()
    plan.watch()
    volumes.volumes.copy_to_image("volume-1", images.images, "image-1", method=method)
    at = plan.stop().index(call) + 1
    plan.fail(at, exceptions.Timeout("injected"), after=after, lasting=True)
    with pytest.raises(exceptions.Timeout):
        volumes.volumes.copy_to_image("volume-1", images.images, "image-2", method=method)
    assert plan.stop()[at - 1] == call
    assert len(snaps_of(volumes)) == 1
    # Until its leases have run out.
    time.sleep(1.2)
    volumes.volumes.copy_to_image("volume-1", images.images, "image-3")
    assert snaps_of(volumes) == []
    drafts = [name for name in images.images._pool.list_images() if spec.is_draft(name)]
    # Of an upload nobody knows but who repeats it.
    assert len(drafts) == (call == "Image.still_has")


def snaps_of(volumes):
    with volumes.volumes._pool.open("volume-1") as image:
        return image.snaps()


def test_a_namespace_of_images(stores):
    """A location names none, so that only who knows the namespace finds the image."""
    cluster = memory.memory_cluster(pools=["volumes", "images", "images/ours"])
    volumes = memory.memory_store(cluster, pool="volumes").volumes
    images = memory.memory_store(cluster, pool="images", namespace="ours").images
    volumes.create("volume-1", 5)
    made = volumes.copy_to_image("volume-1", images, "image-1", method="cow")
    assert images.place("image-1") == spec.ImageSpec("images", "image-1", namespace="ours")
    assert images.get_size(made.uri) == 5
    assert memory.memory_store(cluster, pool="images").images.list() == []


def test_an_image_of_the_default_namespace_becomes_a_volume_of_another():
    """Glance's are there, and their locations name none."""
    cluster = memory.memory_cluster(pools=["rbd", "rbd/cinder"])
    images = memory.memory_store(cluster, pool="rbd").images
    volumes = memory.memory_store(cluster, pool="rbd", namespace="cinder").volumes
    stored = images.add("image-1", b"theirs")
    made = volumes.clone("volume-1", stored.uri)
    assert made.parent == spec.ImageSpec("rbd", "image-1", "snap")
    # One of its own namespace comes first.
    ours = memory.memory_store(cluster, pool="rbd", namespace="cinder").images
    ours.add("image-1", b"ours, longer")
    assert volumes.clone("volume-2", stored.uri).size == 12
    with pytest.raises(exceptions.ImageNotFound):
        volumes.clone("volume-3", images.uri("nothing"))


def test_what_the_cluster_has_flattened_is_not_noted_for_ever(stores, monkeypatch):
    volumes, images = stores

    def flatten(_cluster, where):
        with images.images._pool.open(where.image, read_only=False) as image:
            image.flatten()
        return "task"

    monkeypatch.setattr(type(volumes._cluster), "flatten_in_background", flatten)
    monkeypatch.setattr(type(volumes._cluster), "task_progress", lambda *_: None)
    for number in range(2):
        volumes.volumes.copy_to_image(
            "volume-1", images.images, f"image-{number}", method="cow", flatten="task"
        )
        while snaps_of(volumes):
            time.sleep(0.01)
    pool = volumes.volumes.pool
    assert pool.get_keys(spec.record_object(pool.id_of("volume-1"))) == {}


class Tasks:
    """A cluster that has tasks only."""

    def __init__(self, error=None):
        self.running = {"task"}
        self.error = error

    def task_progress(self, task):
        if self.error:
            raise self.error
        return 0.5 if task in self.running else None


def test_what_follows_a_task_comes_when_it_has_ended():
    cluster, called, afterwards = Tasks(), threading.Event(), Afterwards()
    afterwards.do(cluster, "task", called.set)
    assert not called.is_set()
    cluster.running.clear()
    assert called.wait(30)
    afterwards.close()


def test_what_follows_a_task_is_left_when_the_store_is_closed():
    called, afterwards = [], Afterwards()
    afterwards.do(Tasks(), "task", lambda: called.append(1))
    afterwards.close()
    afterwards.do(Tasks(), "other", lambda: called.append(2))
    assert called == []


def test_a_manager_that_dies_is_waited_for():
    called, afterwards = threading.Event(), Afterwards()
    cluster = Tasks(exceptions.Timeout("no answer"))
    afterwards.do(cluster, "task", called.set)
    assert not called.wait(1)
    cluster.running.clear()
    cluster.error = None
    assert called.wait(30)
    afterwards.close()


def test_what_follows_a_task_and_fails_is_logged(caplog):
    tried, afterwards = threading.Event(), Afterwards()

    def fail():
        tried.set()
        raise exceptions.InUse("somebody has it")

    cluster = Tasks()
    cluster.running.clear()
    afterwards.do(cluster, "task", fail)
    assert tried.wait(30)
    afterwards.close()
    (line,) = [record.getMessage() for record in caplog.records if "later" in record.msg]
    assert line == "what follows the task task is left for later: somebody has it"
