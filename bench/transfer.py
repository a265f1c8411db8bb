# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads beside those of glance_store's rbd driver, on one real Ceph.

``python bench/transfer.py [--size MIB] [--runs N] [--only ROW...]``, where bench/requirements.txt
is installed. The sides take turns, so that what else the machine does slows down both; the medians
of their times are told, and of the ratios, one for each pair. Figures of different runs cannot be
compared. The monitors gather changes for a second, as in production.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import sides
from file_driver import machine, table

from rbdstore.testing.sandbox import CephSandbox

MiB = 1 << 20
PIECE = 8 * MiB
AT_ONCE = 8

# Each message of an OSD's is held up for 0 to 30 ms before the client sees it.
FAR = """
[client]
ms_inject_delay_type = osd
ms_inject_delay_max = 0.03
ms_inject_delay_probability = 1
"""


def seconds(do):
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


class Bench:
    def __init__(self, conf, folder, size, runs):
        self.conf = conf
        self.size = size
        self.runs = runs
        self.far = str(folder / "far.conf")
        pathlib.Path(self.far).write_text(pathlib.Path(conf).read_text() + FAR)
        self.full = folder / "full"
        self.tenth = folder / "tenth"
        # Its zeros are written, so that there are no holes: they could come from a socket.
        for path, every in ((self.full, 1), (self.tenth, 10)):
            with path.open("wb") as file:
                for number in range(size // PIECE):
                    file.write(bytes(PIECE) if number % every else os.urandom(PIECE))

    def rows(self):
        add, get = self._add, self._get
        return {
            "add": ("add", 1.8, lambda: add(self.full)),
            "add-unknown": ("add, size unknown", 1.8, lambda: add(self.full, known=False)),
            "add-tenth": ("add, 10 % data, thin", 3.0, lambda: add(self.tenth, thin=True)),
            "add-far": ("add, latency", 2.5, lambda: add(self.full, conf=self.far)),
            "get": ("get", 1.0, lambda: get(self.full)),
            "get-far": ("get, latency", 3.0, lambda: get(self.full, conf=self.far)),
            "get-tenth": ("get, 10 % data", 1.5, lambda: get(self.tenth)),
        }

    def row(self, name):
        what, wanted, measure = self.rows()[name]
        times = measure()
        medians = [statistics.median(side) for side in zip(*times, strict=True)]
        ratios = sorted(peer / ours for ours, peer in times)
        return (
            what,
            *(f"{median:.2f} s ({self.size / MiB / median:.0f} MiB/s)" for median in medians),
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            f"{wanted}",
        )

    def _add(self, path, *, conf=None, known=True, thin=False):
        def measure(side):
            uris = []
            with path.open("rb") as body:
                size = self.size if known else None
                took = seconds(lambda: uris.append(side.add(body, size, thin=thin)))
            side.delete(*uris)
            return took

        with sides.both(conf or self.conf) as both:
            return self._pairs(both, measure)

    def _get(self, path, *, conf=None):
        def read(pieces):
            if sum(map(len, pieces)) != self.size:
                raise SystemExit("what was read is not whole")

        with (
            contextlib.closing(sides.Ours(self.conf)) as store,
            sides.both(conf or self.conf) as both,
        ):
            with path.open("rb") as body:
                uri = store.add(body, self.size)
            found = self._pairs(both, lambda side: seconds(lambda: read(side.get(uri))))
            store.delete(uri)
        return found

    def _pairs(self, both, measure):
        ours, peer = both
        found = []
        for run in range(self.runs):
            order = (ours, peer) if run % 2 else (peer, ours)
            times = {side: measure(side) for side in order}
            found.append((times[ours], times[peer]))
        return found

    # What nobody can be faster than

    def limits(self):
        yield "MD5", [self.size / seconds(self._md5) for _ in range(self.runs)]
        for count in (1, 4):
            rates = [self._rbd_bench(count) for _ in range(self.runs)]
            yield f"rbd bench, 8 MiB writes, {count} in flight", rates

    def _md5(self):
        hashed = hashlib.md5(usedforsecurity=False)
        with self.full.open("rb", buffering=0) as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                hashed.update(piece)

    def _rbd_bench(self, count):
        rbd = ["rbd", "--conf", self.conf, "--id", "admin", "--pool", "images"]
        options = ["--io-type", "write", "--io-size", f"{PIECE}", "--io-total", f"{self.size}"]
        options += ["--io-threads", f"{count}"]
        subprocess.run([*rbd, "create", "--size", f"{self.size}B", "bench"], check=True)
        try:
            said = subprocess.run(
                [*rbd, "bench", "bench", *options],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        finally:
            subprocess.run([*rbd, "rm", "--no-progress", "bench"], check=True)
        rate, unit = re.search(r"bytes/sec: ([\d.]+) (.)iB/s", said).groups()
        return float(rate) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[unit]

    # Memory, of either side in a process of its own

    def memory(self):
        for name in ("Ours", "Peer"):
            child = [sys.executable, __file__, "--memory", name, self.conf, str(self.full)]
            said = subprocess.run(child, check=True, capture_output=True, text=True).stdout
            yield name, *(f"{int(kib) // 1024} MiB" for kib in said.split()[-2:])


def upload_at_once(name, conf, path):
    """Print how many KiB this process takes when it has uploaded once, and at the most."""
    with contextlib.closing(getattr(sides, name)(conf)) as side:
        uris = []

        def upload():
            with open(path, "rb") as body:
                uris.append(side.add(body, os.path.getsize(path)))

        upload()
        before = status("VmRSS")
        threads = [threading.Thread(target=upload) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(before, status("VmHWM"))
        for uri in uris:
            side.delete(uri)


def status(field):
    text = pathlib.Path("/proc/self/status").read_text()
    return re.search(rf"{field}:\s+(\d+) kB", text)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="of the images, in MiB")
    parser.add_argument("--runs", type=int, default=5, help="of which the medians are told")
    parser.add_argument("--only", nargs="*", help="these rows; limits and memory are rows too")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        upload_at_once(*arguments.memory)
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        CephSandbox(paxos_propose_interval=1.0) as sandbox,
    ):
        size = arguments.size * MiB // PIECE * PIECE
        bench = Bench(sandbox.conf_path, pathlib.Path(folder), size, arguments.runs)
        names = arguments.only or [*bench.rows(), "limits", "memory"]
        print(f"{machine(folder)}; {arguments.runs} pairs, images of {size // MiB} MiB")
        columns = ("what", "rbdstore", "glance_store", "times as fast", "from, to", "wanted")
        rows = [bench.row(name) for name in names if name in bench.rows()]
        table("Transfers", columns, rows)
        if "limits" in names:
            limits = [
                (what, f"{statistics.median(rates) / MiB:.0f} MiB/s")
                for what, rates in bench.limits()
            ]
            table("What nobody can be faster than", ("what", "rate"), limits)
        if "memory" in names:
            columns = ("side", "after one upload", f"at the most, in {AT_ONCE} at once")
            table("Memory", columns, list(bench.memory()))
        print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
