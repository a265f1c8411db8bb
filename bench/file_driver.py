# SPDX-License-Identifier: Apache-2.0
"""How fast the file driver is, beside plain files on the same file system.

``python bench/file_driver.py [--folder FOLDER] [--runs N]`` prints the medians of several runs.
The two sides of each comparison take turns, so that what else the machine does slows down both.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

from measuring import machine
from measuring.results import grid
from measuring.rounds import seconds

import rbdstore

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SIZE = 256 * MiB
PIECE = 4 * MiB
OPERATIONS = 50


def medians(runs, **sides):
    """How many seconds each side takes, side by side."""
    found = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            found[name].append(side())
    return {name: statistics.median(times) for name, times in found.items()}


# Sequential input and output. Each is timed until the data are safe on the disk.


class Files:
    """Plain files, in pieces of an object's size."""

    def __init__(self, folder, data):
        self.path = folder / "plain"
        self.source = folder / "source"
        self.data = data
        self.source.write_bytes(data)

    def write(self):
        self.path.unlink(missing_ok=True)
        return seconds(self._write, iter(self._pieces()))

    def _pieces(self):
        return (self.data[start : start + PIECE] for start in range(0, SIZE, PIECE))

    def _write(self, pieces):
        with self.path.open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
            os.fsync(file.fileno())

    def read(self):
        return seconds(self._read)

    def _read(self):
        with self.path.open("rb", buffering=0) as file:
            for _ in iter(lambda: file.read(PIECE), b""):
                pass

    def copy(self):
        """Copy a file by ``cp``."""
        self.path.unlink(missing_ok=True)
        return seconds(self._copy)

    def _copy(self):
        subprocess.run(["cp", "--reflink=never", self.source, self.path], check=True)
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def copy_hashing(self):
        """Copy a file, and compute what an upload computes."""
        self.path.unlink(missing_ok=True)
        with self.source.open("rb", buffering=0) as file:
            return seconds(self._write, hashing(iter(lambda: file.read(PIECE), b"")))


def hashing(pieces):
    md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
    for piece in pieces:
        md5.update(piece)
        sha512.update(piece)
        yield piece


class Images:
    """The same by the file driver."""

    def __init__(self, folder, files):
        self.store = rbdstore.connect(
            "file", file_store_datadir=str(folder / "store"), rbd_pool="images"
        )
        self.pool = self.store._cluster.open_pool("volumes")
        self.files = files

    def write(self):
        if "plain" in self.pool.list_images():
            self.pool.remove("plain")
        self.pool.create("plain", SIZE)
        with self.pool.open("plain", read_only=False) as image:
            return seconds(self._write, image)

    def _write(self, image):
        for start in range(0, SIZE, PIECE):
            image.write(start, self.files.data[start : start + PIECE])
        image.flush()

    def read(self):
        with self.pool.open("plain") as image:
            return seconds(self._read, image)

    def _read(self, image):
        for start in range(0, SIZE, PIECE):
            image.read(start, PIECE)

    def add(self):
        with contextlib.suppress(rbdstore.exceptions.ImageNotFound):
            self.store.images.delete("rbd://image")
        with self.files.source.open("rb", buffering=0) as file:
            return seconds(self.store.images.add, "image", file, SIZE)

    def get(self):
        return seconds(self._get)

    def _get(self):
        for _ in self.store.images.get("rbd://image"):
            pass


def sequential(folder, runs):
    files = Files(folder, os.urandom(SIZE))
    images = Images(folder, files)
    for what, plain, driver in (
        ("write 256 MiB: a plain file, Image.write", files.write, images.write),
        ("read 256 MiB: a plain file, Image.read", files.read, images.read),
        ("copy 256 MiB: cp, images.add", files.copy, images.add),
        ("the same, cp replaced by a copy that hashes", files.copy_hashing, images.add),
        ("read 256 MiB: a plain file, images.get", files.read, images.get),
    ):
        found = medians(runs, plain=plain, driver=driver)
        rates = [SIZE / MiB / found[side] for side in ("plain", "driver")]
        ratio = found["driver"] / found["plain"]
        yield what, f"{rates[0]:.0f} MiB/s", f"{rates[1]:.0f} MiB/s", f"{ratio:.2f}"
    images.store.close()


