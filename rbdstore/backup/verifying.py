# SPDX-License-Identifier: Apache-2.0
"""Reading a backup back, and telling what of it is not as it was written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

from rbdstore import exceptions
from rbdstore.backup import changes, chunks, digests, manifests, recorded
from rbdstore.backup.catalog import Catalog
from rbdstore.backup.manifests import Manifest
from rbdstore.backup.recorded import Marked
from rbdstore.driver import Image, Progress


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """Something of a backup that is not as it was written.

    :ivar what: the manifest, the image that the backup is in or its snapshot, or a chunk of that
    :ivar offset: a chunk's, in bytes, and its ``length``; else 0
    """

    what: Literal["manifest", "image", "chunk"]
    text: str
    offset: int = 0
    length: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What came of reading a backup back.

    :ivar read: how many bytes were read
    """

    backup_id: str
    read: int
    damage: tuple[Damage, ...]

    @property
    def sound(self) -> bool:
        return not self.damage


def verify(
    catalog: Catalog, backup_id: str, window: int, progress: Progress | None
) -> Verification:
    """Read all that a restore would read, and compare it.

    :raises BackupNotFound:
    :raises Vanished: it was deleted meanwhile
    """
    try:
        chain = catalog.chain(backup_id)
        for part in recorded.parts(chain):
            catalog.sums(chain, part)
    except exceptions.BrokenBackup as error:
        return Verification(backup_id, 0, (Damage("manifest", str(error)),))
    try:
        with recorded.opened(catalog, chain[0]) as image:
            read, damage = _compare(catalog, chain, image, window, progress)
            recorded.check_still_there(catalog, image, chain[0])
    except exceptions.BrokenBackup as error:
        return Verification(backup_id, 0, (Damage("image", str(error)),))
    return Verification(backup_id, read, damage)


def _compare(
    catalog: Catalog,
    chain: Sequence[Manifest],
    image: Image,
    window: int,
    progress: Progress | None,
) -> tuple[int, tuple[Damage, ...]]:
    size, chunk_size = chain[0].size, chain[0].chunk_size
    read = 0
    damage: list[Damage] = []
    wanted = (
        (marked, marked[0] * chunk_size, min(chunk_size, size - marked[0] * chunk_size))
        for marked in _marked(catalog, chain, image)
    )
    with chunks.Ahead(image, wanted, window) as reads:
        for (number, mark), data in reads:
            start = number * chunk_size
            read += len(data)
            found = digests.digest(data)
            if found != mark:
                damage.append(
                    Damage("chunk", _text(chain[0], start, found, mark), start, len(data))
                )
            if progress is not None:
                progress(min(start + chunk_size, size), size)
    if progress is not None:
        progress(size, size)
    return read, tuple(damage)


def _text(manifest: Manifest, start: int, found: bytes, mark: bytes) -> str:
    where = f"the chunk at {start} of {manifest.base}@{manifest.snap}"
    if found == digests.ZEROS:
        return f"{where} is missing"
    if mark == digests.ZEROS:
        return f"{where} has data, and is to read as zeros"
    return f"{where} is damaged"


def _marked(catalog: Catalog, chain: Sequence[Manifest], image: Image) -> Iterator[Marked]:
    """Every chunk that is listed, or that there is, with what it is to read as."""
    chunk_size = chain[0].chunk_size
    there = (change.number for change in changes.everything(image, chunk_size))
    following = next(there, None)
    for part in range(manifests.count(chain[0].size, chunk_size * manifests.PART_CHUNKS)):
        sums = catalog.sums(chain, part)
        end = (part + 1) * manifests.PART_CHUNKS
        while following is not None and following < end:
            sums.setdefault(following, digests.ZEROS)
            following = next(there, None)
        yield from sorted(sums.items())
