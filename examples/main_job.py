# SPDX-License-Identifier: Apache-2.0
"""The main job, on a real Ceph cluster: an image becomes volumes, snapshots and clones, and goes.

It starts a one-node Ceph, writes a configuration file, and does what Glance and Cinder do all day.
Every result is read back with Ceph's own ``rbd`` command, which shares no code with rbdstore, and
compared. At the end everything is deleted in a random order, and the pools must be empty, down to
their RADOS objects. The exit status is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import BinaryIO, cast

from oslo_utils import units
from rich import console, progress

import rbdstore
from rbdstore import exceptions
from rbdstore.testing import sandbox as ceph_sandbox

CHECKOUT = Path(__file__).resolve().parent.parent
FILES_FROM = Path("/usr/lib")
FILES_BYTES = 150 * units.Mi
MAX_CLONE_DEPTH = 3
TRIM_LIMIT = 60
CHUNK = 4 * units.Mi
ZEROS = bytes(CHUNK)

CONFIGURATION = """\
[rbdstore]
enabled_backends = images:rbd, volumes:rbd, independent:rbd
default_backend = volumes

[images]
rbd_pool = images
rbd_user = glance
rbd_ceph_conf = {ceph_conf}

[volumes]
rbd_pool = volumes
rbd_user = cinder
rbd_ceph_conf = {ceph_conf}
rbd_max_clone_depth = {depth}

[independent]
rbd_pool = volumes
rbd_user = cinder
rbd_ceph_conf = {ceph_conf}
rbd_flatten_volume_from_snapshot = true
"""

# What a pool that was once used for RBD keeps. None of them may name an image any more.
BOOKKEEPING = {
    "rbd_children": "children of version 1 snapshots",
    "rbd_directory": "names and ids of images",
    "rbd_info": "mark of a pool made for RBD",
    "rbd_task": "background tasks of the manager",
    "rbd_trash": "images in the trash",
}

out = console.Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


class Mismatch(Exception):
    """Something is not what it should be."""


def check(good: bool, what: str) -> None:
    if not good:
        raise Mismatch(what)


class Steps:
    """Prints what is done, and how long it took."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def title(self, text: str) -> None:
        out.print(f"\n{text}")

    @contextlib.contextmanager
    def timed(self, what: str):
        begun = time.monotonic()
        notes: list[str] = []
        yield notes
        seconds = time.monotonic() - begun
        out.print(f"  {seconds:6.2f} s  {what}{''.join(f'; {note}' for note in notes)}")

    def say(self, what: str) -> None:
        out.print(f"            {what}")


