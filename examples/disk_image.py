# SPDX-License-Identifier: Apache-2.0
"""The image that is uploaded, full of this system's files, and the check of what became of it.

It holds an ext4 file system. Where the tools for that (e2fsprogs) are missing it is a tar archive.
"""

from __future__ import annotations

import abc
import filecmp
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from ground import digest_of
from oslo_utils import units
from steps import Mismatch, check, say, timed

FILES_FROM = Path("/usr/lib")
# How much of the image is files; the rest is for the file system, and for holes.
FILES_SHARE = 150 / 256


def best(folder: Path, size: int) -> DiskImage:
    """Return the image that this system has the tools for, to be made in ``folder``."""
    missing = [name for name in Ext4Image.TOOLS if system_tool(name) is None]
    if not missing:
        return Ext4Image(folder, size)
    say(f"no file system, and no check of it: {', '.join(missing)} of e2fsprogs are missing")
    return TarImage(folder, size)


class DiskImage(abc.ABC):
    """An image, a file of exactly ``size`` bytes, made of the files below ``tree``.

    :cvar kind: what is in it
    :cvar verdict: what is said of a copy that was verified, at the end of a line
    :ivar digest: its SHA-256, once it is made
    """

    kind: str
    verdict = ""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self.tree = folder / "tree"
        self.file = folder / "image.raw"
        self.digest = ""

    def make(self) -> None:
        with timed(f"copied files from {FILES_FROM}") as notes:
            count, total = copy_files(FILES_FROM, self.tree, int(self.size * FILES_SHARE))
            notes.append(f"{count} files, {total // units.Mi} MiB")
        self.pack()
        check(self.file.stat().st_size == self.size, f"{self.file} has the wrong size")
        with self.file.open("rb") as stream:
            self.digest = digest_of(stream)

    @abc.abstractmethod
    def pack(self) -> None:
        """Make the file from the tree."""

    @abc.abstractmethod
    def verify(self, copy: Path) -> None:
        """See that a copy, which may be longer, is sound in itself, where a tool can tell."""

    @abc.abstractmethod
    def compare(self, copy: Path) -> int:
        """See that a copy holds every file of the tree, byte by byte; return how many."""

    def files(self) -> set[Path]:
        return {path.relative_to(self.tree) for path in self.tree.rglob("*") if path.is_file()}


class Ext4Image(DiskImage):
    kind = "an ext4 file system"
    verdict = ", e2fsck finds its file system clean"
    TOOLS = ("mke2fs", "e2fsck", "debugfs")

    def pack(self) -> None:
        with timed(f"made {self.file.name} with mke2fs") as notes:
            self._tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", "tree", self.file.name,
                       f"{self.size // units.Ki}k")  # fmt: skip
            notes.append(f"{self.size // units.Mi} MiB")

    def verify(self, copy: Path) -> None:
        self._tool("e2fsck", "-fn", copy.name)

    def compare(self, copy: Path) -> int:
        dump = self.folder / "dump"
        dump.mkdir()
        self._tool("debugfs", "-R", f"rdump / {dump.name}", copy.name)
        files = self.files()
        for name in files:
            check(
                (dump / name).is_file()
                and filecmp.cmp(self.tree / name, dump / name, shallow=False),
                f"the file {name} is not the same in the cloned file system",
            )
        shutil.rmtree(dump)
        return len(files)

    def _tool(self, name: str, *args: str) -> None:
        done = subprocess.run(
            [str(system_tool(name)), *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Mismatch(f"{name} {' '.join(args)}: {done.stdout}{done.stderr}")


class TarImage(DiskImage):
    kind = "a tar archive"

    def pack(self) -> None:
        with timed(f"made {self.file.name} with tarfile") as notes:
            with tarfile.open(self.file, "w") as archive:
                archive.add(self.tree, arcname=".")
            # Zeros are how an archive ends, however many.
            os.truncate(self.file, self.size)
            notes.append(f"{self.size // units.Mi} MiB")

    def verify(self, copy: Path) -> None:
        """No tool is needed to read it, and none tells more than that."""

    def compare(self, copy: Path) -> int:
        files, found = self.files(), set()
        with tarfile.open(copy) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream is not None:
                    name = Path(member.name)
                    check(
                        stream.read() == (self.tree / name).read_bytes(),
                        f"the file {name} is not the same in the cloned archive",
                    )
                    found.add(name)
        missing = ", ".join(map(str, files - found))
        check(not missing, f"not in the cloned archive: {missing}")
        return len(files)


def system_tool(name: str) -> str | None:
    # The tools of e2fsprogs are in /usr/sbin, which a user's PATH may lack.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def copy_files(origin: Path, target: Path, limit: int) -> tuple[int, int]:
    """Copy files until there are ``limit`` bytes; return how many files and bytes."""
    count = total = 0
    for folder, folders, names in os.walk(origin):
        folders.sort()
        for name in sorted(names):
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file() or not os.access(source, os.R_OK):
                continue
            size = source.stat().st_size
            if total + size > limit:
                continue
            copy = target / source.relative_to(origin)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            count, total = count + 1, total + size
        if total > limit * 0.95:
            break
    return count, total
