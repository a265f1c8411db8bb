# SPDX-License-Identifier: Apache-2.0
"""Volumes from images when something happens in between: on the driver in memory."""

import time

import memory
import pytest
import samples

from rbdstore import exceptions
from rbdstore.settings import Settings
from rbdstore.store import Store
from rbdstore.testing import faults

KiB = samples.KiB
DATA = samples.pattern("image", 100 * KiB)
SIZE = 128 * KiB


@pytest.fixture
def plan():
    return faults.Plan()


@pytest.fixture
def cluster(plan):
    made = memory.memory_cluster(pools=["images", "volumes"])
    yield faults.FaultyCluster(made, plan)
    for pool in made._state.pools.values():
        assert [*pool.images, *pool.objects] == []


@pytest.fixture
def volumes(cluster):
    return Store(cluster, Settings(pool="volumes", lease_seconds=1)).volumes


@pytest.fixture
def image(cluster):
    images = Store(cluster, Settings(pool="images", lease_seconds=1)).images
    stored = images.add("image-1", DATA)
    yield stored
    images.delete(stored.uri)


def make(volumes, locations=(), body=DATA):
    return volumes.create_from_image(
        "volume-1", locations, SIZE, disk_format="raw", open_image=lambda: iter([body])
    )


def number(plan, volumes, call, *arguments):
    """At which call the driver is asked for that."""
    plan.watch()
    make(volumes, *arguments)
    calls = plan.stop()
    volumes.delete("volume-1")
    return calls.index(call) + 1


def read(volumes):
    with volumes._pool.open("volume-1") as image:
        return image.read(0, image.size())


def cut_off_once_published(plan, volumes, *arguments):
    at = number(plan, volumes, "Pool.rename", *arguments)
    plan.fail(at + 2, exceptions.Timeout("injected"), lasting=True)
    with pytest.raises(exceptions.Timeout):
        make(volumes, *arguments)
    plan.stop()
    assert volumes._pool.list_images() == ["volume-1"]
    # Until its lease has run out.
    time.sleep(1.2)


def test_a_copy_that_was_made_is_told_again(plan, volumes):
    cut_off_once_published(plan, volumes, ["file:///a"])
    made = make(volumes, ["file:///a"])
    assert (made.method, made.location) == ("copy", "")
    assert [verdict.location for verdict in made.passed_over] == ["file:///a"]
    assert read(volumes) == DATA.ljust(SIZE, b"\0")
    volumes.delete("volume-1")


def test_what_is_secret_in_a_location_is_not_written_in_the_cluster(plan, cluster, volumes):
    location = "s3://access:SECRET@s3.example/bucket/key"
    cut_off_once_published(plan, volumes, [location])
    (state,) = (pool for pool in cluster._cluster._state.pools.values() if pool.images)
    written = [volumes._pool.read_object(key) for key in state.objects]
    assert any(b"copy" in journal for journal in written)
    assert not [journal for journal in written if b"SECRET" in journal]
    made = make(volumes, [location])
    assert [verdict.location for verdict in made.passed_over] == [location]
    volumes.delete("volume-1")


def test_a_copy_of_another_image_is_not(plan, volumes):
    cut_off_once_published(plan, volumes)
    with pytest.raises(exceptions.Duplicate, match="made of another image"):
        make(volumes, [], DATA[:-1])
    with pytest.raises(exceptions.Duplicate, match="the name is taken"):
        make(volumes, ["file:///a"])
    assert read(volumes) == DATA.ljust(SIZE, b"\0")
    volumes.delete("volume-1")


def test_a_clone_that_was_made_is_told_again(plan, volumes, image):
    cut_off_once_published(plan, volumes, ["file:///a", image.uri])
    made = make(volumes, ["file:///a", image.uri])
    assert (made.method, made.location) == ("clone", image.uri)
    assert [verdict.location for verdict in made.passed_over] == ["file:///a"]
    volumes.delete("volume-1")


def test_an_image_that_goes_while_it_is_cloned_is_passed_over(plan, volumes, image):
    at = number(plan, volumes, "Pool.clone", [image.uri])
    for after in (False, True):
        plan.fail(at, exceptions.Vanished("it has gone"), after=after)
        made = make(volumes, [image.uri])
        plan.stop()
        assert (made.method, made.parent) == ("copy", None)
        assert [verdict.reason for verdict in made.passed_over] == ["it has gone"]
        assert volumes._pool.list_images() == ["volume-1"]
        assert read(volumes) == DATA.ljust(SIZE, b"\0")
        volumes.delete("volume-1")


def test_a_cluster_that_does_not_answer_is_no_reason_to_copy(plan, volumes, image):
    at = number(plan, volumes, "Pool.clone", [image.uri])
    plan.fail(at, exceptions.Timeout("injected"))
    with pytest.raises(exceptions.Timeout):
        make(volumes, [image.uri])
    plan.stop()
    assert volumes._pool.list_images() == []
