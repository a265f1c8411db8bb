# SPDX-License-Identifier: Apache-2.0
"""Processes with stores of their own, that do things at the same moment.

::

    with racers.running(place, 2) as (one, other):
        outcomes = racers.race((one, "volumes.create", "volume-x", MiB),
                               (other, "volumes.create", "volume-x", MiB))
        assert sorted(outcomes) == ["Duplicate", "ok"]
"""

import contextlib
import dataclasses
import multiprocessing
import operator
import os
import random
import signal
import time
import traceback

import rbdstore
from rbdstore.exceptions import RbdStoreError

# A fork would inherit the test's connections.
_context = multiprocessing.get_context("spawn")
_random = random.Random("racers")

# How far apart the racers may start: an operation takes some ten milliseconds.
_SPREAD = 0.02


@dataclasses.dataclass(frozen=True)
class Stores:
    images: rbdstore.images.ImageStore
    volumes: rbdstore.volumes.VolumeStore


class Racer:
    """One such process. ``do`` is a verb (``volumes.create``) or a function of this shape::

    def function(stores, *args): ...
    """

    def __init__(self, place, **options):
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(
            target=_serve,
            args=(
                theirs,
                place.driver,
                [place.options(pool, **options) for pool in ("images", "volumes")],
            ),
            daemon=True,
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self):
        return self._process.pid

    def begin(self, do, *args, at=0.0):
        """Have it done at a moment of the monotonic clock, which all processes share."""
        self._pipe.send((at, do, args))

    def outcome(self, timeout=90):
        """Wait for the end: ``ok``, or the name of the error of ours that it ended with."""
        assert self._pipe.poll(timeout), "no answer"
        return self._pipe.recv()

    def run(self, do, *args):
        self.begin(do, *args)
        return self.outcome()

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """End it at once, whatever it is at."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._process.join()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(10)
        self.kill()


@contextlib.contextmanager
def running(place, count, **options):
    """Start processes; ``options`` are a backend's, the pool's name apart."""
    with contextlib.ExitStack() as stack:
        found = [
            stack.enter_context(contextlib.closing(Racer(place, **options))) for _ in range(count)
        ]
        for racer in found:
            assert racer.outcome() == "ok"
        yield found


def race(*entries):
    """Do things at nearly the same moment; return each outcome, in order."""
    start = time.monotonic() + 0.01
    for racer, do, *args in entries:
        racer.begin(do, *args, at=start + _random.uniform(0, _SPREAD))
    return [racer.outcome() for racer, *_ in entries]


def until(done, timeout=60):
    """Wait for something that another process brings about."""
    end = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def _serve(pipe, driver, options_of_pools):
    with contextlib.ExitStack() as stack:
        images, volumes = (
            stack.enter_context(rbdstore.connect(driver, **options))
            for options in options_of_pools
        )
        stores = Stores(images.images, volumes.volumes)
        stores.volumes.list()
        pipe.send("ok")
        while (message := pipe.recv()) is not None:
            pipe.send(_done(stores, *message))


def _done(stores, at, do, args):
    time.sleep(max(0.0, at - time.monotonic()))
    try:
        if isinstance(do, str):
            operator.attrgetter(do)(stores)(*args)
        else:
            do(stores, *args)
    except RbdStoreError as error:
        return type(error).__name__
    except Exception:
        return traceback.format_exc()
    return "ok"
