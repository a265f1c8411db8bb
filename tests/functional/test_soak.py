# SPDX-License-Identifier: Apache-2.0
"""Eight processes that do everything at random on one cluster, and are killed at random.

Each has names of its own and knows what is there (:mod:`killing`): whatever it was told is done is
there after each kill, to the byte, and what it was at can be repeated. All of them clone from one
image, and race for a few names that are everybody's; and all the time somebody collects what is
left. In the end all is deleted and collected once, and nothing is left, down to RADOS objects.

A minute of it, always from the same dice; with ``RBDSTORE_SOAK=1`` in the environment twenty.
"""

import collections
import concurrent.futures
import contextlib
import functools
import os
import random
import threading
import time

import crowd
import killable
import killing
import pools
import pytest
import stores

import rbdstore
from rbdstore import exceptions
from rbdstore.testing.sandbox import CephSandbox

SOAK = bool(os.environ.get("RBDSTORE_SOAK"))
SECONDS = float(os.environ.get("RBDSTORE_SOAK_SECONDS", "1200" if SOAK else "45"))
PROCESSES = 8
DEPTH = 2
LEASE_SECONDS = 5
# What is said of a name that somebody else has the lease on.
AT_WORK = "is at work on it"
# How long each lives; nobody gets through with so many operations in that time.
LONGEST = 3.0
OPERATIONS = 60
# For how long somebody may be at work on a name.
LONGEST_WAIT = 30
# Seconds between two collections.
COLLECT_EVERY = 2
# So often everything of one's own is deleted, and so many of a hundred operations are races.
ROUND = 5
RACES = 15

COMMON = {"common": random.Random("common").randbytes(killing.LARGEST)}
SHARED_VOLUMES = ["shared-1", "shared-2", "shared-3"]
SHARED_IMAGES = ["shared-image-1", "shared-image-2"]

# What is done with names that are everybody's, and what crowd.RACES calls it.
VERBS = {
    "create": "create",
    "extend": "extend",
    "rename": "rename",
    "delete": "delete",
    "flatten": "flatten",
    "create_snapshot": "snapshot",
    "delete_snapshot": "delete_snapshot",
    "revert": "revert",
    "clone": "clone_image",
    "create_from_snapshot": "clone_snapshot",
    "create_cloned_volumes": "clone_volume",
    "add_image": "upload",
    "delete_image": "delete_image",
}
# What a process that was killed has open, or is at work on, for a while; and a name that one
# clones to may be everybody's as well.
ALWAYS = {"InUse", "Duplicate"}


class OnCeph(killable.Opened):
    """A cluster as ``killable.Worker`` works on it."""

    def __init__(self, conf_path, depth):
        self._options = {
            "rbd_ceph_conf": conf_path,
            "rbd_lease_seconds": LEASE_SECONDS,
            "rbd_max_clone_depth": depth,
        }
        super().__init__(lambda pool: rbdstore.connect("rbd", rbd_pool=pool, **self._options))
        self._at_once = {verb: getattr(self, verb) for verb in killing.VERBS}
        for verb, do in self._at_once.items():
            setattr(self, verb, functools.partial(self._patiently, do))

    def _patiently(self, do, *arguments):
        """Somebody may be collecting what is left of a name, and no verb waits long for that."""
        ends = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                return do(*arguments)
            except (exceptions.InUse, exceptions.Duplicate) as error:
                if AT_WORK not in str(error) or time.monotonic() > ends:
                    raise
            time.sleep(0.1)

    def race(self, verb, *arguments):
        """Do something with a name that is everybody's: it ends as :mod:`crowd` says it may."""
        try:
            self._at_once[verb](*arguments)
        except exceptions.RbdStoreError as error:
            if type(error).__name__ not in {*crowd.RACES[VERBS[verb]], *ALWAYS}:
                raise


class Life(killing.Life):
    """One of them, which now and then takes part in a race."""

    def __init__(self, number):
        self.lots = random.Random(f"lots {number}")
        super().__init__(random.Random(number), DEPTH, name=f"{number}-", common=COMMON)
        self._racer = killing.Life(self.lots, DEPTH)
        self._racer.volumes, self._racer.images = SHARED_VOLUMES, SHARED_IMAGES

    def some_operations(self, count):
        found = []
        for operation in super().some_operations(count):
            while self.lots.randrange(100) < RACES:
                verb = self.lots.choice(sorted(VERBS))
                found.append(("race", (verb, *killing.VERBS[verb](self._racer))))
            found.append(operation)
        return found

    def live(self, opening, opened, ends, stop):
        """Be killed again and again; return what it was at each time."""
        cut_off = collections.Counter()
        for turn in range(1, 1_000_000):
            operations = self.some_operations(OPERATIONS)
            with killable.Worker(opening, operations) as worker:
                time.sleep(self.lots.uniform(0, LONGEST))
                done, error = worker.kill()
            # Who got no time to run for as long as a lease lasts is as good as killed.
            held_up = error is not None and "LeaseLost(" in error
            assert error is None or held_up, error
            # Nobody who makes an image waits for another's lease.
            time.sleep(LEASE_SECONDS)
            at = self.look_after(opened, operations, done)
            cut_off["its own lease's end" if held_up else at] += 1
            if turn % ROUND == 0:
                self.delete_all(opened)
            if stop.is_set() or time.monotonic() > ends:
                self.delete_all(opened)
                return cut_off
        raise AssertionError("it never ends")

    def look_after(self, opened, operations, done):
        # Of a race nobody knows how it ends.
        own = [each for each in operations[:done] if each[0] != "race"]
        at = operations[done:][:1]
        if at and at[0][0] == "race":
            super().look_after(opened, own, len(own))
            return "race"
        return super().look_after(opened, [*own, *at], len(own))


@pytest.fixture(scope="module")
def cluster():
    with CephSandbox(client_watch_timeout=5, pools=["images", "volumes"]) as running:
        yield running


@pytest.mark.timeout(SECONDS + 600)
def test_nothing_is_lost_and_nothing_is_left(cluster):
    opening = functools.partial(OnCeph, cluster.conf_path, DEPTH)
    ends, stop = time.monotonic() + SECONDS, threading.Event()
    with contextlib.closing(opening()) as opened, stores.foreign(cluster) as raw:
        for name, data in COMMON.items():
            opened.add_image(name, data, None)

        def live(number):
            try:
                return Life(number).live(opening, opened, ends, stop)
            except BaseException:
                stop.set()
                raise

        quiet = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(PROCESSES + 1) as threads:
            collecting = threads.submit(collect, opened, quiet)
            try:
                cut_off = sum(threads.map(live, range(PROCESSES)), collections.Counter())
            finally:
                quiet.set()
        print(
            f"{cut_off.total()} kills in {SECONDS:.0f} s, {collecting.result()} collections;"
            f" killed in the middle of {dict(cut_off)}"
        )
        clear(opened)
        opened.collect()
        pools.assert_empty(raw.client, ["images", "volumes"])


def collect(opened, quiet):
    """Collect what is left, beside everything else; return how often."""
    for count in range(1_000_000):
        if quiet.wait(COLLECT_EVERY):
            return count
        opened.collect()
    raise AssertionError("it never ends")


def clear(opened):
    """Delete what is everybody's, there or not."""
    for name in SHARED_VOLUMES:
        for snapshot in "st":
            opened.delete_snapshot(name, snapshot)
        opened.delete(name)
    for name in [*SHARED_IMAGES, *COMMON]:
        with contextlib.suppress(exceptions.ImageNotFound):
            opened.delete_image(name, "defer")
