# SPDX-License-Identifier: Apache-2.0
"""Manifests: what a backup is of, where it is, and what its chunks read as.

A **chunk** is what one object of the backup's image holds. A manifest lists the chunks that its
backup has written, each with a digest: of a full backup all that are not zeros, of an increment
those that may have changed. It is the map of one RADOS object, whose entries are the *head*
(:mod:`rbdstore.backup.sealed`) and the *parts*, of 4096 chunks each, whose digests are in the
head. So nothing of it is ever larger than a volume of one part would make it, and no entry can be
cut off, exchanged or lost without notice.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Final, Self

import xxhash

from rbdstore import exceptions, spec
from rbdstore.backup import sealed
from rbdstore.driver import Pool

PART_CHUNKS: Final = 4096

Sums = dict[int, bytes]
"""The digests of chunks (:mod:`rbdstore.backup.digests`), by their numbers."""

_VERSION: Final = 1
_ALGORITHM: Final = "xxh3-128 of 64 KiB, added up"
_HEAD: Final = "head"
_ENTRY: Final = struct.Struct("<H16s")


def count(size: int, chunk_size: int) -> int:
    """How many chunks an image has."""
    return -(-size // chunk_size)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The snapshot that a backup was made of.

    :ivar users: whether a user made it, and not the backup
    """

    fsid: str
    pool: str
    namespace: str
    image: str
    image_id: str
    snap: str
    snap_id: int
    users: bool

    @property
    def place(self) -> str:
        """Which image it is, of any cluster."""
        return "/".join((self.fsid, self.pool, self.namespace, self.image_id))

    @property
    def spec(self) -> spec.ImageSpec:
        snap = self.snap if self.users else None
        return spec.ImageSpec(self.pool, self.image, snap, self.namespace)


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """The head of a manifest.

    :ivar base: the image that the backup is in, and ``base_id`` its id
    :ivar snap: the snapshot of it that is the backup, and ``snap_id`` its id
    :ivar parent: the backup that this one is an increment of; None: it is a full one
    :ivar size: in bytes, of the volume then
    :ivar floor: beyond that many bytes nothing counts that earlier backups had
    :ivar stored: how many bytes there are in the chunks that it lists
    :ivar reason: why it is a full one though an increment was wanted
    :ivar imported: how the stream called it that it came from
    :ivar parts: the digest of each part that there is, in hex
    """

    backup_id: str
    volume: str
    source: Source | None
    base: str
    base_id: str
    snap: str
    snap_id: int
    parent: str | None
    size: int
    floor: int
    chunk_size: int
    stored: int
    begun: float
    finished: float
    reason: str = ""
    imported: str = ""
    parts: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return sealed.seal(
            {"version": _VERSION, "algorithm": _ALGORITHM, **dataclasses.asdict(self)}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """:raises ValueError: it is damaged, or of another release"""
        values = sealed.unseal(data)
        try:
            version, algorithm = values.pop("version"), values.pop("algorithm")
            if (version, algorithm) != (_VERSION, _ALGORITHM):
                raise ValueError(
                    f"it is of version {version!r} with {algorithm!r}, which this release does "
                    "not know"
                )
            values["source"] = values["source"] and Source(**values["source"])
            values["parts"] = {int(number): mark for number, mark in values["parts"].items()}
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"it is no manifest: {error}") from error


class Writer:
    """Writes the parts of a manifest while its chunks come, in order, and the head last."""

    def __init__(self, pool: Pool, backup_id: str) -> None:
        self._pool = pool
        self._key = spec.backup_object(backup_id)
        self._number = 0
        self._sums: Sums = {}
        self.parts: dict[int, str] = {}
        self.chunks = 0

    def add(self, number: int, mark: bytes) -> None:
        """Add the digest of a chunk; each has a higher number than the one before."""
        part = number // PART_CHUNKS
        if part != self._number:
            self._end_part()
            self._number = part
        self._sums[number] = mark
        self.chunks += 1

    def _end_part(self) -> None:
        if self._sums:
            packed = _pack(self._number, self._sums)
            self.parts[self._number] = xxhash.xxh3_128_hexdigest(packed)
            self._pool.set_keys(self._key, {_part(self._number): packed})
            self._sums = {}

    def finish(self) -> None:
        """Write what there is of the last part."""
        self._end_part()


def write(pool: Pool, manifest: Manifest, part: tuple[int, Sums] | None = None) -> Manifest:
    """Write a head, and with it, at once or not at all, a part that is new or has changed.

    :return: the manifest as it is then
    """
    entries: dict[str, bytes] = {}
    if part is not None:
        number, sums = part
        packed = _pack(number, sums)
        parts = {**manifest.parts, number: xxhash.xxh3_128_hexdigest(packed)}
        manifest = dataclasses.replace(manifest, parts=parts)
        entries[_part(number)] = packed
    entries[_HEAD] = manifest.to_bytes()
    pool.set_keys(spec.backup_object(manifest.backup_id), entries)
    return manifest


def read(pool: Pool, backup_id: str) -> Manifest:
    """:raises BrokenBackup: it is missing, damaged, or of another release"""
    data = pool.get_key(spec.backup_object(backup_id), _HEAD)
    if data is None:
        raise broken(pool, backup_id, "its manifest is missing")
    try:
        manifest = Manifest.from_bytes(data)
        if manifest.backup_id != backup_id:
            raise ValueError(f"it is that of {exceptions.shown(manifest.backup_id)}")
    except (ValueError, RecursionError) as error:
        raise broken(pool, backup_id, f"its manifest cannot be used: {error}") from error
    return manifest


def is_begun(pool: Pool, backup_id: str) -> bool:
    """Whether there is no more of a manifest than parts, which are written before its head."""
    entries = pool.get_keys(spec.backup_object(backup_id))
    return bool(entries) and _HEAD not in entries


def read_part(pool: Pool, manifest: Manifest, number: int) -> Sums:
    """The digests of the chunks of one part; none, where there is no such part.

    :raises BrokenBackup: it is missing or damaged
    """
    if number not in manifest.parts:
        return {}
    packed = pool.get_key(spec.backup_object(manifest.backup_id), _part(number))
    if packed is None:
        raise broken(pool, manifest.backup_id, f"part {number} of its manifest is missing")
    if xxhash.xxh3_128_hexdigest(packed) != manifest.parts[number]:
        raise broken(pool, manifest.backup_id, f"part {number} of its manifest is damaged")
    first = number * PART_CHUNKS
    return {first + index: mark for index, mark in _ENTRY.iter_unpack(packed)}


def remove(pool: Pool, backup_id: str) -> None:
    """Remove a manifest. A missing one is no error."""
    pool.remove_object(spec.backup_object(backup_id))


def broken(pool: Pool, backup_id: str, text: str) -> exceptions.BrokenBackup:
    return exceptions.BrokenBackup(f"backup {backup_id} in pool {pool.name}: {text}")


def _pack(number: int, sums: Sums) -> bytes:
    first = number * PART_CHUNKS
    return b"".join(_ENTRY.pack(chunk - first, mark) for chunk, mark in sorted(sums.items()))


def _part(number: int) -> str:
    return f"part/{number:08}"
