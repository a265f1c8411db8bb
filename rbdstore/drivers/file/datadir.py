# SPDX-License-Identifier: Apache-2.0
"""The data directory: made where it is missing, swept where somebody was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import uuid
from typing import Final

from rbdstore import exceptions
from rbdstore.drivers.file import database, errors, forking, locks, schema
from rbdstore.drivers.file.options import FileOptions

__all__ = ["DataDirectory", "forking"]

_DATABASE: Final = "rbdstore.db"
_POOLS: Final = "pools"
_TEMPORARY: Final = "tmp"


class DataDirectory:
    """A data directory that exists, and its database."""

    def __init__(self, options: FileOptions) -> None:
        """:raises ConfigError: it cannot be made or used"""
        self.root = options.datadir
        self.temporary = os.path.join(self.root, _TEMPORARY)
        self.reserve = options.reserve
        self.timeout = options.timeout
        path = os.path.join(self.root, _DATABASE)
        try:
            os.makedirs(os.path.join(self.root, _POOLS), exist_ok=True)
            os.makedirs(self.temporary, exist_ok=True)
            self.fsid = self._prepare(path, options)
        except (OSError, sqlite3.Error) as exc:
            raise exceptions.ConfigError(
                f"{options.where('file_store_datadir')}: {self.root} cannot be used ({exc}); give "
                "a folder on a local file system that this user may write to and that is not full"
            ) from exc
        self.database = database.Database(path, options.timeout)
        with errors.translated():
            self.sweep()

    def _prepare(self, path: str, options: FileOptions) -> str:
        """Make the database and the pools that are missing; return the cluster's id."""
        # Of two who make a database at the same time, one would find it locked, and not wait.
        door = locks.FileLock(self.root)
        try:
            with (
                door.held(options.timeout),
                contextlib.closing(database.connect(path, options.timeout)) as connection,
            ):
                return self._made(connection, options)
        finally:
            door.close()

    def _made(self, connection: sqlite3.Connection, options: FileOptions) -> str:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, schema.VERSION):
            raise exceptions.ConfigError(
                f"{options.where('file_store_datadir')}: {self.root} was made by another release "
                f"of rbdstore (format {version}, this one has {schema.VERSION}); use that one, or "
                "name another folder"
            )
        if version == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {schema.TABLES}")
            connection.execute("INSERT INTO cluster VALUES (?)", (str(uuid.uuid4()),))
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            connection.execute("COMMIT")
        missing = set(options.pools) - {
            (row["name"], row["namespace"]) for row in connection.execute("SELECT * FROM pools")
        }
        connection.executemany(
            "INSERT OR IGNORE INTO pools (name, namespace) VALUES (?, ?)",
            [place for place in options.pools if place in missing],
        )
        (fsid,) = connection.execute("SELECT fsid FROM cluster").fetchone()
        return str(fsid)

    # Folders

    def image_folder(self, pool: int, image: int) -> str:
        return os.path.join(self.root, _POOLS, str(pool), image_id(image))

    def layer_folder(self, pool: int, image: int, layer: int) -> str:
        return os.path.join(self.image_folder(pool, image), str(layer))

    # Leftovers

    def discard(self, connection: sqlite3.Connection, folder: str) -> None:
        """Note, in a transaction, that a folder is to go; :meth:`sweep` is to follow it."""
        connection.execute(
            "INSERT OR IGNORE INTO garbage VALUES (?)", (os.path.relpath(folder, self.root),)
        )

    def sweep(self) -> bool:
        """Remove what nothing needs any more, be it somebody's who was killed."""
        locks.sweep(self.temporary)
        with self.database.reading() as connection:
            found = [row["folder"] for row in connection.execute("SELECT folder FROM garbage")]
        if found:
            # Without power what needed them must not be there again.
            self.sync()
        for folder in found:
            remove_folder(os.path.join(self.root, folder))
            with self.database.writing() as connection:
                connection.execute("DELETE FROM garbage WHERE folder = ?", (folder,))
        return bool(found)

    def leftovers(self) -> list[str]:
        """Everything there is, in tables and folders, but the pools."""
        left = []
        with self.database.reading() as connection:
            for table in (
                "images",
                "layers",
                "snaps",
                "metadata",
                "objects",
                "entries",
                "garbage",
            ):
                for row in connection.execute(f"SELECT * FROM {table}"):  # nosec B608: not input
                    left.append(f"{table}: {dict(row)}")
        for top in (os.path.join(self.root, _POOLS), self.temporary):
            for folder, folders, files in os.walk(top):
                depth = 0 if folder == top else 1
                if top != self.temporary and folder == top:
                    continue
                names = [*folders, *files] if depth or top == self.temporary else files
                left += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return sorted(left)

    def sync(self) -> None:
        """Return when all that the database was told outlives a loss of power."""
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(os.path.join(self.root, f"{_DATABASE}-wal"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    # Space

    def space(self) -> tuple[int, int, int]:
        """How many bytes of the file system there are in all, are used, and can be used."""
        found = os.statvfs(self.root)
        total = found.f_blocks * found.f_frsize
        used = total - found.f_bfree * found.f_frsize
        return total, used, max(0, found.f_bavail * found.f_frsize - self.reserve)

    def check_space(self, length: int) -> None:
        """:raises OSError: so many bytes cannot be stored"""
        _total, _used, free = self.space()
        if length > free:
            raise OSError(
                errno.ENOSPC,
                f"{length} bytes do not fit into the {free} that are free beside the "
                f"{self.reserve} of file_store_reserve",
            )


def image_id(number: int) -> str:
    """What the seam calls an image that the database calls by a number."""
    return f"{number:012x}"


def image_number(text: str) -> int:
    """The reverse; 0, which no image has, where it is no image's id."""
    with contextlib.suppress(ValueError):
        number = int(text, 16)
        if image_id(number) == text and number < 1 << 62:
            return number
    return 0


def remove_folder(path: str) -> None:
    """Remove a folder with all that is in it. Others may be doing the same."""
    while os.path.isdir(path):
        shutil.rmtree(path, onerror=_unless_gone)


def _unless_gone(_function: object, _path: str, info: tuple[type, BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
