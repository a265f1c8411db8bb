# SPDX-License-Identifier: Apache-2.0
"""A process that does what it is told in a cluster, says so each time, and may be killed.

::

    opening = functools.partial(killable.Directory, folder, 2)
    with killable.Worker(opening, [("create", ("a", 1 << 20)), ("flatten", ("b",))]) as worker:
        time.sleep(0.01)
        done, error = worker.kill()
"""

import contextlib
import multiprocessing

from rbdstore import driver, settings, spec
from rbdstore.drivers.file.driver import FileDriver
from rbdstore.store import Store

OBJECT_SIZE = 64 * 1024

# Its processes are forked, quickly, from one that has imported everything and opened nothing.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["rbdstore.drivers.file.driver", "rbdstore.drivers.rbd.driver", "rbdstore.store"]
)

_LIMIT = 60


class Opened:
    """Stores over the pools ``images`` and ``volumes``, with the verbs of :class:`model.Model`."""

    def __init__(self, open_store):
        """``open_store`` gives a store over the pool of a name."""
        self._open = contextlib.ExitStack()
        self._stores = [
            self._open.enter_context(open_store(pool)) for pool in ("images", "volumes")
        ]
        self._images, self._volumes = self._stores[0].images, self._stores[1].volumes
        for verb in ("create", "delete", "extend", "flatten", "rename"):
            setattr(self, verb, getattr(self._volumes, verb))
        self.create_snapshot = self._volumes.create_snapshot
        self.delete_snapshot = self._volumes.delete_snapshot
        self.create_from_snapshot = self._volumes.create_from_snapshot
        self.create_cloned_volumes = self._volumes.create_cloned_volumes
        self.revert = self._volumes.revert_to_snapshot
        self.add_image = self._images.add

    def close(self):
        self._open.close()

    def write(self, name, offset, data):
        with self._volumes._pool.open(name, read_only=False) as image:
            image.write(offset, data)
            image.flush()

    def clone(self, name, image, size):
        self._volumes.clone(name, self._images._uri(image), size)

    def delete_image(self, name, in_use):
        self._images.delete(self._images._uri(name), in_use=in_use)

    def collect(self):
        """Reclaim what was left, in one pass over each pool."""
        for store in reversed(self._stores):
            store.gc(apply=True)

    # Looking

    def volumes(self):
        return {volume.name for volume in self._volumes.list()}

    def images(self):
        return {spec.Location.parse(image.uri).image for image in self._images.list()}

    def read_image(self, name):
        return b"".join(self._images.get(self._images._uri(name)))

    def read(self, name):
        """What a volume holds, and each of its snapshots."""
        volume = self._volumes.get(name)
        with self._volumes._pool.open(name) as image:
            data = image.read(0, volume.size)
            snapshots = {}
            for snapshot in volume.snapshots:
                image.set_snap(driver.find_snap(image, snapshot).id)
                snapshots[snapshot] = image.read(0, image.size())
        return data, volume.depth, snapshots


class Directory(Opened):
    """A data directory of the embedded driver."""

    def __init__(self, folder, depth):
        self._folder = folder
        self._depth = depth
        super().__init__(self._store)
        self.cluster = self._volumes._pool.cluster

    def _store(self, pool):
        return Store(
            FileDriver().open({"file_store_datadir": str(self._folder)}),
            settings.Settings(
                pool=pool, chunk_size=OBJECT_SIZE, lease_seconds=60, max_clone_depth=self._depth
            ),
        )

    def end_leases(self):
        """Have the time of a dead process's leases be over."""
        with self.cluster.data.database.writing() as tx:
            tx.execute("UPDATE objects SET until = 0")


class Worker:
    """Such a process, at work on a list of verbs with their arguments, one after the other."""

    def __init__(self, opening, operations):
        """``opening`` gives an :class:`Opened` there."""
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(
            target=_serve, args=(theirs, opening, operations), daemon=True
        )
        self._process.start()
        theirs.close()

    def kill(self):
        """Kill it; return how many operations it said were done, and what went wrong."""
        self._process.kill()
        self._process.join(_LIMIT)
        done = 0
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                said = self._pipe.recv()
                if said is not None:
                    return done, said
                done += 1
        return done, None

    def __enter__(self):
        try:
            assert self._pipe.poll(_LIMIT), "it does not begin"
            assert self._pipe.recv() == "ready"
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_error):
        self._process.kill()
        self._process.join(_LIMIT)
        self._pipe.close()


def _serve(pipe, opening, operations):
    with contextlib.closing(opening()) as opened:
        pipe.send("ready")
        for verb, arguments in operations:
            try:
                getattr(opened, verb)(*arguments)
            except Exception as error:
                pipe.send(f"{verb}: {error!r}")
                raise
            pipe.send(None)
        # Not to end by itself.
        pipe.recv()
