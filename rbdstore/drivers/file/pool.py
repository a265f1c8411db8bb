# SPDX-License-Identifier: Apache-2.0
"""A pool, or a namespace of one: images, by name and in the trash."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import typing
from collections.abc import Iterator
from typing import Final

from rbdstore import driver, exceptions
from rbdstore.drivers.file import errors
from rbdstore.drivers.file.bookkeeping import Bookkeeping
from rbdstore.drivers.file.datadir import image_id, image_number
from rbdstore.drivers.file.image import FileImage
from rbdstore.drivers.file.watching import watchers

if typing.TYPE_CHECKING:
    from rbdstore.drivers.file.cluster import FileCluster

_LONGEST_NAME: Final = 1024
_LARGEST_SIZE: Final = 1 << 60
_ORDERS: Final = range(12, 26)

_STATS: Final = """
SELECT count(*) AS images, coalesce(sum(size), 0) AS provisioned,
    coalesce(sum((SELECT count(*) FROM snaps WHERE snaps.image = images.number)), 0) AS snapshots
FROM images WHERE pool = ? AND kept_until IS NULL
"""


class FilePool(Bookkeeping):
    cluster: FileCluster

    def __init__(self, cluster: FileCluster, number: int, name: str, namespace: str) -> None:
        self.cluster = cluster
        self.number = number
        self.name = name
        self.namespace = namespace

    @contextlib.contextmanager
    def reading(self, image: str | None = None) -> Iterator[sqlite3.Connection]:
        """Give one state of the database; errors are about ``image``."""
        spec = None if image is None else self.spec(image)
        with errors.translated(spec), self.cluster.data.database.reading() as tx:
            yield tx

    @contextlib.contextmanager
    def writing(self, image: str | None = None) -> Iterator[sqlite3.Connection]:
        """Give the database for a change; errors are about ``image``."""
        spec = None if image is None else self.spec(image)
        with errors.translated(spec), self.cluster.data.database.writing() as tx:
            yield tx

    def close(self) -> None:
        """Nothing to let go of."""

    # Images

    def stats(self) -> driver.PoolStats:
        with self.reading() as tx:
            row = tx.execute(_STATS, (self.number,)).fetchone()
            total, used, free = self.cluster.data.space()
        return driver.PoolStats(
            total=total,
            free=free,
            used=used,
            provisioned=row["provisioned"],
            images=row["images"],
            snapshots=row["snapshots"],
        )

    def list_images(self) -> list[str]:
        with self.reading() as tx:
            rows = tx.execute(
                "SELECT name FROM images WHERE pool = ? AND kept_until IS NULL ORDER BY name",
                (self.number,),
            )
            return [row["name"] for row in rows]

    def create(self, name: str, size: int, *, order: int | None = None) -> None:
        options = self.cluster.options
        bits = options.image_order() if order is None else order
        with self.writing(name) as tx:
            self._check_free(tx, name)
            if bits not in _ORDERS:
                raise exceptions.InvalidInput(
                    f"objects have 2 ** {_ORDERS[0]} to 2 ** {_ORDERS[-1]} bytes",
                    spec=self.spec(name),
                )
            if not 0 <= size <= _LARGEST_SIZE:
                raise exceptions.InvalidSize(f"{size} bytes", spec=self.spec(name))
            self._add(tx, name, size, bits, options.image_features())

    def _add(
        self,
        tx: sqlite3.Connection,
        name: str,
        size: int,
        bits: int,
        features: frozenset[str],
        parent: int | None = None,
    ) -> int:
        self._check_free(tx, name)
        image = self._add_row(
            tx,
            (self.number, name, size, bits, ",".join(sorted(features)), parent, size)
            if parent
            else (self.number, name, size, bits, ",".join(sorted(features)), None, 0),
        )
        layer = tx.execute("INSERT INTO layers (image) VALUES (?)", (image,)).lastrowid
        tx.execute("UPDATE images SET layer = ? WHERE number = ?", (layer, image))
        return image

    def _add_row(self, tx: sqlite3.Connection, values: tuple[object, ...]) -> int:
        while True:
            made = tx.execute(
                "INSERT INTO images (pool, name, size, bits, features, parent, overlap, layer) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                values,
            )
            number = int(made.lastrowid or 0)
            folder = self.cluster.data.image_folder(self.number, number)
            if not os.path.isdir(folder):
                return number
            # It had its number before, and the database lost it, as it may without power.
            tx.execute("DELETE FROM images WHERE number = ?", (number,))
            self.cluster.data.discard(tx, folder)

    def clone(self, parent: driver.Pool, image: str, snap: str, name: str) -> None:
        source = parent.spec(image, snap)
        if not isinstance(parent, FilePool) or parent.cluster.fsid != self.cluster.fsid:
            raise exceptions.NotCloneable("it is in another cluster", spec=source)
        options = self.cluster.options
        with self.writing(name) as tx:
            row = tx.execute(
                "SELECT images.number, bits, features, snaps.size, snaps.number AS snap "
                "FROM images JOIN snaps ON snaps.image = images.number "
                "WHERE pool = ? AND images.name = ? AND kept_until IS NULL AND snaps.name = ?",
                (parent.number, image, snap),
            ).fetchone()
            if row is None:
                raise exceptions.SnapshotNotFound("no such image or snapshot", spec=source)
            self._check_free(tx, name)
            if row["size"] == 0:
                raise exceptions.NotCloneable("its size is 0", spec=source)
            made = self._add(
                tx,
                name,
                row["size"],
                row["bits"],
                options.image_features(frozenset(row["features"].split(","))),
                row["snap"],
            )
            tx.execute(
                "INSERT INTO metadata SELECT ?, key, value FROM metadata WHERE image = ?",
                (made, row["number"]),
            )

    def open(
        self, name: str | None = None, *, image_id: str | None = None, read_only: bool = True
    ) -> FileImage:
        if name is not None and image_id is None:
            return FileImage(self, name, None, read_only=read_only)
        if name is None and image_id is not None:
            return FileImage(self, f"<{image_id}>", image_number(image_id), read_only=read_only)
        raise exceptions.InvalidInput("an image is opened by its name or by its id")

    def id_of(self, name: str) -> str | None:
        with contextlib.suppress(exceptions.ImageNotFound), self.reading(name) as tx:
            return image_id(self._live(tx, name)["number"])
        return None

    def has_image(self, image_id: str) -> bool:
        with self.reading() as tx:
            found = tx.execute(
                "SELECT 1 FROM images WHERE pool = ? AND number = ?",
                (self.number, image_number(image_id)),
            )
            return found.fetchone() is not None

    def clear_debris(self, name: str) -> bool:
        """Nothing of what is interrupted here takes a name; folders without one are swept."""
        with errors.translated(self.spec(name)):
            self.cluster.data.sweep()
        return False

    def rename(self, name: str, new_name: str) -> None:
        with self.writing(name) as tx:
            image = self._live(tx, name)
            self._check_free(tx, new_name)
            tx.execute("UPDATE images SET name = ? WHERE number = ?", (new_name, image["number"]))

    def remove(self, name: str, *, progress: driver.Progress | None = None) -> None:
        with self.writing(name) as tx:
            self._delete(tx, self._live(tx, name))
        self._swept(name, progress)

    def _delete(self, tx: sqlite3.Connection, image: sqlite3.Row) -> None:
        data = self.cluster.data
        folder = data.image_folder(self.number, image["number"])
        rows = tx.execute(
            "SELECT name FROM snaps WHERE image = ? ORDER BY number", (image["number"],)
        )
        snaps = [row["name"] for row in rows]
        opened_by = watchers(folder)
        if snaps or opened_by:
            raise exceptions.InUse(
                spec=self.spec(image["name"]), snapshots=snaps, watchers=opened_by
            )
        tx.execute("DELETE FROM images WHERE number = ?", (image["number"],))
        data.discard(tx, folder)

    def _swept(self, name: str, progress: driver.Progress | None) -> None:
        with errors.translated(self.spec(name)):
            self.cluster.data.sweep()
        if progress is not None:
            progress(1, 1)

    def _live(self, tx: sqlite3.Connection, name: str) -> sqlite3.Row:
        row: sqlite3.Row | None = tx.execute(
            "SELECT * FROM images WHERE pool = ? AND name = ? AND kept_until IS NULL",
            (self.number, name),
        ).fetchone()
        if row is None:
            raise exceptions.ImageNotFound("no such image", spec=self.spec(name))
        return row

    def _check_free(self, tx: sqlite3.Connection, name: str) -> None:
        if len(name.encode()) > _LONGEST_NAME:
            raise exceptions.InvalidName(
                f"the name is longer than {_LONGEST_NAME} bytes", spec=self.spec(name)
            )
        with contextlib.suppress(exceptions.ImageNotFound):
            self._live(tx, name)
            raise exceptions.Duplicate("the name is taken", spec=self.spec(name))

    # Trash

    def trash_move(self, name: str, *, delay: int = 0) -> None:
        with self.writing(name) as tx:
            image = self._live(tx, name)
            folder = self.cluster.data.image_folder(self.number, image["number"])
            if image["owner"] and image["owner"] in watchers(folder):
                raise exceptions.InUse(spec=self.spec(name), watchers=[image["owner"]])
            tx.execute(
                "UPDATE images SET kept_until = ? WHERE number = ?",
                (time.time() + delay, image["number"]),
            )

    def trash_list(self) -> list[driver.TrashEntry]:
        with self.reading() as tx:
            rows = tx.execute(
                "SELECT * FROM images WHERE pool = ? AND kept_until IS NOT NULL ORDER BY number",
                (self.number,),
            )
            return [_trash_entry(row) for row in rows]

    def trash_get(self, image_id: str) -> driver.TrashEntry | None:
        try:
            with self.reading() as tx:
                return _trash_entry(self._trashed(tx, image_id))
        except exceptions.ImageNotFound:
            return None

    def trash_restore(self, image_id: str, name: str) -> None:
        with self.writing(f"<{image_id}>") as tx:
            image = self._trashed(tx, image_id)
            self._check_free(tx, name)
            tx.execute(
                "UPDATE images SET kept_until = NULL, name = ? WHERE number = ?",
                (name, image["number"]),
            )

    def trash_remove(self, image_id: str, *, progress: driver.Progress | None = None) -> None:
        known_as = f"<{image_id}>"
        with self.writing(known_as) as tx:
            image = self._trashed(tx, image_id)
            if time.time() < image["kept_until"]:
                raise exceptions.InUse(
                    "its time in the trash is not over", spec=self.spec(known_as)
                )
            self._delete(tx, image)
        self._swept(known_as, progress)

    def _trashed(self, tx: sqlite3.Connection, image_id: str) -> sqlite3.Row:
        row: sqlite3.Row | None = tx.execute(
            "SELECT * FROM images WHERE pool = ? AND number = ? AND kept_until IS NOT NULL",
            (self.number, image_number(image_id)),
        ).fetchone()
        if row is None:
            raise exceptions.ImageNotFound(
                "no such image in the trash", spec=self.spec(f"<{image_id}>")
            )
        return row


def _trash_entry(image: sqlite3.Row) -> driver.TrashEntry:
    return driver.TrashEntry(image_id(image["number"]), image["name"], image["kept_until"])
