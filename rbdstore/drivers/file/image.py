# SPDX-License-Identifier: Apache-2.0
"""An open image: its data, and who uses it. Its snaps are in snaps.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from rbdstore import driver, exceptions
from rbdstore.drivers.file import diff, views
from rbdstore.drivers.file.snaps import SnapHandle
from rbdstore.drivers.file.views import View
from rbdstore.drivers.file.watching import watchers

_LARGEST_SIZE: Final = 1 << 60
# As many objects are compared at one look, so that memory is bounded.
_OBJECTS_AT_ONCE: Final = 4096


class FileImage(SnapHandle):
    # Data

    def size(self) -> int:
        with self.reading() as tx:
            return int(self._row(tx)["size"])

    @property
    def object_size(self) -> int:
        with self.used():
            return self._object_size

    def features(self) -> frozenset[str]:
        with self.used():
            return self._features

    def read(self, offset: int, length: int) -> bytes:
        def stretch(view: View) -> bytes:
            return views.read(view, offset, max(0, min(length, view.size - offset)))

        if offset < 0:
            raise exceptions.InvalidInput(f"{offset} is no offset", spec=self.spec)
        with self.used():
            return self.look(stretch)

    def write(self, offset: int, data: bytes) -> None:
        if self.read_only:
            # Of two mistakes librbd tells of this one.
            self._check_stretch(offset, len(data), self.size())
        with self.writing() as view:
            self._check_stretch(offset, len(data), view.size)
            self.data.check_space(len(data))
            source = memoryview(data)
            for number, start, stop in view.pieces(offset, len(data)):
                at = number * view.object_size + start - offset
                self.objects.write(view, number, start, source[at : at + stop - start])

    def _check_stretch(self, offset: int, length: int, size: int) -> None:
        if offset < 0 or offset + length > size:
            raise exceptions.InvalidSize(
                f"{length} bytes at {offset} reach beyond its end at {size}", spec=self.spec
            )

    def discard(self, offset: int, length: int) -> None:
        if min(offset + length, self.size()) <= offset:
            return
        with self.writing() as view:
            self._zero(view, offset, min(offset + length, view.size))

    def _zero(self, view: View, offset: int, end: int) -> None:
        for number in views.numbers(view, offset, end) if offset < end else ():
            first = number * view.object_size
            self.objects.zero(
                view, number, max(offset - first, 0), min(end - first, view.object_size)
            )

    def flush(self) -> None:
        with self.used():
            self.objects.flush()
            self.data.sync()

    def resize(self, size: int, *, allow_shrink: bool = False) -> None:
        if not 0 <= size <= _LARGEST_SIZE:
            raise exceptions.InvalidSize(f"{size} bytes", spec=self.spec)
        if self.read_only:
            present = self.size()
            if not allow_shrink:
                self._check_not_smaller(size, present)
            if size == present:
                return
        with self.alone():
            # As librbd does it, which asks the owner to do it.
            view = self.head(owned=False)
            if not allow_shrink:
                self._check_not_smaller(size, view.size)
            if size < view.size:
                # First, so that nothing of it comes back when the image grows again.
                self._zero(view, size, view.size)
                self.objects.flush()
            with self.data.database.writing() as tx:
                tx.execute(
                    "UPDATE images SET size = :size, overlap = min(overlap, :size), "
                    "parent = iif(min(overlap, :size) > 0, parent, NULL) WHERE number = :number",
                    {"size": size, "number": self.number},
                )

    def _check_not_smaller(self, size: int, present: int) -> None:
        if size < present:
            raise exceptions.InvalidSize(
                f"{size} bytes is less than its {present}", spec=self.spec
            )

    def extents(
        self,
        offset: int,
        length: int,
        *,
        from_snap: str | None = None,
        include_parent: bool = True,
        whole_object: bool = False,
    ) -> Iterator[driver.Extent]:
        window = self.object_size * _OBJECTS_AT_ONCE
        end = min(offset + length, self.size())
        while offset < end:
            stop = min(end, (offset // window + 1) * window)
            yield from self._extents(offset, stop, from_snap, include_parent, whole_object)
            offset = stop

    def _extents(
        self,
        offset: int,
        end: int,
        from_snap: str | None,
        include_parent: bool,
        whole_object: bool,
    ) -> list[driver.Extent]:
        def both() -> tuple[View, View | None]:
            now = self._view()
            if from_snap is not None:
                return now, self._view_before(from_snap)
            return now if include_parent else dataclasses.replace(now, parent=None), None

        def changes(seen: tuple[View, View | None]) -> list[driver.Extent]:
            return list(diff.extents(*seen, offset, end, whole_object=whole_object))

        with self.used(from_snap):
            return views.at_one_moment(both(), both, changes)

    def _view_before(self, from_snap: str) -> View:
        with self.data.database.reading() as tx:
            snap = self._snap_by_name(tx, from_snap)
            if self.snap is not None and self.snap < snap["number"]:
                raise exceptions.InvalidInput(
                    f"it was set to a snapshot older than {from_snap}", spec=self.spec
                )
            return views.load(self.data, tx, self.number, snap["number"])

    # Who uses it, and what is written on it

    def watchers(self) -> list[str]:
        with self.reading() as tx:
            self.check_there(tx)
            return watchers(self.folder)

    def lock(self) -> None:
        with self.used():
            if "exclusive-lock" not in self._features:
                return
            with self.alone(), self.data.database.writing() as tx:
                owner = self.check_there(tx)["owner"]
                if self.is_owned_by_another(owner):
                    raise exceptions.InUse("locked", spec=self.spec, watchers=[owner])
                tx.execute(
                    "UPDATE images SET owner = ? WHERE number = ?", (self.address, self.number)
                )
            self.owns = True

    def set_metadata(self, key: str, value: str) -> None:
        with self.changing() as tx:
            tx.execute(
                "INSERT OR REPLACE INTO metadata VALUES (?, ?, ?)", (self.number, key, value)
            )

    def metadata(self) -> dict[str, str]:
        with self.reading() as tx:
            self.check_there(tx)
            rows = tx.execute(
                "SELECT key, value FROM metadata WHERE image = ? ORDER BY key", (self.number,)
            )
            return {row["key"]: row["value"] for row in rows}
