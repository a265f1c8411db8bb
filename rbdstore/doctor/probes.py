# SPDX-License-Identifier: Apache-2.0
"""What a service does, done with a small image of the doctor's own, and undone.

All of it goes by the seam, with any driver. The image and its clones are drafts of a reserved name
(:func:`rbdstore.spec.new_probe`), under a lease with a journal that says so: where the doctor is
killed, ``rbdstore gc`` finishes what was begun, as it does of any operation.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from rbdstore import exceptions, reclaim, records, spec
from rbdstore.checks import Check, Mend, Outcome, failed, passed, skipped, warned
from rbdstore.driver import Image, Pool, find_snap
from rbdstore.names import claims

_SIZE: Final = 4 << 20
_DATA_BYTES: Final = 64 << 10
_MOST_IMAGES: Final = 20
# Leases and keys have limits of minutes; what is less than this, they do not notice.
_MOST_SKEW: Final = 5.0


class Reading:
    """What a user does that only reads in a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._names: list[str] = []

    def checks(self, needs: str) -> Iterator[Check]:
        yield Check("list", self._list, (needs,))
        yield Check("read", self._read, ("list",))

    def _list(self) -> Outcome:
        self._names = self.pool.list_images()
        self.pool.trash_list()
        return passed(f"{len(self._names)} images")

    def _read(self) -> Outcome:
        for name in self._names[:_MOST_IMAGES]:
            # It may have been deleted since, or be debris.
            with contextlib.suppress(exceptions.ImageNotFound), self.pool.open(name) as image:
                image.read(0, min(_DATA_BYTES, image.size()))
                image.snaps()
                return passed(name)
        return skipped("there is no image to be read")

    def parent(self) -> tuple[str, str] | None:
        """An image and a snap of it that clones are made from; None: there is none."""
        for name in self._names[:_MOST_IMAGES]:
            with contextlib.suppress(exceptions.NotFound), self.pool.open(name) as image:
                if image.size():
                    return name, find_snap(image, spec.IMAGE_SNAP).name
        return None


class Trial(claims.Claim):
    """A claim on a probe's name, inside of which things are tried.

    Whatever is made is in the journal before it is.
    """

    def __init__(self, pool: Pool, seconds: float, command: str) -> None:
        """:param seconds: how long the lease outlives this process
        :param command: what begins a command line of ``rbdstore`` for this backend
        """
        self._command = command
        super().__init__(pool, spec.new_probe(), ["doctor"], seconds, effect="none", wait=0)
        self.image, self.renamed, self.copy, self.crossed = (
            spec.draft_name(self.name) for _ in range(4)
        )
        self._data = os.urandom(_DATA_BYTES)
        self.has_begun = False
        self._name = self.image
        self._made = (0.0, 0.0)

    def _prepare(self) -> None:
        # Clones before what they are clones of.
        self._journal.drafts += [self.crossed, self.copy, self.renamed, self.image]

    # Beginning and end

    def begin(self) -> Outcome:
        # One check of many enters it, and another one leaves it.
        self.__enter__()
        self.has_begun = True
        return passed("taken, with a journal in it")

    def end(self) -> Outcome:
        """Remove whatever there is; let go of the name."""
        if not self.has_begun:
            return passed("nothing was made")
        self.has_begun = False
        try:
            self._finish()
        except exceptions.RbdStoreError as error:
            self._let_go()
            return failed(
                f"something of {self.name} is left in pool {self.pool.name}: {error}",
                Mend(f"{self._command} gc --apply"),
            )
        self._release()
        return passed("all of it is removed again")

    # What is tried

    def checks(self) -> Iterator[Check]:
        yield Check("create", self._create, ("lease",))
        yield Check("own clock", self._clock, ("create",))
        yield Check("write", self._write, ("create",))
        yield Check("extend", self._extend, ("write",))
        yield Check("rename", self._rename, ("write",))
        yield Check("snapshot", self._snapshot, ("write",))
        yield Check("clone", self._clone, ("snapshot",))
        yield Check("flatten", self._flatten, ("clone",))
        yield Check("trash", self._trash, ("flatten",))

    def _create(self) -> Outcome:
        before = time.time()
        self.pool.create(self.image, _SIZE)
        self._made = before, time.time()
        return passed(f"an image of {_SIZE >> 20} MiB")

    def _clock(self) -> Outcome:
        """Whether this host's clock is the cluster's, which dates what is made in it."""
        before, after = self._made
        with self._opened() as image:
            created = image.created()
        if created is None:
            return skipped("this driver does not know when an image was made")
        ahead, behind = before - created, created - after
        if max(ahead, behind) <= _MOST_SKEW:
            return passed("the same as the cluster's")
        return warned(
            f"this host's clock is {max(ahead, behind):.0f} s "
            f"{'ahead' if ahead > behind else 'behind'}",
            Mend("chronyc makestep  # on this host; else set up NTP here"),
        )

    def _write(self) -> Outcome:
        with self._opened() as image:
            image.write(0, self._data)
            image.flush()
            if image.read(0, _DATA_BYTES) != self._data:
                return failed("what was read is not what was written")
        return passed("and read")

    def _extend(self) -> Outcome:
        with self._opened() as image:
            image.resize(2 * _SIZE)
        return passed(f"to {_SIZE >> 19} MiB")

    def _rename(self) -> Outcome:
        self.pool.rename(self.image, self.renamed)
        self._name = self.renamed
        return passed("to another name")

    def _snapshot(self) -> Outcome:
        with self._opened() as image:
            image.create_snap(spec.IMAGE_SNAP)
            # As an image's is, for clones of format 1 and for clients of old.
            image.protect_snap(spec.IMAGE_SNAP)
        return passed("of the image")

    def _clone(self) -> Outcome:
        self.pool.clone(self.pool, self._name, spec.IMAGE_SNAP, self.copy)
        with self._opened() as image:
            list(image.children(find_snap(image, spec.IMAGE_SNAP).id))
        return passed(f"of format {self.pool.cluster.clone_format}")

    def _flatten(self) -> Outcome:
        with self.pool.open(self.copy, read_only=False) as image:
            image.flatten()
        return passed("of the clone")

    def _trash(self) -> Outcome:
        with self.pool.open(self.copy) as image:
            image_id = image.id
        self.note_deletion(image_id, [])
        # As gc wants it, to know whose it is.
        records.mark_deleted(self.pool, image_id, self.copy)
        self.pool.trash_move(self.copy)
        reclaim.purge(self.pool, image_id, self.seconds, reclaim.forget)
        if self.pool.trash_get(image_id) is not None:
            return failed("the clone is still in the trash")
        return passed("the clone was moved there, and removed")

    def _opened(self) -> Image:
        return self.pool.open(self._name, read_only=False)

    # With other pools

    def parent(self) -> tuple[str, str]:
        """The image, and the snap of it to clone."""
        return self._name, spec.IMAGE_SNAP

    def clone_from(self, source: Pool, image: str, snap: str) -> Outcome:
        """Clone a snap of another pool's; ``source`` is that pool as this one's user sees it."""
        with source.open(image) as parent:
            find_snap(parent, snap)
        self.pool.clone(source, image, snap, self.crossed)
        with self.pool.open(self.crossed) as clone:
            clone.read(0, 1)
        return passed(f"{source.spec(image, snap)} was cloned")

    def drop_crossed(self) -> None:
        """Make room for the next one. Where that fails, :meth:`end` says so."""
        with contextlib.suppress(exceptions.RbdStoreError):
            reclaim.draft(self.pool, self.crossed, self.seconds, reclaim.forget)
