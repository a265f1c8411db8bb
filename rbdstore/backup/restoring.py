# SPDX-License-Identifier: Apache-2.0
"""Backups become volumes again: a new one, or one that exists.

What is read is compared with the manifest before it is written. To a volume that still has the
snapshot of a backup of the same chain, only that is written in which it differs from the backup.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from rbdstore.backup import chunks, digests, manifests
from rbdstore.backup.recorded import Marked
from rbdstore.driver import Image, Pool, Progress
from rbdstore.names import claims, drafts, removal
from rbdstore.settings import Settings


class Backup(Protocol):
    """What is restored.

    :ivar backup_id: its id, and ``pool`` the pool that it is in
    :ivar size: in bytes
    :ivar chunk_size: how large its chunks are
    """

    backup_id: str
    pool: Pool
    size: int
    chunk_size: int

    def check(self) -> None:
        """See that all that there is beside its data can be read, before anything is written.

        :raises BrokenBackup:
        """

    def opened(self) -> contextlib.AbstractContextManager[Image]:
        """Have the image open that it is in, as it was then, and see that it stays there.

        :raises BrokenBackup: there is none
        :raises Vanished: it was deleted meanwhile
        """

    def chunks(self) -> Iterator[Marked]:
        """All chunks that have data, in order."""

    def differing(self, target: Image) -> Iterator[Marked]:
        """Every chunk in which a volume may differ from it, in order.

        :param target: opened read-only
        """


class Restorer:
    """Restores one backup."""

    def __init__(
        self,
        backup: Backup,
        settings: Settings,
        *,
        verify: bool,
        progress: Progress | None,
    ) -> None:
        self._backup = backup
        self._settings = settings
        self._verify = verify
        self._progress = progress

    def to_new(self, pool: Pool, name: str, order: int, seconds: float) -> None:
        """Make a volume of the backup.

        :raises Duplicate: the name is taken
        :raises BrokenBackup: nothing is left of the volume
        """
        with drafts.Draft(pool, name, self._request(), seconds, effect="make") as draft:
            if draft.adopted:
                return
            draft.check_free()
            self._backup.check()
            with (
                self._backup.opened() as base,
                draft.create(self._backup.size, order=order) as image,
            ):
                image.lock()
                self._fill(base, image, self._backup.chunks(), is_new=True)
            draft.publish()

    def to_existing(self, pool: Pool, name: str, seconds: float) -> None:
        """Make a volume what it was at the backup; a larger one keeps its size.

        Not atomic: may be repeated.

        :raises InUse: it is open for writing
        :raises BrokenBackup: a chunk is damaged; those before it have been written
        """
        size = self._backup.size
        self._backup.check()
        with (
            claims.Claim(pool, name, self._request(), seconds, effect="none"),
            self._backup.opened() as base,
            pool.open(name) as seen,
        ):
            removal.check_unwatched(seen, 0)
            with pool.open_live(image_id=seen.id) as image:
                image.lock()
                present = image.size()
                if present < size:
                    image.resize(size)
                # Anew: a handle for reading is not told of another size, nor of new snapshots.
                with pool.open(image_id=seen.id) as target:
                    self._fill(base, image, self._backup.differing(target), is_new=False)
                if self._settings.restore_discard_excess and present > size:
                    image.discard(size, present - size)
                    image.flush()

    def _request(self) -> list[Any]:
        return ["restore", self._backup.pool.name, self._backup.backup_id]

    def _fill(self, base: Image, image: Image, wanted: Iterable[Marked], *, is_new: bool) -> None:
        size, chunk_size = self._backup.size, self._backup.chunk_size
        window = self._settings.transfer_window
        stretches = (stretch(marked, size, chunk_size) for marked in wanted)
        with (
            chunks.Writing(image, window) as writing,
            chunks.Ahead(base, stretches, window) as reads,
        ):
            for (number, mark), data in reads:
                start = number * chunk_size
                check(self._backup, start, mark, data, verify=self._verify)
                if mark == digests.ZEROS:
                    writing.discard(start, min(chunk_size, size - start))
                elif is_new:
                    writing.begin_data(start, data)
                else:
                    writing.begin(start, data)
                if self._progress is not None:
                    self._progress(min(start + chunk_size, size), size)
            writing.flush()
        if self._progress is not None:
            self._progress(size, size)


def stretch(marked: Marked, size: int, chunk_size: int) -> tuple[Marked, int, int]:
    """What is to be read of a chunk; nothing of one that is zeros."""
    number, mark = marked
    start = number * chunk_size
    return marked, start, 0 if mark == digests.ZEROS else min(chunk_size, size - start)


def check(backup: Backup, start: int, mark: bytes, data: bytes, *, verify: bool) -> None:
    """Compare what was read of a chunk with its digest, if that is known.

    :raises BrokenBackup:
    """
    if verify and mark and digests.digest(data) != mark:
        raise manifests.broken(
            backup.pool,
            backup.backup_id,
            f"the chunk at {start} is damaged or missing, and was not restored",
        )
