# SPDX-License-Identifier: Apache-2.0
"""Processes that each carry out some operations and may be killed meanwhile.

::

    with worker.Worker(sandbox, [("volumes.clone", ("volume-1", uri))]) as process:
        process.begin()
        time.sleep(0.05)
        process.kill()
        assert process.outcomes() is None

As a process of one's own, it has nothing of the test's connections and leases.
"""

import concurrent.futures
import multiprocessing
import operator
import time

import rbdstore
from rbdstore import store
from rbdstore.testing import faults

# Its processes are forked, quickly, from one that has imported everything and connected nothing.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["rbdstore.drivers.rbd.driver", "rbdstore.testing.faults"])

_LIMIT = 60

# Among the arguments: the images of the same user, in the pool ``images``.
IMAGES = "<images>"


class Worker:
    """Such a process, ready to begin.

    :param operations: verbs and their arguments, carried out side by side
    :param kill_at: a call of the driver and how far into it, as for :meth:`faults.Plan.kill`
    :param options: of the backend
    """

    def __init__(self, sandbox, operations, *, kill_at=None, **options):
        self._pipe, theirs = _context.Pipe()
        options = {"rbd_ceph_conf": sandbox.conf_path, **options}
        self._process = _context.Process(
            target=_serve, args=(theirs, operations, kill_at, options), daemon=True
        )
        self._process.start()
        theirs.close()

    def wait_ready(self):
        self._receive()

    def begin(self):
        self._pipe.send(None)

    def kill(self):
        """End it as SIGKILL does, if it has not ended by then."""
        self._process.kill()
        self._process.join()

    def outcomes(self):
        """What each operation returned or raised, how long they took, and how many calls.

        None: it was killed.
        """
        try:
            return self._receive()
        except (EOFError, ConnectionResetError):
            return None
        finally:
            self._process.join()

    def _receive(self):
        assert self._pipe.poll(_LIMIT), "the process neither ends nor answers"
        return self._pipe.recv()

    def __enter__(self):
        self.wait_ready()
        return self

    def __exit__(self, *_error):
        self.kill()


def _serve(pipe, operations, kill_at, options):
    plan = faults.Plan()
    with rbdstore.connect("rbd", **options) as plain:
        stores = store.Store(faults.FaultyCluster(plain._cluster, plan), plain._settings)
        images = rbdstore.connect("rbd", **{**options, "rbd_pool": "images"})
        verbs = [
            (operator.attrgetter(verb)(stores), [_argument(each, images) for each in args])
            for verb, args in operations
        ]
        pipe.send("ready")
        pipe.recv()
        if kill_at is None:
            plan.watch()
        else:
            plan.kill(kill_at[0], later=kill_at[1])
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(len(verbs)) as pool:
            outcomes = list(pool.map(_outcome, verbs))
        pipe.send((outcomes, time.monotonic() - begun, plan.stop()))
        images.close()


def _argument(value, images):
    return images.images if value == IMAGES else value


def _outcome(verb):
    function, args = verb
    try:
        return "ok", function(*args)
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        return type(error).__name__, "; ".join([str(error), *notes])
