# SPDX-License-Identifier: Apache-2.0
"""The main job: an image becomes volumes, snapshots and clones, and all of it goes again.

It writes a configuration file, and does what Glance and Cinder do all day, on a one-node Ceph that
it starts, or with ``--driver file`` on the embedded driver. Every result is read back by another
client, which shares nothing with the stores that made it: Ceph's own ``rbd`` command, or another
process. At the end everything is deleted in a random order, and nothing may be left, down to the
RADOS objects, or to the tables and files. The exit status is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path

import disk_image
from ground import Ground
from oslo_utils import units
from steps import Mismatch, check, out, say, timed, title, transfer_meter

import rbdstore
from rbdstore import exceptions

CHECKOUT = Path(__file__).resolve().parent.parent
MAX_CLONE_DEPTH = 3

CONFIGURATION = """\
[rbdstore]
enabled_backends = images:{driver}, volumes:{driver}, independent:{driver}
default_backend = volumes

[images]
rbd_pool = images
{glance}

[volumes]
rbd_pool = volumes
{cinder}
rbd_max_clone_depth = {depth}

[independent]
rbd_pool = volumes
{cinder}
rbd_flatten_volume_from_snapshot = true
"""


class Job:
    def __init__(self, folder: Path, ground: Ground, size: int, seed: int) -> None:
        self.folder = folder
        self.ground = ground
        self.size = size
        self.disk = disk_image.best(folder, size)
        self.random = random.Random(seed)
        self.seed = seed
        path = folder / "rbdstore.conf"
        path.write_text(
            CONFIGURATION.format(
                driver=ground.driver,
                glance=ground.access("glance"),
                cinder=ground.access("cinder"),
                depth=MAX_CLONE_DEPTH,
            )
        )
        self.closing = contextlib.ExitStack()
        self.images, self.volumes, self.independent = (
            self.closing.enter_context(rbdstore.load(path, backend))
            for backend in ("images", "volumes", "independent")
        )

    def run(self) -> None:
        with self.closing:
            self.make_image()
            self.upload()
            self.clone()
            self.snapshot()
            self.chain()
            self.refusals()
            self.delete_everything()
            self.look_for_leftovers()

    def make_image(self) -> None:
        title(f"An image: {self.disk.kind} with real files in it")
        self.disk.make()

    def upload(self) -> None:
        title(f"images.add: upload it to the pool images{self.ground.as_user('glance')}")
        with self.disk.file.open("rb") as stream:
            sha512 = hashlib.file_digest(stream, "sha512").hexdigest()
            stream.seek(0)
            with (
                timed("uploaded, hashed on the way") as notes,
                transfer_meter("upload", self.size) as report,
            ):
                begun = time.monotonic()
                self.image = self.images.images.add(
                    str(uuid.uuid4()), stream, self.size, progress=report
                )
                notes.append(f"{self.size / units.Mi / (time.monotonic() - begun):.0f} MiB/s")
        say(f"location {self.image.uri}")
        check(self.image.os_hash_value == sha512, "the upload's SHA-512 is not the file's")
        check(self.images.images.get_size(self.image.uri) == self.size, "the size is wrong")
        with timed("read back through images.get, the same bytes"):
            found = hashlib.sha256()
            for chunk in self.images.images.get(self.image.uri):
                found.update(chunk)
            check(found.hexdigest() == self.disk.digest, "images.get gave other bytes")
        name = self.image.uri.split("/")[-2]
        self.expect(f"images/{name}@snap", self.disk.digest, self.size)

    def clone(self) -> None:
        user = self.ground.as_user("cinder")
        title(f"volumes.clone: a volume from the image, copy-on-write{user}")
        # Two steps beyond the image, so that there is more than it in what is read back.
        grown, extended = self.size * 5 // 4, self.size * 3 // 2
        with timed(f"cloned to volume-1, grown to {mib(grown)}") as notes:
            self.volumes.volumes.clone("volume-1", self.image.uri, size=grown)
            notes.append(self.describe("volume-1"))
        with timed(f"extended to {mib(extended)}") as notes:
            self.volumes.volumes.extend("volume-1", extended)
            notes.append(self.describe("volume-1"))
        check(self.get("volume-1").size == extended, "volume-1 has the wrong size")
        check(self.get("volume-1").depth == 1, "volume-1 is not at depth 1")
        self.expect("volumes/volume-1", self.disk.digest, self.size)

        copy = self.folder / "volume-1.raw"
        with timed(f"exported volume-1{self.disk.verdict}"):
            self.ground.copy_out("volumes/volume-1", copy)
            self.disk.verify(copy)
        with timed("compared every file in it with its origin") as notes:
            notes.append(f"{self.disk.compare(copy)} files")
        copy.unlink()

    def snapshot(self) -> None:
        title("volumes.create_snapshot, and volumes made from the snapshot")
        before = self.ground.digest("volumes/volume-1")
        with timed("snapshot-1 of volume-1"):
            self.volumes.volumes.create_snapshot("volume-1", "snapshot-1")
        with timed(f"another client writes 8 MiB to volume-1 ({self.ground.scribbler})"):
            self.ground.scribble("volumes/volume-1")
        self.written = self.ground.digest("volumes/volume-1")
        check(self.written != before, "the write to volume-1 changed nothing")
        self.expect("volumes/volume-1@snapshot-1", before)
        with timed("create_from_snapshot volume-2") as notes:
            self.volumes.volumes.create_from_snapshot("volume-2", "volume-1", "snapshot-1")
            notes.append(self.describe("volume-2"))
        self.expect("volumes/volume-2", before)
        check(self.get("volume-2").depth == 2, "volume-2 is not at depth 2")
        with timed(
            "create_from_snapshot volume-3, rbd_flatten_volume_from_snapshot = true"
        ) as notes:
            self.independent.volumes.create_from_snapshot("volume-3", "volume-1", "snapshot-1")
            notes.append(self.describe("volume-3"))
        self.expect("volumes/volume-3", before)
        check(self.get("volume-3").depth == 0, "volume-3 was not flattened")

    def chain(self) -> None:
        title(f"volumes.create_cloned_volume in a chain, rbd_max_clone_depth = {MAX_CLONE_DEPTH}")
        source, flattened = "volume-1", 0
        for number in range(1, MAX_CLONE_DEPTH + 3):
            name = f"chain-{number}"
            before = self.get(source).depth
            with timed(f"{name} from {source}") as notes:
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
        with timed("create_cloned_volumes: ten clones of volume-3, one snapshot"):
            self.volumes.volumes.create_cloned_volumes(names, "volume-3")
        self.expect(f"volumes/{self.random.choice(names)}", self.ground.digest("volumes/volume-3"))

    def refusals(self) -> None:
        title("Busy says why")
        for what, delete in (
            ("the image", lambda: self.images.images.delete(self.image.uri)),
            ("volume-1", lambda: self.volumes.volumes.delete("volume-1")),
        ):
            try:
                delete()
            except exceptions.InUse as error:
                say(f"deleting {what}: {error}")
            else:
                raise Mismatch(f"{what} is in use, and was deleted")

    def delete_everything(self) -> None:
        volumes = [volume.name for volume in self.volumes.volumes.list()]
        self.random.shuffle(volumes)
        title(
            f"volumes.delete, images.delete: all {len(volumes)} volumes in a random order"
            f" (--seed {self.seed})"
        )
        # Cinder, too, lets a volume go only after its snapshots.
        with timed("deleted snapshot-1, which volume-2 was made from"):
            self.volumes.volumes.delete_snapshot("volume-1", "snapshot-1")
        for name in volumes:
            with timed(f"deleted {name}"):
                self.volumes.volumes.delete(name)
        with timed("deleted the image"):
            self.images.images.delete(self.image.uri)

    def look_for_leftovers(self) -> None:
        title(f"What is left in the pools, as {self.ground.witness}")
        self.ground.check_empty()

    def get(self, name: str):
        return self.volumes.volumes.get(name)

    def describe(self, name: str) -> str:
        volume = self.get(name)
        return f"{mib(volume.size)}, depth {volume.depth}"

    def expect(self, spec: str, digest: str, length: int | None = None) -> None:
        begun = time.monotonic()
        check(self.ground.digest(spec, length) == digest, f"{spec} holds other bytes")
        say(f"{self.ground.exporter} {spec}: same bytes ({time.monotonic() - begun:.2f} s)")


def mib(size: int) -> str:
    return f"{size // units.Mi} MiB"


def ground_for(driver: str):
    """Return the function that opens a driver's ground."""
    # What Ceph needs is imported where there is Ceph.
    if driver == "rbd":
        import ceph_ground as chosen
    else:
        import file_ground as chosen
    return chosen.opened


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--driver", choices=("rbd", "file"), default="rbd",
                        help="rbd starts a Ceph cluster, file needs none")  # fmt: skip
    parser.add_argument("--size", type=int, default=256, metavar="MIB",
                        help="of the image, 16 at the least (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=random.randrange(10**6),
                        help="decides the order of the deletions")  # fmt: skip
    args = parser.parse_args()
    if args.size < 16:
        parser.error("the image is too small for a file system with files")
    work = CHECKOUT / ".work"
    work.mkdir(exist_ok=True)
    begun = time.monotonic()
    # What was begun is ended and removed then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="job-", dir=work) as name:
            folder = Path(name)
            with ground_for(args.driver)(folder) as ground:
                Job(folder, ground, args.size * units.Mi, args.seed).run()
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
