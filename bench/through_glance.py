# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads of 1 GiB through Glance's HTTP interface, beside glance_store's driver.

``python bench/through_glance.py [--pairs N] [--out FOLDER] [--resume] [--quick]``
"""

import contextlib
import functools
import http.client
import os
import pathlib
import sys
import urllib.parse

import transfer
from measuring import program
from measuring.rounds import Case, seconds

# The services are started, and driven but for the data, as by the tests.
sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests" / "e2e"))

import glance_service

SIDES = {"rbdstore": glance_service.RBDSTORE, "glance_store": glance_service.STOCK}
PIECE = transfer.PIECE
LIMIT = 600


class Wire:
    """A connection on which data go as fast as the kernel copies them."""

    def __init__(self, url, image):
        self._path = f"/v2/images/{image}/file"
        self._connection = http.client.HTTPConnection(
            urllib.parse.urlsplit(url).netloc, timeout=LIMIT
        )

    def upload(self, body, known):
        connection = self._connection
        connection.putrequest("PUT", self._path)
        connection.putheader("Content-Type", "application/octet-stream")
        size = os.fstat(body.fileno()).st_size
        if known:
            connection.putheader("Content-Length", size)
            connection.endheaders()
            connection.sock.sendfile(body)
        else:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            for start in range(0, size, PIECE):
                length = min(PIECE, size - start)
                connection.send(b"%x\r\n" % length)
                connection.sock.sendfile(body, start, length)
                connection.send(b"\r\n")
            connection.send(b"0\r\n\r\n")
        self._end(204)

    def download(self):
        """Read it all; how much that is."""
        self._connection.request("GET", self._path)
        return self._end(200)

    def _end(self, wanted):
        with contextlib.closing(self._connection):
            answer = self._connection.getresponse()
            if answer.status != wanted:
                raise RuntimeError(f"{self._path}: {answer.status} {answer.read()[:1000]}")
            buffer = bytearray(1 << 20)
            return sum(iter(lambda: answer.readinto(buffer), 0))


@contextlib.contextmanager
def services(given, **options):
    """A Glance over each driver, by the side's name, on one pool."""
    section = glance_service.options(given.ceph, **options)
    with contextlib.ExitStack() as stack:
        template = given.folder / "glance" / "glance.sqlite"
        if not template.exists():
            glance_service.make_database(template.parent)
        started = {}
        for side, driver in SIDES.items():
            folder = given.folder / f"{given.ceph.fsid}-{side}"
            service = glance_service.Glance(folder, driver, section, template=template)
            started[side] = stack.enter_context(service)
        yield started


@contextlib.contextmanager
def uploads(row, given, *, every=1, known=True, **options):
    path = transfer.body_of(given, every)
    size = transfer.size_of(given)
    with services(given, **options) as both:

        def measure(service):
            client = service.client
            image = client.create()
            with path.open("rb") as body:
                took = seconds(Wire(client.url, image).upload, body, known)
            if client.show(image)["size"] != size:
                raise RuntimeError("what was stored is not whole")
            client.delete(image)
            return {row: took}

        yield case(both, measure, row, size)


@contextlib.contextmanager
def downloads(row, given, *, every=1):
    size = transfer.size_of(given)
    with services(given) as both:
        images = {}
        for service in both.values():
            image = images[service] = service.client.create()
            with transfer.body_of(given, every).open("rb") as body:
                Wire(service.client.url, image).upload(body, known=True)

        def measure(service):
            read = []
            wire = Wire(service.client.url, images[service])
            took = seconds(lambda: read.append(wire.download()))
            if read != [size]:
                raise RuntimeError("what was read is not whole")
            return {row: took}

        yield case(both, measure, row, size)


def case(both, measure, row, size):
    """Both sides in turns; beside, the rates that their times are."""
    latest = {}

    def timed(side, service):
        found = measure(service)
        latest[side] = size / transfer.MiB / found[row]
        return found

    return Case(
        {side: functools.partial(timed, side, service) for side, service in both.items()},
        lambda: {side: (rate, "MiB/s") for side, rate in latest.items()},
    )


def plan(make, row, lasts, **options):
    return program.Plan(functools.partial(make, row, **options), lasts)


KNOWN, CHUNKED, TENTH = "upload, size known", "upload, chunked", "upload, chunked, 10 % data, thin"
DOWN, DOWN_TENTH = "download", "download, 10 % data"

TABLE = program.Table(
    name="through_glance",
    title="1 GiB through Glance's HTTP interface",
    sides=tuple(SIDES),
    cases={
        KNOWN: plan(uploads, KNOWN, 30),
        CHUNKED: plan(uploads, CHUNKED, 30, known=False),
        TENTH: plan(uploads, TENTH, 30, every=10, known=False, rbd_thin_provisioning=True),
        DOWN: plan(downloads, DOWN, 10),
        DOWN_TENTH: plan(downloads, DOWN_TENTH, 10, every=10),
    },
    wanted={},
    note="Glance runs under gunicorn, in one process, which receives and sends every byte in "
    "Python; the client leaves the copying to the kernel. What is beside are the same times as "
    "rates.",
)

if __name__ == "__main__":
    program.main(__doc__, TABLE)