# What must not depend on the size


def sized(folder, runs):
    volumes = volumes_in(folder)
    for what, size, full in (
        ("1 MiB, full", MiB, MiB),
        ("256 MiB, full", 256 * MiB, 256 * MiB),
        ("1 GiB, sparse", GiB, MiB),
        ("1 GiB, 256 MiB of it written", GiB, 256 * MiB),
        ("1 TiB, sparse", TiB, MiB),
    ):
        volumes.create("source", size)
        with volumes._pool.open("source", read_only=False) as image:
            for start in range(0, full, MiB):
                image.write(start, os.urandom(MiB))
            image.flush()
        numbers = iter(range(10 * runs))

        def snapshot(numbers=numbers):
            return seconds(volumes.create_snapshot, "source", f"s{next(numbers)}")

        def from_snapshot(numbers=numbers):
            return seconds(volumes.create_from_snapshot, f"clone-{next(numbers)}", "source", "s0")

        def volume(numbers=numbers):
            return seconds(volumes.create_cloned_volume, f"clone-{next(numbers)}", "source")

        snapshot()
        found = medians(runs, snapshot=snapshot, from_snapshot=from_snapshot, volume=volume)
        clear(volumes)
        yield what, *(f"{1000 * each:.1f} ms" for each in found.values())


def clear(volumes):
    for found in volumes.list():
        if found.name != "source":
            volumes.delete(found.name)
    for snapshot in volumes.get("source").snapshots:
        volumes.delete_snapshot("source", snapshot)
    volumes.delete("source")


def volumes_in(folder):
    store = rbdstore.connect("file", file_store_datadir=str(folder / "store"), rbd_pool="volumes")
    return store.volumes


# Operations a second, one after the other


def operations(folder, runs):
    volumes = volumes_in(folder)
    found = {}
    for _ in range(runs):
        names = [f"volume-{number}" for number in range(OPERATIONS)]
        volumes.create("source", GiB)
        for what, do in (
            ("create", lambda name: volumes.create(name, GiB)),
            ("create_snapshot", lambda name: volumes.create_snapshot(name, "s")),
            ("delete_snapshot", lambda name: volumes.delete_snapshot(name, "s")),
            ("delete", volumes.delete),
            ("create_cloned_volume", lambda name: volumes.create_cloned_volume(name, "source")),
            ("delete of a clone", volumes.delete),
        ):
            took = seconds(each, do, names)
            found.setdefault(what, []).append(OPERATIONS / took)
        volumes.delete("source")
    for what, rates in found.items():
        yield what, f"{statistics.median(rates):.0f}"


def each(do, names):
    for name in names:
        do(name)


def file_system(folder):
    shown = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", folder]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.split()[0]


def table(title, columns, rows):
    print(f"\n{title}\n\n{grid(columns, rows)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="where the files are made, and removed")
    parser.add_argument("--runs", type=int, default=5, help="of which the median is told")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.folder))
    try:
        on = {**machine.describe(), "files": file_system(folder), "load": machine.load()}
        print("; ".join(f"{what} {text}" for what, text in on.items()))
        table(
            "Sequential input and output",
            ("what", "plain", "driver", "times as long"),
            list(sequential(folder, arguments.runs)),
        )
        table(
            "What does not depend on the size",
            ("volume", "create_snapshot", "create_from_snapshot", "create_cloned_volume"),
            list(sized(folder, arguments.runs)),
        )
        table(
            "Operations a second, one after the other",
            ("what", "a second"),
            list(operations(folder, arguments.runs)),
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