@contextlib.contextmanager
def transfer_meter(label: str, total: int):
    """Give a ``progress(done, total)`` that draws a bar, or prints lines if not on a terminal."""
    if out.is_terminal:
        columns = (
            progress.TextColumn("  {task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=out) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done, _total: bar.update(task, completed=done)
        return
    begun, quarters = time.monotonic(), 0

    def report(done: int, _total: int | None) -> None:
        nonlocal quarters
        if done * 4 // total > quarters:
            quarters = done * 4 // total
            rate = done / units.Mi / max(time.monotonic() - begun, 1e-6)
            out.print(f"            {label}: {done // units.Mi} MiB, {rate:.0f} MiB/s")

    yield report


class Client:
    """A second client of the cluster: Ceph's own commands, as client.admin."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def run(self, *args: str) -> str:
        done = subprocess.run(
            args, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise Mismatch(f"{' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def lines(self, *args: str) -> list[str]:
        return sorted(self.run(*args).splitlines())

    def digest(self, spec: str, length: int | None = None) -> str:
        """Return the SHA-256 of the first ``length`` bytes, see that only zeros follow."""
        argv = ["rbd", "export", "--no-progress", spec, "-"]
        with subprocess.Popen(
            argv, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as export:
            stream = cast(BinaryIO, export.stdout)
            found = digest_of(stream, length)
            while rest := stream.read(CHUNK):
                if rest != ZEROS[: len(rest)]:
                    export.kill()
                    raise Mismatch(f"{spec} is not zero behind its first {length} bytes")
        check(export.returncode == 0, f"rbd export {spec} failed")
        return found


def digest_of(stream: BinaryIO, length: int | None = None) -> str:
    found = hashlib.sha256()
    left = sys.maxsize if length is None else length
    while left and (chunk := stream.read(min(CHUNK, left))):
        found.update(chunk)
        left -= len(chunk)
    return found.hexdigest()


def system_tool(name: str) -> str:
    # The tools of e2fsprogs are in /usr/sbin, which a user's PATH may lack.
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    check(path is not None, f"{name} is not installed (package e2fsprogs)")
    return str(path)


def tool(*args: str, cwd: Path) -> None:
    done = subprocess.run(
        [system_tool(args[0]), *args[1:]],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Mismatch(f"{' '.join(args)}: {done.stdout}{done.stderr}")


def copy_system_files(target: Path) -> tuple[int, int]:
    """Copy some of this system's files; return how many files and bytes."""
    count = total = 0
    for folder, folders, names in os.walk(FILES_FROM):
        folders.sort()
        for name in sorted(names):
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file() or not os.access(source, os.R_OK):
                continue
            size = source.stat().st_size
            if total + size > FILES_BYTES:
                continue
            copy = target / source.relative_to(FILES_FROM)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            count, total = count + 1, total + size
        if total > FILES_BYTES * 0.95:
            break
    return count, total


def compare_files(left: Path, right: Path) -> int:
    """See that every file below ``left`` is in ``right``, byte by byte; return how many."""
    files = [path.relative_to(left) for path in left.rglob("*") if path.is_file()]
    for name in files:
        check(
            (right / name).is_file() and filecmp.cmp(left / name, right / name, shallow=False),
            f"the file {name} is not the same in the cloned file system",
        )
    return len(files)


class Job:
    def __init__(self, folder: Path, ceph: ceph_sandbox.CephSandbox, seed: int) -> None:
        self.folder = folder
        self.client = Client(ceph.env())
        self.steps = Steps()
        self.random = random.Random(seed)
        self.seed = seed
        path = folder / "rbdstore.conf"
        path.write_text(CONFIGURATION.format(ceph_conf=ceph.conf_path, depth=MAX_CLONE_DEPTH))
        self.closing = contextlib.ExitStack()
        self.images, self.volumes, self.independent = (
            self.closing.enter_context(rbdstore.load(path, backend))
            for backend in ("images", "volumes", "independent")
        )

    def run(self) -> None:
        with self.closing:
            self.make_image_file()
            self.upload()
            self.clone()
            self.snapshot()
            self.chain()
            self.refusals()
            self.delete_everything()
            self.look_for_leftovers()

    def make_image_file(self) -> None:
        self.steps.title("An image: an ext4 file system with real files in it")
        self.tree = self.folder / "tree"
        self.file = self.folder / "image.raw"
        with self.steps.timed(f"copied files from {FILES_FROM}") as notes:
            count, total = copy_system_files(self.tree)
            notes.append(f"{count} files, {total // units.Mi} MiB")
        with self.steps.timed("made image.raw with mke2fs") as notes:
            tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", "tree", "image.raw", "256M",
                 cwd=self.folder)  # fmt: skip
            self.size = self.file.stat().st_size
            notes.append(f"{self.size // units.Mi} MiB")
        with self.file.open("rb") as stream:
            self.digest = digest_of(stream)

    def upload(self) -> None:
        self.steps.title("images.add: upload it to the pool images, as user glance")
        with self.file.open("rb") as stream:
            sha512 = hashlib.file_digest(stream, "sha512").hexdigest()
            stream.seek(0)
            with (
                self.steps.timed("uploaded, hashed on the way") as notes,
                transfer_meter("upload", self.size) as report,
            ):
                begun = time.monotonic()
                self.image = self.images.images.add(
                    str(uuid.uuid4()), stream, self.size, progress=report
                )
                notes.append(f"{self.size / units.Mi / (time.monotonic() - begun):.0f} MiB/s")
        self.steps.say(f"location {self.image.uri}")
        check(self.image.os_hash_value == sha512, "the upload's SHA-512 is not the file's")
        check(self.images.images.get_size(self.image.uri) == self.size, "the size is wrong")
        with self.steps.timed("read back through images.get, the same bytes"):
            found = hashlib.sha256()
            for chunk in self.images.images.get(self.image.uri):
                found.update(chunk)
            check(found.hexdigest() == self.digest, "images.get gave other bytes")
        name = self.image.uri.split("/")[-2]
        self.expect(f"images/{name}@snap", self.digest, self.size)

    def clone(self) -> None:
        self.steps.title("volumes.clone: a volume from the image, copy-on-write, as user cinder")
        with self.steps.timed("cloned to volume-1, grown to 320 MiB") as notes:
            self.volumes.volumes.clone("volume-1", self.image.uri, size=320 * units.Mi)
            notes.append(self.describe("volume-1"))
        with self.steps.timed("extended to 384 MiB") as notes:
            self.volumes.volumes.extend("volume-1", 384 * units.Mi)
            notes.append(self.describe("volume-1"))
        check(self.get("volume-1").size == 384 * units.Mi, "volume-1 has the wrong size")
        check(self.get("volume-1").depth == 1, "volume-1 is not at depth 1")
        self.expect("volumes/volume-1", self.digest, self.size)

        with self.steps.timed("exported volume-1, e2fsck finds its file system clean"):
            self.client.run("rbd", "export", "--no-progress", "volumes/volume-1",
                            str(self.folder / "volume-1.raw"))  # fmt: skip
            tool("e2fsck", "-fn", "volume-1.raw", cwd=self.folder)
        with self.steps.timed("compared every file in it with its origin") as notes:
            (self.folder / "dump").mkdir()
            tool("debugfs", "-R", "rdump / dump", "volume-1.raw", cwd=self.folder)
            notes.append(f"{compare_files(self.tree, self.folder / 'dump')} files")
        shutil.rmtree(self.folder / "dump")
        (self.folder / "volume-1.raw").unlink()

    def snapshot(self) -> None:
        self.steps.title("volumes.create_snapshot, and volumes made from the snapshot")
        before = self.client.digest("volumes/volume-1")
        with self.steps.timed("snapshot-1 of volume-1"):
            self.volumes.volumes.create_snapshot("volume-1", "snapshot-1")
        with self.steps.timed("another client writes 8 MiB to volume-1 (rbd bench)"):
            self.client.run("rbd", "bench", "volumes/volume-1", "--io-type", "write",
                            "--io-size", "64K", "--io-total", "8M", "--io-pattern",
                            "rand")  # fmt: skip
        self.written = self.client.digest("volumes/volume-1")
        check(self.written != before, "the write to volume-1 changed nothing")
        self.expect("volumes/volume-1@snapshot-1", before)
        with self.steps.timed("create_from_snapshot volume-2") as notes:
            self.volumes.volumes.create_from_snapshot("volume-2", "volume-1", "snapshot-1")
            notes.append(self.describe("volume-2"))
        self.expect("volumes/volume-2", before)
        check(self.get("volume-2").depth == 2, "volume-2 is not at depth 2")
        with self.steps.timed(
            "create_from_snapshot volume-3, rbd_flatten_volume_from_snapshot = true"
        ) as notes:
            self.independent.volumes.create_from_snapshot("volume-3", "volume-1", "snapshot-1")
            notes.append(self.describe("volume-3"))
        self.expect("volumes/volume-3", before)
        check(self.get("volume-3").depth == 0, "volume-3 was not flattened")

    def chain(self) -> None:
        self.steps.title(
            f"volumes.create_cloned_volume in a chain, rbd_max_clone_depth = {MAX_CLONE_DEPTH}"
        )
        source, flattened = "volume-1", 0
        for number in range(1, MAX_CLONE_DEPTH + 3):
            name = f"chain-{number}"
            before = self.get(source).depth
            with self.steps.timed(f"{name} from {source}") as notes:
                self.volumes.volumes.create_cloned_volume(name, source)
                notes.append(f"depth {self.get(name).depth}")
                after = self.get(source).depth
                if after < before:
                    flattened += 1
                    notes.append(f"{source} was flattened first: depth {before} became {after}")
            check(
                self.get(name).depth <= MAX_CLONE_DEPTH,
                f"{name} is deeper than {MAX_CLONE_DEPTH}",
            )
            self.expect(f"volumes/{name}", self.written)
            source = name
        check(flattened > 0, "the chain went past the limit, and nothing was flattened")
        names = [f"copy-{number}" for number in range(1, 11)]
        with self.steps.timed("create_cloned_volumes: ten clones of volume-3, one snapshot"):
            self.volumes.volumes.create_cloned_volumes(names, "volume-3")
        self.expect(f"volumes/{self.random.choice(names)}", self.client.digest("volumes/volume-3"))

    def refusals(self) -> None:
        self.steps.title("Busy says why")
        for what, delete in (
            ("the image", lambda: self.images.images.delete(self.image.uri)),
            ("volume-1", lambda: self.volumes.volumes.delete("volume-1")),
        ):
            try:
                delete()
            except exceptions.InUse as error:
                self.steps.say(f"deleting {what}: {error}")
            else:
                raise Mismatch(f"{what} is in use, and was deleted")

    def delete_everything(self) -> None:
        volumes = [volume.name for volume in self.volumes.volumes.list()]
        self.random.shuffle(volumes)
        self.steps.title(
            f"volumes.delete, images.delete: all {len(volumes)} volumes in a random order"
            f" (--seed {self.seed})"
        )
        # Cinder, too, lets a volume go only after its snapshots.
        with self.steps.timed("deleted snapshot-1, which volume-2 was made from"):
            self.volumes.volumes.delete_snapshot("volume-1", "snapshot-1")
        for name in volumes:
            with self.steps.timed(f"deleted {name}"):
                self.volumes.volumes.delete(name)
        with self.steps.timed("deleted the image"):
            self.images.images.delete(self.image.uri)

    def look_for_leftovers(self) -> None:
        self.steps.title("What is left in the pools, as Ceph's own commands tell")
        for pool in ("images", "volumes"):
            for what, args in (
                ("images", ("rbd", "ls", pool)),
                ("trash", ("rbd", "trash", "ls", "--all", pool)),
            ):
                left = self.client.lines(*args)
                check(not left, f"left in pool {pool} ({what}): {', '.join(left)}")
            names = self.objects_left(pool)
            strange = [name for name in names if name not in BOOKKEEPING]
            check(not strange, f"left in pool {pool} (objects): {', '.join(strange)}")
            for name in names:
                if name != "rbd_info":
                    keys = self.client.lines("rados", "--pool", pool, "listomapkeys", name)
                    check(not keys, f"left in pool {pool}, in {name}: {', '.join(keys)}")
            kept = ", ".join(f"{name} ({BOOKKEEPING[name]})" for name in names)
            self.steps.say(f"{pool}: no image, no trash; Ceph's own bookkeeping stays: {kept}")

    def objects_left(self, pool: str) -> list[str]:
        """Return the pool's objects, once the OSDs have dropped the data of deleted snapshots."""
        begun, waiting = time.monotonic(), False
        while True:
            names = [
                line.strip() for line in self.client.lines("rados", "-p", pool, "--all", "ls")
            ]
            seconds = time.monotonic() - begun
            # They do that in the background, after the deletion was acknowledged.
            if BOOKKEEPING.keys() >= set(names) or seconds > TRIM_LIMIT:
                break
            waiting = True
            time.sleep(0.2)
        if waiting:
            self.steps.say(f"{pool}: {seconds:.1f} s until the OSDs had trimmed deleted snapshots")
        return names

    def get(self, name: str):
        return self.volumes.volumes.get(name)

    def describe(self, name: str) -> str:
        volume = self.get(name)
        return f"{volume.size // units.Mi} MiB, depth {volume.depth}"

    def expect(self, spec: str, digest: str, length: int | None = None) -> None:
        begun = time.monotonic()
        check(self.client.digest(spec, length) == digest, f"{spec} holds other bytes")
        self.steps.say(f"rbd export {spec}: same bytes ({time.monotonic() - begun:.2f} s)")


def sandbox_folder(folder: Path) -> Path | None:
    """Where the cluster lives: with the rest, unless that path is too long."""
    # A unix socket's path has 107 bytes at most.
    return None if len(os.fsencode(folder)) > 60 else folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6),
                        help="decides the order of the deletions")  # fmt: skip
    seed = parser.parse_args().seed
    work = CHECKOUT / ".work"
    work.mkdir(exist_ok=True)
    begun = time.monotonic()
    # What was begun is ended and removed then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="job-", dir=work) as name:
            folder = Path(name)
            out.print("A Ceph cluster: one monitor, one OSD (in memory), one manager, on loopback")
            # The monitors' own pace, as in production: tests make it faster.
            ceph = ceph_sandbox.CephSandbox(
                paxos_propose_interval=None,
                base_dir=sandbox_folder(folder),
            )
            with ceph:
                out.print(f"  {time.monotonic() - begun:6.2f} s  {ceph.ceph('--version').strip()}")
                Job(folder, ceph, seed).run()
    except (Mismatch, exceptions.RbdStoreError) as error:
        out.print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        out.print("\ninterrupted")
        return 130
    out.print(f"\nAll as it should be after {time.monotonic() - begun:.1f} s: pools are empty")
    return 0


if __name__ == "__main__":
    sys.exit(main())
