# SPDX-License-Identifier: Apache-2.0
"""OSDs that are killed in the middle of an operation, and a monitor that is frozen.

Three OSDs keep each object twice: while one is away, and when it comes back, what is under way
goes on, and every byte is right after. Without its monitor the cluster does not answer some
questions; then an error comes within the limit that was set. Nothing of all that stays behind in
this process.

A few rounds are run, always the same, and ten times as many with ``RBDSTORE_SOAK=1`` in the
environment.
"""

import concurrent.futures
import contextlib
import os
import random
import threading
import time

import psutil
import pytest
import racers
import samples
from samples import MiB

import rbdstore
from rbdstore import exceptions
from rbdstore.testing.sandbox import CephSandbox

ROUNDS = 60 if os.environ.get("RBDSTORE_SOAK") else 6
FROZEN_ROUNDS = 40 if os.environ.get("RBDSTORE_SOAK") else 4

SIZE = 32 * MiB
# How long the monitor may leave something unanswered, and how much later the error may come.
LIMIT, GRACE = 3, 2
# An operation goes on within this time, once the OSDs are all there.
PATIENCE = 120

# What three OSDs need of memory, as little as they take.
SMALL = {
    "bluestore block size": 2 << 30,
    "bluestore cache autotune": "false",
    "bluestore cache size": 64 * MiB,
    "osd memory target": 896 * MiB,
}


@pytest.fixture(scope="module")
def cluster():
    with CephSandbox(
        osds=3, pool_size=2, objectstore="bluestore", pools=["images", "volumes"], settings=SMALL
    ) as running:
        yield running


class Stores:
    """The stores of a round, with connections of their own."""

    def __init__(self, cluster, **options):
        self._open = contextlib.ExitStack()
        self.images, self.volumes = (
            self._open.enter_context(
                rbdstore.connect(
                    "rbd",
                    rbd_ceph_conf=cluster.conf_path,
                    rbd_pool=pool,
                    rbd_store_chunk_size=1,
                    **options,
                )
            )
            for pool in ("images", "volumes")
        )

    def read(self, name):
        with self.volumes.volumes._pool.open(name) as image:
            return image.read(0, image.size())

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._open.close()


class Middle:
    """Where an operation waits until the OSD has been killed."""

    def __init__(self):
        self.reached = threading.Event()
        self.passed = threading.Event()

    def __call__(self, done, total):
        if 2 * done >= total:
            self.reached.set()
            self.passed.wait(PATIENCE)

    def of(self, pieces):
        """Hand on pieces of a body, and wait after half of it."""
        done = 0
        for piece in pieces:
            yield piece
            done += len(piece)
            self(done, SIZE)


# Each is carried out on stores that have the image ``image``, and gives bytes that must be its.


def upload(stores, middle):
    body = middle.of(samples.pieces(samples.pattern("image", SIZE), MiB))
    uri = stores.images.images.add("uploaded", body, SIZE).uri
    yield b"".join(stores.images.images.get(uri))
    stores.images.images.delete(uri)


def upload_of_unknown_size(stores, middle):
    body = middle.of(samples.pieces(samples.pattern("image", SIZE), MiB))
    uri = stores.images.images.add("uploaded", body).uri
    yield b"".join(stores.images.images.get(uri))
    stores.images.images.delete(uri)


def download(stores, middle):
    yield b"".join(middle.of(stores.images.images.get("rbd://image")))


def flatten(stores, middle):
    stores.volumes.volumes.clone("volume", stores.images.images._uri("image"))
    stores.volumes.volumes.flatten("volume", progress=middle)
    assert stores.volumes.volumes.get("volume").parent is None
    yield stores.read("volume")
    stores.volumes.volumes.delete("volume")


OPERATIONS = [upload, download, flatten, upload_of_unknown_size]


@pytest.fixture(scope="module")
def image(cluster):
    """The bytes of ``image``, which is there for as long as the cluster."""
    data = samples.pattern("image", SIZE)
    with Stores(cluster) as stores:
        stores.images.images.add("image", data)
    return data


@pytest.fixture
def nothing_leaks(cluster, image):
    """See that this process has neither more threads nor more descriptors after than before."""

    def held():
        return process.num_threads(), process.num_fds()

    process = psutil.Process()
    with Stores(cluster) as stores:
        # What is made at the first use, and stays.
        b"".join(stores.images.images.get("rbd://image"))
    before = held()
    yield
    # Whoever waits for a cluster that does not answer ends when that does.
    racers.until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


@pytest.mark.timeout(120 * ROUNDS)
def test_an_osd_is_killed_in_the_middle(cluster, image, nothing_leaks):
    dice = random.Random("osds")
    for number in range(ROUNDS):
        operation, osd = OPERATIONS[number % len(OPERATIONS)], f"osd.{dice.randrange(3)}"
        begun = time.monotonic()
        with (
            concurrent.futures.ThreadPoolExecutor(1) as thread,
            Stores(cluster) as stores,
            contextlib.closing(operation(stores, middle := Middle())) as steps,
        ):
            data = thread.submit(next, steps)
            try:
                assert middle.reached.wait(PATIENCE)
                cluster.kill_daemon(osd)
            finally:
                middle.passed.set()
            time.sleep(dice.choice([0, 0.5, 2]))
            cluster.start_daemon(osd)
            assert data.result(PATIENCE) == image, f"{operation.__name__}, {osd}"
            for _ in steps:
                raise AssertionError("one reads once")
            cluster.wait_ready(PATIENCE)
            assert b"".join(stores.images.images.get("rbd://image")) == image
        print(f"{operation.__name__}, {osd}: {time.monotonic() - begun:.1f} s")


class Stalls:
    """How long this machine did not let a thread run that wanted to, in all."""

    def __init__(self):
        self.seconds = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        begun = time.monotonic()
        while not self._end.wait(0.05):
            now = time.monotonic()
            self.seconds += max(0.0, now - begun - 0.1)
            begun = now

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._end.set()
        self._thread.join()


def ask_the_monitor(stores):
    with pytest.raises(exceptions.Timeout):
        stores.volumes.volumes.stats()


def connect(stores):
    with pytest.raises(exceptions.Unreachable):
        stores.volumes.volumes.list()


@pytest.mark.timeout(120 * FROZEN_ROUNDS)
def test_a_frozen_monitor_is_told_within_the_limit(cluster, image, nothing_leaks):
    limits = {
        "rbd_operation_timeout": LIMIT,
        "rados_connect_timeout": LIMIT,
        "rados_connection_retries": 1,
    }
    for number in range(FROZEN_ROUNDS):
        with Stores(cluster, **limits) as stores:
            question = [ask_the_monitor, connect][number % 2]
            if question is ask_the_monitor:
                stores.volumes.volumes.list()
            cluster.pause_daemon("mon.a")
            try:
                begun = time.monotonic()
                with Stalls() as stalls:
                    question(stores)
                took = time.monotonic() - begun
            finally:
                cluster.resume_daemon("mon.a")
            print(f"{question.__name__}: {took:.1f} s, of which stalled {stalls.seconds:.1f}")
            assert took < LIMIT + GRACE + stalls.seconds
            # The same stores work again.
            racers.until(lambda: answers(stores))
            assert b"".join(stores.images.images.get("rbd://image")) == image
        cluster.wait_ready(PATIENCE)


def answers(stores):
    with contextlib.suppress(exceptions.Timeout, exceptions.Unreachable):
        stores.volumes.volumes.stats()
        return True
    return False
