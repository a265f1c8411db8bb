# SPDX-License-Identifier: Apache-2.0
"""A pool whose quota is reached, and OSDs that are full: told at once, and deleting mends it.

librados would wait for room for ever; nothing here may take longer than the limit of one request.
"""

import contextlib
import time

import filling
import pools
import pytest
import rados
import samples
import stores

from rbdstore import exceptions
from rbdstore.drivers.rbd.driver import RbdDriver
from rbdstore.testing.sandbox import CephSandbox

MiB = samples.MiB
DATA = samples.pattern("full", MiB)


@pytest.fixture(scope="module")
def sandbox():
    # The monitor looks at the pools' quotas at each tick.
    with CephSandbox(settings={"mon tick interval": 1}) as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(sandbox):
    yield
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
        try:
            pools.assert_empty(client)
        finally:
            for pool in client.list_pools():
                pools.clear(client, pool)


@pytest.fixture
def raw(sandbox):
    with stores.foreign(sandbox) as client:
        yield client


@pytest.fixture
def fill(sandbox):
    """Makes pools full, or the OSDs, whatever is in them; they are not at the end."""
    with contextlib.ExitStack() as stack:

        def make_full(pool=None):
            if pool is None:
                stack.callback(filling.free_osds, sandbox)
                filling.fill_osds(sandbox)
            else:
                stack.callback(filling.lift_quota, sandbox, pool)
                filling.reach_quota(sandbox, pool)

        yield make_full


@contextlib.contextmanager
def refused():
    """See that it is refused, long before the limit of a request to the cluster (300 s)."""
    began = time.monotonic()
    with pytest.raises(exceptions.StorageFull, match=r"quota|full"):
        yield
    assert time.monotonic() - began < 2 * filling.SEEN_SECONDS


def full_after(fill, pool, steps=2):
    """A ``progress`` that makes the pool full, once, on its way."""
    calls = []

    def progress(_done, _total):
        calls.append(None)
        if len(calls) == steps:
            fill(pool)

    return progress


def body(fill, pool):
    """Data without an end, in the middle of which the pool is full."""
    for number in range(1000):
        if number == 8:
            fill(pool)
        yield DATA
    raise AssertionError("it is never full")


def maps(raw):
    """Whether the object maps are still of use; without them it takes a look at every object."""
    found = {}
    for pool in ("images", "volumes"):
        for name in raw.images(pool):
            with raw.reader(pool, name) as image:
                found[pool, name] = (image.features(), image.flags())
    return found


@pytest.mark.parametrize("how", ["quota", "osd"])
def test_what_fills_is_refused_and_what_frees_works(sandbox, raw, fill, how):
    """Each verb in a cluster that is full already, with nothing in its trash yet."""
    images = stores.image_store(sandbox)
    volumes = stores.volume_store(sandbox)
    old = stores.volume_store(sandbox, clone_format=1)
    deferring = stores.volume_store(
        sandbox, enable_deferred_deletion=True, deferred_deletion_delay=0
    )
    uri = images.add("image-1", DATA).uri
    deferred_uri = images.add("image-2", DATA).uri
    for name in ("volume-1", "volume-2", "volume-3", "volume-4"):
        volumes.create(name, 4 * MiB)
        raw.write("volumes", name, DATA)
    volumes.create_snapshot("volume-1", "snapshot-1")
    volumes.clone("clone-1", uri)
    volumes.clone("clone-2", deferred_uri)
    volumes.create_cloned_volume("clone-3", "volume-2")
    old.create_cloned_volume("clone-4", "volume-3")
    before, valid = raw.state(), maps(raw)
    if how == "quota":
        fill("images")
        fill("volumes")
    else:
        fill()
    for making in (
        lambda: images.add("image-3", DATA),
        lambda: images.add("image-3", b""),
        lambda: volumes.create("volume-9", MiB),
        lambda: volumes.clone("volume-9", uri),
        lambda: volumes.create_from_image(
            "volume-9", [], MiB, disk_format="raw", open_image=lambda: DATA
        ),
        lambda: volumes.create_from_snapshot("volume-9", "volume-1", "snapshot-1"),
        lambda: volumes.create_cloned_volume("volume-9", "volume-1"),
        lambda: volumes.create_cloned_volumes(["volume-8", "volume-9"], "volume-1"),
        lambda: volumes.copy_to_image("volume-1", images, "image-3"),
        lambda: volumes.create_snapshot("volume-1", "snapshot-2"),
        lambda: volumes.extend("volume-1", 1 << 40),
        lambda: volumes.flatten("clone-1"),
    ):
        with refused():
            making()
        assert raw.state() == before
        assert maps(raw) == valid
    assert b"".join(images.get(uri)) == DATA
    assert raw.read("volumes", "clone-1") == DATA
    # What is there may be written to, named anew and deleted.
    volumes.rename("volume-4", "volume-5")
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete("volume-1")
    volumes.delete("volume-2")
    old.delete("volume-3")
    volumes.delete("clone-3")
    old.delete("clone-4")
    deferring.delete("volume-5")
    images.delete(deferred_uri, in_use="defer")
    volumes.delete("clone-2")
    volumes.delete("clone-1")
    images.delete(uri)
    with stores.store(sandbox, "cinder", "volumes") as store:
        store.purge_deleted()
    with stores.store(sandbox, "glance", "images") as store:
        store.purge_deleted()
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
        pools.assert_empty(client)


