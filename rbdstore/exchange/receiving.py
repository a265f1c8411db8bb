# SPDX-License-Identifier: Apache-2.0
"""Receiving a container into a local file, for qemu-img cannot read a stream.

It is inspected on the way, and refused as soon as enough of it was seen. What is longer than the
disk that is to be made of it, with some room for the container's tables, is refused as well.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from oslo_utils import units

from rbdstore import exceptions, transfer
from rbdstore.driver import Progress
from rbdstore.exchange import formats
from rbdstore.settings import Settings
from rbdstore.transfer import bodies

ALGORITHM: Final = "sha512"
"""What tells one body from another, beside MD5."""

_READ_SIZE: Final = 4 * units.Mi


@contextlib.contextmanager
def received(
    body: transfer.Body,
    disk_format: str,
    size: int,
    settings: Settings,
    progress: Progress | None,
) -> Iterator[tuple[BinaryIO, transfer.Digests]]:
    """Give a file that holds the body, seen to be safe, and the body's digests.

    :param size: how large the disk in it may be, in bytes
    :raises InvalidSize, UnsafeImage, BrokenImage, InvalidBody:
    :raises StorageFull: the local disk is full
    """
    inspection = formats.Inspection(disk_format, size)
    with local_file(settings) as file:
        digests = transfer.measure(
            _kept(body, file, inspection, _most(size), progress),
            None,
            ALGORITHM,
            window=settings.transfer_window,
            threads=settings.transfer_threads,
        )
        inspection.end()
        yield file, digests


@contextlib.contextmanager
def local_file(settings: Settings) -> Iterator[BinaryIO]:
    """Give a file in ``image_conversion_dir`` that has no name: it goes with whoever has it open.

    :raises ConfigError: there is no such directory, or nothing can be made in it
    """
    try:
        file = tempfile.TemporaryFile(dir=settings.conversion_dir, buffering=0)  # noqa: SIM115
    except OSError as error:
        raise exceptions.ConfigError(
            f"image_conversion_dir: no file can be made there ({error}); name a directory that "
            "this user can write to"
        ) from error
    with file:
        yield cast(BinaryIO, file)


def _kept(
    body: transfer.Body,
    file: BinaryIO,
    inspection: formats.Inspection,
    most: int,
    progress: Progress | None,
) -> Iterator[bodies.Part]:
    """Pass the body on, part by part, once each has been looked at and written down."""
    length = bodies.length_of(body)
    done = 0
    for part in bodies.parts(body, _READ_SIZE):
        inspection.see(part)
        done += len(part)
        if done > most:
            raise exceptions.InvalidBody(
                f"the image is longer than {most} bytes, which no disk of its size needs"
            )
        with _writing(), memoryview(part) as left:
            while left:
                left = left[file.write(left) :]
        yield part
        if progress is not None:
            progress(done, done if length is None else length)


def _most(size: int) -> int:
    """How long a container may be: every format has tables, and blocks, of 256 MiB at the most."""
    return size + size // 8 + 288 * units.Mi


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise exceptions.StorageFull(
            f"the local disk is full (image_conversion_dir): {error}"
        ) from error
