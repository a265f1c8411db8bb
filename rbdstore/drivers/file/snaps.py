# SPDX-License-Identifier: Apache-2.0
"""Snaps, parents and children of an open image."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from rbdstore import driver, exceptions
from rbdstore.drivers.file import objects, views
from rbdstore.drivers.file.datadir import image_id
from rbdstore.drivers.file.handle import Handle
from rbdstore.drivers.file.views import View

T = TypeVar("T")

_CHILDREN: Final = """
SELECT pools.name AS pool, namespace, images.name, images.number, kept_until
FROM images JOIN pools ON pools.number = images.pool
WHERE images.parent = :snap
    OR images.number IN (SELECT image FROM snaps WHERE snaps.parent = :snap)
ORDER BY images.number
"""

_MOST_SHARED: Final = """
SELECT max(overlap) FROM
    (SELECT overlap FROM images WHERE number = :image
    UNION ALL SELECT overlap FROM snaps WHERE image = :image)
"""

_PARENT: Final = """
SELECT pools.name AS pool, namespace, images.name AS image, images.number, snaps.name AS snap
FROM snaps JOIN images ON images.number = snaps.image JOIN pools ON pools.number = images.pool
WHERE snaps.number = ?
"""


class SnapHandle(Handle):
    """The part of an image that has to do with its snaps and its lineage."""

    # Lineage

    def parent(self) -> driver.Parent | None:
        with self.reading() as tx:
            row = tx.execute(_PARENT, (self._row(tx)["parent"],)).fetchone()
        if row is None:
            return None
        return driver.Parent(
            pool=row["pool"],
            namespace=row["namespace"],
            image=row["image"],
            image_id=image_id(row["number"]),
            snap=row["snap"],
        )

    def _row(self, tx: sqlite3.Connection) -> sqlite3.Row:
        """The image, or the snap it is set to."""
        return self.check_there(tx) if self.snap is None else self._snap_by_id(tx, self.snap)

    def set_snap(self, snap_id: int | None) -> None:
        with self.reading() as tx:
            if snap_id is not None:
                self._snap_by_id(tx, snap_id)
            self.snap = snap_id

    def children(self, snap_id: int) -> list[driver.Child]:
        with self.reading() as tx:
            self._snap_by_id(tx, snap_id)
            return self._children(tx, snap_id)

    @staticmethod
    def _children(tx: sqlite3.Connection, snap_id: int) -> list[driver.Child]:
        return [
            driver.Child(
                pool=row["pool"],
                namespace=row["namespace"],
                image=row["name"],
                image_id=image_id(row["number"]),
                trashed=row["kept_until"] is not None,
            )
            for row in tx.execute(_CHILDREN, {"snap": snap_id})
        ]

    def flatten(self, *, progress: driver.Progress | None = None) -> None:
        if self._still_shared():
            self.check_writable()
        copied = 0
        while (reach := self._still_shared()) > copied:
            if self._copy_shared(None, reach, lambda: self._still_shared() > 0, progress):
                copied = reach
                with self.alone(), self.data.database.writing() as tx:
                    self._detach(tx, copied)

    def _still_shared(self) -> int:
        """How far the parent shows through, in what is to let go of it."""
        with self.reading() as tx:
            row = self.check_there(tx)
            if row["parent"] is None:
                return 0
            if "deep-flatten" not in self._features:
                return max(1, int(row["overlap"]))
            (most,) = tx.execute(
                "SELECT max(overlap) FROM snaps WHERE image = ?", (self.number,)
            ).fetchone()
            return max(1, int(row["overlap"]), int(most or 0))

    def _copy_shared(
        self,
        snap: int | None,
        reach: int,
        still: Callable[[], bool],
        progress: driver.Progress | None = None,
    ) -> bool:
        """Put what the parent shows into the lowest layer: there, all that showed it find it.

        False: nobody needs that any more, and it was not done to the end.

        :param snap: whose parent; None: the image's
        :param still: whether there is anybody who needs that
        """
        view = self._load(snap)
        if view.parent is None:
            return False
        end = min(reach, view.parent.size)
        lowest = _lowest(view, end)
        for number in views.numbers(lowest, 0, end):
            with self.used(), self.turnstile.shared():
                # Whoever else flattened it may have let go of the parent.
                if not still():
                    return False
                self._copy(snap, number)
            if progress is not None:
                progress(min(end, (number + 1) * view.object_size), end)
        with self.used():
            objects.sync_folder(lowest.layers[0])
            objects.sync_folder(self.folder)
        if progress is not None:
            progress(end, end)
        return True

    def _copy(self, snap: int | None, number: int) -> None:
        def again() -> View:
            # The whole of an object, also where a snap shows more of it than the image does.
            with self.data.database.reading() as tx:
                (most,) = tx.execute(_MOST_SHARED, {"image": self.number}).fetchone()
                return _lowest(views.load(self.data, tx, self.number, snap), most)

        def look(at: Callable[[View], T]) -> T:
            return views.at_one_moment(lowest, again, at)

        lowest = again()
        layer = lowest.layers[0]
        if not os.path.exists(views.object_path(layer, number)) and look(
            lambda view: objects.has_below(view, number)
        ):
            self.data.check_space(lowest.object_size)
            objects.copy_up(look, number, layer, self.data.temporary)

    def _load(self, snap: int | None) -> View:
        with self.data.database.reading() as tx:
            return views.load(self.data, tx, self.number, snap)

    def _detach(self, tx: sqlite3.Connection, copied: int) -> None:
        deep = "deep-flatten" in self._features
        if deep:
            tx.execute(
                "UPDATE snaps SET parent = NULL, overlap = 0 WHERE image = ? AND overlap <= ?",
                (self.number, copied),
            )
        tx.execute(
            "UPDATE images SET parent = NULL, overlap = 0 WHERE number = ? AND overlap <= ?",
            (self.number, copied),
        )

    # Snaps

    def snaps(self) -> list[driver.Snap]:
        with self.reading() as tx:
            self.check_there(tx)
            rows = tx.execute(
                "SELECT * FROM snaps WHERE image = ? ORDER BY number", (self.number,)
            )
            return [
                driver.Snap(row["number"], row["name"], row["size"], bool(row["protected"]))
                for row in rows
            ]

    def _snap_by_id(self, tx: sqlite3.Connection, snap_id: int) -> sqlite3.Row:
        return self._one_snap(tx, "number", snap_id, f"no snapshot has id {snap_id}", None)

    def _snap_by_name(self, tx: sqlite3.Connection, name: str) -> sqlite3.Row:
        return self._one_snap(tx, "name", name, "no such snapshot", name)

    def _one_snap(
        self, tx: sqlite3.Connection, column: str, value: Any, missing: str, name: str | None
    ) -> sqlite3.Row:
        self.check_there(tx)
        row: sqlite3.Row | None = tx.execute(
            f"SELECT * FROM snaps WHERE image = ? AND {column} = ?",  # nosec B608: not input
            (self.number, value),
        ).fetchone()
        if row is None:
            raise exceptions.SnapshotNotFound(missing, spec=self.pool.spec(self.name, name))
        return row

    def _check_free(self, tx: sqlite3.Connection, name: str) -> None:
        found = tx.execute(
            "SELECT 1 FROM snaps WHERE image = ? AND name = ?", (self.number, name)
        ).fetchone()
        if found is not None:
            raise exceptions.Duplicate("the name is taken", spec=self.pool.spec(self.name, name))

    def create_snap(self, name: str) -> None:
        with self.alone(name), self.data.database.writing() as tx:
            self.check_there(tx)
            self._check_free(tx, name)
            tx.execute(
                "INSERT INTO snaps (image, name, layer, size, parent, overlap) "
                "SELECT number, ?, layer, size, parent, overlap FROM images WHERE number = ?",
                (name, self.number),
            )

    def rename_snap(self, name: str, new_name: str) -> None:
        with self.changing(name) as tx:
            snap = self._snap_by_name(tx, name)
            self._check_free(tx, new_name)
            tx.execute("UPDATE snaps SET name = ? WHERE number = ?", (new_name, snap["number"]))

    def remove_snap(self, snap_id: int) -> None:
        # Of several mistakes librbd tells of these before it sees that the handle is read-only.
        with self.reading() as tx:
            self._check_unused(tx, snap_id)
        with self.alone(), self.data.database.writing() as tx:
            self._check_unused(tx, snap_id)
            tx.execute("DELETE FROM snaps WHERE number = ?", (snap_id,))
        with self.used():
            self.settle()

    def _check_unused(self, tx: sqlite3.Connection, snap_id: int) -> None:
        snap = self._snap_by_id(tx, snap_id)
        spec = self.pool.spec(self.name, snap["name"])
        if children := self._children(tx, snap_id):
            raise exceptions.InUse(spec=spec, children=[child.spec for child in children])
        if snap["protected"]:
            raise exceptions.InUse("the snapshot is protected; unprotect it first", spec=spec)

    def protect_snap(self, name: str) -> None:
        self._set_protected(name, protected=True)

    def unprotect_snap(self, name: str) -> None:
        self._set_protected(name, protected=False)

    def _set_protected(self, name: str, *, protected: bool) -> None:
        with self.reading() as tx:
            if self._snap_by_name(tx, name)["protected"] == protected:
                return
        with self.changing(name) as tx:
            snap = self._snap_by_name(tx, name)
            tx.execute(
                "UPDATE snaps SET protected = ? WHERE number = ?", (protected, snap["number"])
            )

    def rollback(self, snap: str, *, progress: driver.Progress | None = None) -> None:
        total = self.size()
        if progress is not None:
            progress(0, total)
        copied = 0
        while (copied := self._roll_back(snap, copied)) > 0:
            with self.reading() as tx:
                found = self._snap_by_name(tx, snap)["number"]
            self._copy_shared(found, copied, functools.partial(self._has_parent, found))
        with self.used():
            self.settle()
        if progress is not None:
            progress(total, total)

    def _roll_back(self, snap: str, copied: int) -> int:
        """Do it and return 0, or return how much of the snap's parent must be copied before.

        An image that has let go of its parent does not get it back, though the snap still has it.
        """
        with self.alone(snap), self.data.database.writing() as tx:
            image = self.check_there(tx)
            before = self._snap_by_name(tx, snap)
            self.check_owner(image["owner"])
            parent, overlap = before["parent"], int(before["overlap"])
            if image["parent"] is None and parent is not None:
                if overlap > copied:
                    return overlap
                parent, overlap = None, 0
            tx.execute(
                "UPDATE images SET layer = ?, size = ?, parent = ?, overlap = ? WHERE number = ?",
                (before["layer"], before["size"], parent, overlap, self.number),
            )
        return 0

    def _has_parent(self, snap_id: int) -> bool:
        with self.data.database.reading() as tx:
            row = tx.execute("SELECT parent FROM snaps WHERE number = ?", (snap_id,)).fetchone()
            return row is not None and row["parent"] is not None


def _lowest(view: View, end: int) -> View:
    """An image up to ``end`` as its lowest layer shows it, whatever is above."""
    return View(end, view.object_size, view.layers[-1:], end, view.parent)