def test_the_first_removal_of_a_full_pool(sandbox, raw, fill):
    """Its trash has no index yet, and would be given one."""
    volumes = stores.volume_store(sandbox)
    volumes.create("volume-1", MiB)
    with raw.ioctx("volumes") as ioctx, contextlib.suppress(rados.ObjectNotFound):
        ioctx.remove_object("rbd_trash")
    fill("volumes")
    volumes.delete("volume-1")
    assert raw.images("volumes") == []
    volumes.purge_deleted()


def test_full_in_the_middle_of_an_upload(sandbox, raw, fill):
    images = stores.image_store(sandbox)
    uri = images.add("image-1", DATA).uri
    before = raw.state()
    with refused():
        images.add("image-2", body(fill, "images"))
    assert raw.state() == before
    images.delete(uri)


def test_full_in_the_middle_of_writes_in_flight(sandbox, raw, fill):
    raw.create("volumes", "volume-1", 256 * MiB)
    cluster = RbdDriver().open({"rbd_ceph_conf": sandbox.conf_path, "rbd_user": "cinder"})
    with (
        contextlib.closing(cluster),
        cluster.open_pool("volumes").open("volume-1", read_only=False) as image,
    ):
        image.aio_write(0, DATA).result()
        image.flush()
        fill("volumes")
        flights = [image.aio_write(4 * MiB * number, DATA) for number in range(32)]
        with refused():
            for flight in flights:
                flight.result()
            image.flush()
        assert image.read(0, MiB) == DATA
    stores.volume_store(sandbox).delete("volume-1")


def test_full_in_the_middle_of_a_flatten(sandbox, raw, fill):
    volumes = stores.volume_store(sandbox)
    volumes.create("volume-1", 64 * 4 * MiB)
    with raw.open("volumes", "volume-1") as image:
        for number in range(64):
            image.write(DATA[:4096], number * 4 * MiB)
    volumes.create_cloned_volume("clone-1", "volume-1")
    whole = raw.read("volumes", "volume-1")
    with refused():
        volumes.flatten("clone-1", progress=full_after(fill, "volumes"))
    assert raw.parent("volumes", "clone-1") is not None
    assert raw.read("volumes", "clone-1") == whole
    assert not raw.is_claimed("volumes", "clone-1")
    volumes.delete("clone-1")
    volumes.delete("volume-1")


def test_full_in_the_middle_of_a_copy(sandbox, raw, fill):
    """From a volume to an image, and from an image's data to a volume."""
    images = stores.image_store(sandbox)
    volumes = stores.volume_store(sandbox)
    volumes.create("volume-1", 64 * MiB)
    for number in range(16):
        raw.write("volumes", "volume-1", DATA, number * 4 * MiB)
    before = raw.state()
    with refused():
        volumes.copy_to_image(
            "volume-1", images, "image-1", method="copy", progress=full_after(fill, "images")
        )
    assert raw.state() == before
    with refused():
        volumes.create_from_image(
            "volume-2",
            [],
            64 * MiB,
            disk_format="raw",
            open_image=lambda: DATA * 64,
            progress=full_after(fill, "volumes"),
        )
    assert raw.state() == before
    volumes.delete("volume-1")
