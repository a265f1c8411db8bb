# SPDX-License-Identifier: Apache-2.0
"""Where the operations of :mod:`faultcases` are carried out, and how they go undisturbed.

A *place* gives a :class:`faultcases.World` in which there is nothing, and sees that nothing is in
it at the end.
"""

import contextlib
import dataclasses
import os
import queue

import faultcases
import memory
import pools
import racers
import stores

from rbdstore import exceptions
from rbdstore.testing.sandbox import CephSandbox

LEASE_SECONDS = 3
# Where nobody dies, on a machine that may be busy.
LONG_LEASE = {"lease_seconds": 60}


class OldMemoryCluster(memory.driver.MemoryCluster):
    clone_format = 1


class MemoryPlace:
    """Clusters in memory, a new one for each round."""

    # Nearly all that they do is wait for leases to run out.
    workers = 64
    sampled = False

    @contextlib.contextmanager
    def world(self, clone_format, options):
        cluster = memory.memory_cluster(pools=["images", "volumes"])
        if clone_format == 1:
            cluster = OldMemoryCluster(cluster._state, cluster.features)
        options = {"lease_seconds": LEASE_SECONDS, **options}
        yield faultcases.World(cluster, ("images", "volumes"), **options)
        for pool in cluster._state.pools.values():
            left = [*pool.images, *pool.objects]
            assert not left, f"left in {pool.name}: {left}"


class RbdPlace:
    """A real cluster, with two pools for each of those who work at once."""

    sampled = not os.environ.get("RBDSTORE_ALL_FAULTS")

    def __init__(self, sandbox, client, workers):
        self.conf_path = sandbox.conf_path
        self.workers = workers
        self._client = client
        self._clusters = {
            clone_format: stores.store(
                sandbox, "admin", "images-0", rbd_clone_format=str(clone_format)
            )._cluster
            for clone_format in (1, 2)
        }
        self._free = queue.SimpleQueue()
        for number in range(workers):
            self._free.put((f"images-{number}", f"volumes-{number}"))

    @contextlib.contextmanager
    def world(self, clone_format, options):
        names = self._free.get()
        try:
            options = {"lease_seconds": LEASE_SECONDS, **options}
            yield faultcases.World(self._clusters[clone_format], names, **options)
            # Managers drop the task of an image that is gone when they come to it.
            racers.until(lambda: not any(map(self._has_tasks, names)))
            pools.assert_empty(self._client, names)
        finally:
            # So that one failure is one failure.
            for name in names:
                pools.clear(self._client, name)
            self._free.put(names)

    def _has_tasks(self, name):
        return any(left.startswith("rbd_task") for left in pools.leftovers(self._client, name))


@contextlib.contextmanager
def rbd_place(workers):
    """Start a real cluster in which a killed client is forgotten after two seconds."""
    names = [f"{kind}-{number}" for kind in ("images", "volumes") for number in range(workers)]
    with CephSandbox(client_watch_timeout=2, pools=names) as running, stores.foreign(running) as r:
        yield RbdPlace(running, r.client, workers)


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong.

    :ivar after: the call was done
    :ivar lasting: all calls that follow fail as well
    """

    n: int
    error: type[BaseException]
    after: bool = False
    lasting: bool = False

    def __str__(self):
        where = "after" if self.after else "from" if self.lasting else "instead of"
        return f"{self.error.__name__} {where} call {self.n}"


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """How an operation goes when nothing goes wrong."""

    case: faultcases.Case
    clone_format: int
    calls: tuple[str, ...]
    before: dict
    after: dict
    parents_after: set

    def every(self, error, **how):
        """A fault at each of the calls."""
        return [(self, Fault(n, error, **how)) for n in range(1, len(self.calls) + 1)]

    def timeouts(self):
        return self.every(exceptions.Timeout) + self.every(exceptions.Timeout, after=True)


def rehearse(case, clone_format=2, place=None):
    """See how an operation goes: by default in memory, because it goes the same way everywhere."""
    options = {**case.options, **LONG_LEASE}
    with (place or MemoryPlace()).world(clone_format, options) as world:
        case.prepare(world)
        before = world.observe()
        world.plan.watch()
        case.act(world)
        calls = world.plan.stop()
        found = Rehearsal(case, clone_format, calls, before, world.observe(), world.parents())
        world.delete_everything()
    return found
