# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads of 1 GiB, beside those of glance_store's rbd driver.

``python bench/transfer.py [add] [get] [--pairs N] [--out FOLDER] [--resume] [--quick]``
"""

import contextlib
import functools
import hashlib
import os
import re
import subprocess
import time

import glance_side
from measuring import ceph, program
from measuring.rounds import LIMIT, Case, seconds

MiB = 1 << 20
PIECE = 8 * MiB


def size_of(given):
    return 64 * MiB if given.quick else 1024 * MiB


def body_of(given, every):
    """A file in which each so manieth piece is random, the others zeros; returns its path."""
    path = given.folder / f"every-{every}"
    if not path.exists():
        # Its zeros are written, so that there are no holes: they could come from a socket.
        with path.open("wb") as file:
            for number in range(size_of(given) // PIECE):
                file.write(bytes(PIECE) if number % every else os.urandom(PIECE))
            os.fsync(file.fileno())
    return path


@contextlib.contextmanager
def uploads(row, given, *, every=1, known=True, thin=False, far=False):
    path = body_of(given, every)
    conf = ceph.far(given) if far else given.ceph.conf_path

    def measure(side):
        uris = []
        size = size_of(given) if known else None
        side.prepare(thin=thin)
        with path.open("rb") as body:
            took = seconds(lambda: uris.append(side.add(body, size)))
        side.delete(*uris)
        return {row: took}

    with glance_side.both(conf) as both:
        yield Case(
            {name: functools.partial(measure, side) for name, side in both.items()},
            functools.partial(limits, given, path, conf, size_of(given) // every),
        )


@contextlib.contextmanager
def downloads(row, given, *, every=1, far=False):
    path = body_of(given, every)

    def measure(side):
        def read():
            if sum(map(len, side.get(uri))) != size_of(given):
                raise RuntimeError("what was read is not whole")

        side.prepare()
        return {row: seconds(read)}

    with (
        contextlib.closing(glance_side.Ours(given.ceph.conf_path)) as store,
        glance_side.both(ceph.far(given) if far else given.ceph.conf_path) as both,
    ):
        with path.open("rb") as body:
            uri = store.add(body, size_of(given))
        yield Case({name: functools.partial(measure, side) for name, side in both.items()})


# What no upload can be faster than


def limits(given, path, conf, data):
    """How long each part of the work takes alone, and all of it on all cores.

    :param data: how many bytes have to be written
    """
    begun = time.process_time()
    alone = {f"{name} alone": seconds(digest, path, name) for name in ("md5", "sha512")}
    hashed = time.process_time() - begun
    one = write(given, conf, 1, data)
    begun = processor_seconds(given.ceph)
    alone["rbd bench, 8 MiB writes, 4 in flight"] = write(given, conf, 4, data)
    written = processor_seconds(given.ceph) - begun
    cores = os.cpu_count()
    alone[f"processor time of hashes and writes over {cores} cores"] = (hashed + written) / cores
    found = {**alone, LIMIT: max(alone.values()), "rbd bench, 1 in flight": one}
    return {what: (figure, "s") for what, figure in found.items()}


def digest(path, name):
    hashed = hashlib.new(name, usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            hashed.update(piece)


def processor_seconds(sandbox):
    """Of the daemons, and of the commands that this process has run."""
    commands = os.times()
    return ceph.processor_seconds(sandbox) + commands.children_user + commands.children_system


def write(given, conf, count, size):
    """Seconds that ``rbd bench`` takes to write so many bytes, or the rest of a piece more."""
    rbd = ["rbd", "--conf", conf, "--id", "admin", "--pool", "images"]
    size = -(-size // PIECE) * PIECE
    options = ["--io-type", "write", "--io-size", f"{PIECE}", "--io-total", f"{size}"]
    options += ["--io-threads", f"{count}"]
    subprocess.run([*rbd, "create", "--size", f"{size}B", "bench"], check=True)
    try:
        command = [*rbd, "bench", "bench", *options]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run([*rbd, "rm", "--no-progress", "bench"], check=True)
    rate, unit = re.search(r"bytes/sec: ([\d.]+) (.)iB/s", said).groups()
    return size / (float(rate) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[unit])


KNOWN, UNKNOWN = "random, size known", "random, size unknown"
TENTH, FAR = "10 % data, thin", "random, 0 to 30 ms away"
GET, GET_FAR, GET_TENTH = "random", "random, 0 to 30 ms away", "10 % data"
SIDES = tuple(glance_side.SIDES)


def plan(make, row, lasts, **options):
    return program.Plan(functools.partial(make, row, **options), lasts)


ADD = program.Table(
    name="add",
    title="Upload of 1 GiB with md5 and sha512",
    sides=SIDES,
    cases={
        KNOWN: plan(uploads, KNOWN, 16),
        UNKNOWN: plan(uploads, UNKNOWN, 16, known=False),
        TENTH: plan(uploads, TENTH, 14, every=10, thin=True),
        FAR: plan(uploads, FAR, 25, far=True),
    },
    wanted={KNOWN: ">= 1.8", UNKNOWN: ">= 1.8", TENTH: ">= 3.0", FAR: ">= 2.5"},
    note="What is beside was measured in the same rounds. The limit is the greatest of a hash "
    "alone, as many bytes written by `rbd bench` with 4 in flight, and the processor time, client "
    "and daemons, of both hashes and these writes, divided by the cores.",
)

GETTING = program.Table(
    name="get",
    title="Download of 1 GiB",
    sides=SIDES,
    cases={
        GET: plan(downloads, GET, 4),
        GET_FAR: plan(downloads, GET_FAR, 12, far=True),
        GET_TENTH: plan(downloads, GET_TENTH, 3, every=10),
    },
    wanted={GET: ">= 1.0", GET_FAR: ">= 3.0", GET_TENTH: ">= 1.5"},
)

if __name__ == "__main__":
    program.main(__doc__, ADD, GETTING)
