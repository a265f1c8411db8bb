# SPDX-License-Identifier: Apache-2.0
"""The embedded driver's cluster, a folder. The other client is a new process for each command.

What is left is looked for without the driver: in the database's tables, and among the files.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ground import POOLS, Ground
from steps import check, out, say

CLIENT = Path(__file__).with_name("file_client.py")

DATABASE = "rbdstore.db"
# Which cluster it is, its pools, and the numbers that are not given out again.
LASTING_TABLES = {"cluster", "pools", "sqlite_sequence"}


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[FileGround]:
    """A cluster in a folder of its own below ``folder``, which removes it."""
    data = folder / "data"
    out.print(f"A cluster of the embedded driver: the folder {os.path.relpath(data)}, no daemons")
    yield FileGround(data)


class FileGround(Ground):
    driver = "file"
    exporter = "another process reads"
    scribbler = "a new process"
    witness = "tables and files tell"

    def __init__(self, data: Path) -> None:
        self._data = data

    def access(self, user: str) -> str:
        return f"file_store_datadir = {self._data}"

    def export(self, spec: str, target: str) -> Sequence[str]:
        return (sys.executable, str(CLIENT), str(self._data), "export", spec, target)

    def scribble(self, spec: str) -> None:
        self.run(sys.executable, str(CLIENT), str(self._data), "scribble", spec)

    def check_empty(self) -> None:
        path = self._data / DATABASE
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in names} - LASTING_TABLES
            check("images" in tables, f"{path} has no table of images")
            for table in sorted(tables):
                left = database.execute(f"SELECT * FROM {table}").fetchall()
                check(not left, f"left in the table {table}: {left}")
            pools = {name for (name,) in database.execute("SELECT name FROM pools")}
            check(pools >= set(POOLS), f"of the pools, only {', '.join(sorted(pools))} remain")
        files = [
            os.path.join(folder, name)
            for folder, _folders, names in os.walk(self._data)
            for name in names
            if not name.startswith(DATABASE)
        ]
        check(not files, f"left of files: {', '.join(files)}")
        say(f"no row in the tables {', '.join(sorted(tables))}")
        say(f"no file but {DATABASE}, which names the pools")
