# SPDX-License-Identifier: Apache-2.0
"""The ground that the main job is done on: a cluster, and another client of it.

The other client shares no process and no open handle with the stores that the job uses. By it the
job's results are read back, and what is left at the end is found.
"""

from __future__ import annotations

import abc
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from steps import Mismatch, check

CHUNK = 4 << 20
ZEROS = bytes(CHUNK)
POOLS = ("images", "volumes")


class Ground(abc.ABC):
    """A running cluster with the pools :data:`POOLS`.

    :cvar driver: its name in ``enabled_backends``
    :cvar exporter: what reads an image back, as the beginning of a line about it
    :cvar scribbler: what writes to one beside the job's stores
    :cvar witness: who tells what is left at the end
    :ivar env: the environment of the other client
    """

    driver: str
    exporter: str
    scribbler: str
    witness: str
    env: Mapping[str, str] = os.environ

    @abc.abstractmethod
    def access(self, user: str) -> str:
        """The options by which a backend's section says which cluster it is, and as whom."""

    def as_user(self, user: str) -> str:
        """How a title says who does something; empty where a cluster knows no users."""
        return ""

    @abc.abstractmethod
    def export(self, spec: str, target: str) -> Sequence[str]:
        """The command that writes an image's or a snap's bytes to a file; "-" is stdout."""

    @abc.abstractmethod
    def scribble(self, spec: str) -> None:
        """Have the other client write 8 MiB of its own to an image."""

    @abc.abstractmethod
    def check_empty(self) -> None:
        """See that nothing is left of all images, and say what stays."""

    # The other client

    def run(self, *args: str) -> str:
        done = subprocess.run(
            args, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise Mismatch(f"{' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def copy_out(self, spec: str, target: Path) -> None:
        self.run(*self.export(spec, str(target)))

    def digest(self, spec: str, length: int | None = None) -> str:
        """Return the SHA-256 of the first ``length`` bytes, see that only zeros follow."""
        with subprocess.Popen(
            self.export(spec, "-"),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as export:
            stream = cast(BinaryIO, export.stdout)
            found = digest_of(stream, length)
            while rest := stream.read(CHUNK):
                if rest != ZEROS[: len(rest)]:
                    export.kill()
                    raise Mismatch(f"{spec} is not zero behind its first {length} bytes")
        check(export.returncode == 0, f"{self.exporter} {spec} failed")
        return found


def digest_of(stream: BinaryIO, length: int | None = None) -> str:
    """Return the SHA-256 of a stream's first bytes, all if ``length`` is None."""
    found = hashlib.sha256()
    left = sys.maxsize if length is None else length
    while left and (chunk := stream.read(min(CHUNK, left))):
        found.update(chunk)
        left -= len(chunk)
    return found.hexdigest()
