# SPDX-License-Identifier: Apache-2.0
"""The files that commands read and write, and the standard streams in place of them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import uuid
from collections.abc import Iterator
from typing import BinaryIO, Final

from rbdstore import exceptions

STREAM: Final = "-"


def opened(path: str) -> BinaryIO:
    """A file, or standard input, which stays open when this is closed."""
    return open(sys.stdin.fileno() if path == STREAM else path, "rb", closefd=path != STREAM)


@contextlib.contextmanager
def reading(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file; give it with its length, where that is known before it is read."""
    if path == STREAM:
        yield sys.stdin.buffer, None
        return
    with open(path, "rb") as file:
        length = None
        if file.seekable():
            # Of a block device, its status does not tell.
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
        yield file, length


def check_output(path: str, what: str) -> None:
    """:raises InvalidInput: it is a terminal"""
    if path == STREAM and sys.stdout.isatty():
        raise exceptions.InvalidInput(f"{what} is not for a terminal: redirect the output")


@contextlib.contextmanager
def writing(path: str, *, force: bool) -> Iterator[tuple[BinaryIO, bool]]:
    """Open a file, a device or standard output; give it, and whether it may have holes.

    A regular file gets its name when it is whole.

    :param force: replace a file that is there, or overwrite a block device
    """
    if path == STREAM:
        yield sys.stdout.buffer, False
    elif (kind := _kind(path)) is not None and not stat.S_ISREG(kind):
        # It is what it is, and cannot be replaced.
        if stat.S_ISBLK(kind) and not force:
            raise FileExistsError(0, "it is a block device; --force overwrites it", path)
        with open(path, "wb", buffering=0) as file:
            yield file, False
    else:
        with _made_whole(path, replace=force) as file:
            yield file, True


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Have errors of the file name it, as the user did: it may be the pool that is full, too."""
    try:
        yield
    except OSError as error:
        name = "standard output" if path == STREAM else path
        raise OSError(error.errno, error.strerror, name) from error


def _kind(path: str) -> int | None:
    """What a path leads to, in the mode that the system has for it; None: there is nothing."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _give_name(draft: str, path: str) -> None:
    """Name a file, unless there is one of that name."""
    try:
        os.link(draft, path)
    except OSError as error:
        # There are file systems without hard links.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS) or os.path.lexists(path):
            raise
        os.rename(draft, path)


@contextlib.contextmanager
def _made_whole(path: str, *, replace: bool) -> Iterator[BinaryIO]:
    """Write a file that gets its name when it is whole; nothing is left of one that is not."""
    if not replace and os.path.lexists(path):
        raise FileExistsError(0, "there is such a file; --force replaces it", path)
    draft = f"{path}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with naming(path):
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(descriptor, "wb") as file:
            yield file
            with naming(path):
                os.fsync(file.fileno())
        with naming(path):
            if replace:
                os.replace(draft, path)
            else:
                _give_name(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
