# SPDX-License-Identifier: Apache-2.0
"""Backups of what is no volume of Ceph: read from a file, and written to one.

A file tells nothing of what has changed in it since, nor where its holes are: all of it is read,
and what is zeros is not written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

from rbdstore import exceptions
from rbdstore.backup import chunks, digests, manifests, points, restoring
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.diffstreams import PIECE_LENGTH
from rbdstore.backup.manifests import Manifest
from rbdstore.backup.recorded import Marked
from rbdstore.driver import Progress
from rbdstore.settings import Settings
from rbdstore.transfer.bodies import zeros


class File(Protocol):
    """A volume that is open: a block device, or whatever else is read or written as one."""

    def seek(self, offset: int, whence: int = 0, /) -> object: ...

    def tell(self) -> int: ...

    def read(self, length: int, /) -> bytes: ...

    def write(self, data: bytes | memoryview, /) -> object: ...

    def flush(self) -> object: ...


def check(file: object) -> None:
    """:raises InvalidInput:"""
    if not all(callable(getattr(file, name, None)) for name in ("seek", "tell")):
        raise exceptions.InvalidInput(
            f"a file has seek(), tell(), and read() or write(), which {exceptions.shown(file)} "
            "has not"
        )


def create(
    catalog: Catalog,
    settings: Settings,
    file: File,
    volume: str,
    backup_id: str,
    progress: Progress | None,
) -> Manifest:
    """Back up a file, from its beginning to its end.

    :raises BrokenStream: it ends before its end
    :raises Duplicate: there is one of that id
    """
    shape = points.Shape(volume, _end(file), 1 << settings.object_order(PIECE_LENGTH))
    with points.claimed(catalog, backup_id, ["create from a file", volume], settings) as claim:
        if claim.adopted:
            return catalog.manifest(backup_id)
        with points.made(claim, shape, settings) as point:
            file.seek(0)
            for number in range(manifests.count(shape.size, shape.chunk_size)):
                start = number * shape.chunk_size
                length = min(shape.chunk_size, shape.size - start)
                data = _read(file, start, length)
                mark = digests.digest(data)
                if mark != digests.ZEROS:
                    point.writing.begin_data(start, data)
                point.add(number, mark)
                if progress is not None:
                    progress(start + length, shape.size)
            return point.publish()


def restore(
    backup: restoring.Backup,
    settings: Settings,
    file: File,
    *,
    is_zeros: bool,
    verify: bool,
    progress: Progress | None,
) -> None:
    """Write a backup to a file.

    :param is_zeros: the file reads as zeros, which need not be written
    :raises BrokenBackup: a chunk is damaged; those before it have been written
    """
    size, chunk_size = backup.size, backup.chunk_size
    backup.check()
    end = size
    if settings.restore_discard_excess and not is_zeros:
        end = max(end, _end(file))
    with backup.opened() as base:
        found = backup.chunks()
        wanted = found if is_zeros else _with_zeros(found, manifests.count(size, chunk_size))
        stretches = (restoring.stretch(marked, size, chunk_size) for marked in wanted)
        with chunks.Ahead(base, stretches, settings.transfer_window) as reads:
            for (number, mark), data in reads:
                start = number * chunk_size
                restoring.check(backup, start, mark, data, verify=verify)
                length = min(chunk_size, size - start)
                file.seek(start)
                _write(file, data if mark != digests.ZEROS else zeros(chunk_size)[:length])
                if progress is not None:
                    progress(start + length, size)
    file.seek(size)
    for start in range(size, end, chunk_size):
        _write(file, zeros(chunk_size)[: min(chunk_size, end - start)])
    file.flush()
    if progress is not None:
        progress(size, size)


def _end(file: File) -> int:
    # Not all files return from seek() where they are.
    file.seek(0, 2)
    return file.tell()


def _read(file: File, start: int, length: int) -> bytes:
    pieces: list[bytes] = []
    missing = length
    while missing:
        piece = file.read(missing)
        if not piece:
            raise exceptions.BrokenStream(
                f"the file ended at {start + length - missing}, before its end; was it made "
                "smaller while it was read?"
            )
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write(file: File, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = file.write(rest)
        # Some write all, and do not say so.
        rest = rest[written if isinstance(written, int) else len(rest) :]


def _with_zeros(found: Iterator[Marked], count: int) -> Iterator[Marked]:
    """All chunks: those in between are zeros."""
    following = 0
    for number, mark in itertools.chain(found, [(count, b"")]):
        yield from ((between, digests.ZEROS) for between in range(following, number))
        if number < count:
            yield number, mark
        following = number + 1
