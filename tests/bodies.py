# SPDX-License-Identifier: Apache-2.0
"""Every kind of body that an image may come from, for tests: ``with bodies.of(kind, data)``."""

import contextlib
import io
import mmap
import random
import socket
import tempfile
import threading

OBJECT = 4096


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def cut(data, seed):
    """``data`` in pieces of all lengths, some of them empty."""
    chance = random.Random(seed)
    while data:
        length = chance.choice([0, 1, chance.randrange(OBJECT), OBJECT, chance.randrange(20_000)])
        yield data[:length]
        data = data[length:]


class Dribble:
    """A reader that gives what it likes, as sockets do, but never more than is asked for."""

    def __init__(self, data, seed=0):
        self._file = io.BytesIO(data)
        self._chance = random.Random(seed)

    def read(self, size):
        return self._file.read(self._chance.randint(1, size))


class Generous:
    """A reader that takes no notice of how much is asked for."""

    def __init__(self, data):
        self._parts = cut(data, 3)

    def read(self, _size):
        return next((part for part in self._parts if part), b"")


class Views:
    """A reader that gives views, as one that reads into a buffer of its own."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, size):
        return memoryview(self._file.read(size))


@contextlib.contextmanager
def sent(data):
    """``data`` as it comes out of a socket."""
    near, far = socket.socketpair()
    with near, far.makefile("rb") as body:

        def send():
            near.sendall(data)
            near.close()

        sender = threading.Thread(target=send)
        sender.start()
        yield body
        sender.join()
    far.close()


@contextlib.contextmanager
def stored(data):
    """``data`` in a file."""
    with tempfile.TemporaryFile() as body:
        body.write(data)
        body.seek(0)
        yield body


@contextlib.contextmanager
def mapped(data):
    """``data`` in a mapped file, which cannot be empty."""
    if not data:
        yield b""
        return
    with stored(data) as file, mmap.mmap(file.fileno(), 0) as body:
        yield body


KINDS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "BytesIO": io.BytesIO,
    "buffered reader": lambda data: io.BufferedReader(io.BytesIO(data)),
    "file": stored,
    "mapped file": mapped,
    "socket": sent,
    "dribbling reader": Dribble,
    "generous reader": Generous,
    "reader of views": Views,
    "list": lambda data: list(cut(data, 1)),
    "tuple of one": lambda data: (data,),
    "generator": lambda data: cut(data, 2),
    "bytearrays": lambda data: map(bytearray, cut(data, 4)),
    "views": lambda data: map(memoryview, cut(data, 5)),
    "single bytes": lambda data: (data[i : i + 1] for i in range(len(data))),
}


@contextlib.contextmanager
def of(kind, data):
    made = KINDS[kind](data)
    with made if kind in ("file", "mapped file", "socket") else contextlib.nullcontext(made) as it:
        yield it


class Broken:
    """A reader that fails after ``data``."""

    def __init__(self, data, error):
        self._data = data
        self._error = error

    def read(self, size):
        if not self._data:
            raise self._error
        part, self._data = self._data[:size], self._data[size:]
        return part


def breaks_off(data, error):
    """The same as a generator."""
    yield data
    raise error
