# SPDX-License-Identifier: Apache-2.0
"""An image whose reads and writes are in flight until a test lets them land, or fail."""

import contextlib
import queue
import random
import threading

import memory  # noqa: F401 (it finds the example driver)
from bodies import OBJECT
from rbdstore_memory.image import MemoryImage

from rbdstore import completions, transfer

WINDOW = 4 * OBJECT


class BrokenError(Exception):
    """What breaks in these tests."""


class Flight(completions.Completion):
    """An operation that another thread carries out."""

    def __init__(self, operation, done):
        self._operation = operation
        self._done = done
        self._landed = threading.Event()
        self._outcome = None
        self.error = None

    def land(self):
        """Carry it out; called by a thread of the airport's."""
        try:
            if self.error is not None:
                raise self.error
            self._outcome = self._operation()
        except Exception as error:
            self.error = error
        # With it goes the driver's copy of the data.
        self._operation = None
        if self._done is not None:
            self._done()
        self._landed.set()

    def wait(self):
        self._landed.wait()

    def result(self):
        self.wait()
        if self.error is not None:
            raise self.error
        return self._outcome


class Airport:
    """Lands what is in flight, in any order, by threads of its own.

    :ivar open: nothing lands while it is not set
    :ivar begun: each operation's kind, offset and length, in the order in which they were begun
    :ivar most: the most bytes that were in flight at once
    """

    def __init__(self, seed=0, threads=3):
        self.open = threading.Event()
        self.open.set()
        self.begun = []
        self.most = 0
        self._fail_at = {}
        self._in_flight = 0
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._waiting = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def fail(self, number, error):
        """Let the operation of that number, from 0, land with an error."""
        self._fail_at[number] = error

    @property
    def in_flight(self):
        """How many bytes are."""
        with self._lock:
            return self._in_flight

    def take_off(self, kind, offset, length, operation, done=None):
        flight = Flight(operation, done)
        with self._lock:
            flight.error = self._fail_at.get(len(self.begun))
            self.begun.append((kind, offset, length))
            self._in_flight += length
            self.most = max(self.most, self._in_flight)
        self._waiting.put((flight, length))
        return flight

    def _work(self):
        while (job := self._waiting.get()) is not None:
            flight, length = job
            self.open.wait()
            with self._lock:
                later = self._random.random() < 0.3
            if later and not self._waiting.empty():
                # Others may overtake it.
                self._waiting.put(job)
                continue
            with self._lock:
                self._in_flight -= length
            flight.land()

    def close(self):
        self.open.set()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()


class FlyingImage(MemoryImage):
    """Give it an ``airport`` before it is used."""

    airport = None
    cheap_extents = True

    def aio_read(self, offset, length):
        return self.airport.take_off("read", offset, length, lambda: self.read(offset, length))

    def aio_write(self, offset, data, done=None):
        copy = bytes(data)
        return self.airport.take_off(
            "write", offset, len(copy), lambda: self.write(offset, copy), done
        )

    def fast_diff(self):
        return self.cheap_extents


@contextlib.contextmanager
def opened(pool, airport, name="image"):
    with FlyingImage(pool, pool.live(name), read_only=False) as image:
        image.airport = airport
        yield image


def new_image(pool, airport, size=0):
    pool.create("image", size, order=12)
    return opened(pool, airport)


def fill(image, body, size=None, progress=None, **tuning):
    return transfer.fill(image, body, size, "sha512", progress, **{"window": WINDOW} | tuning)


def content(image):
    return image.read(0, image.size())


class Counted:
    """A body that tells how much of it was read.

    :param size: None: it has no end
    :param most: how much it gives at a time
    """

    def __init__(self, byte=b"x", size=None, most=OBJECT):
        self.given = 0
        self._byte = byte
        self._size = size
        self._most = most

    def read(self, size):
        size = min(size, self._most)
        if self._size is not None:
            size = min(size, self._size - self.given)
        self.given += size
        return self._byte * size
