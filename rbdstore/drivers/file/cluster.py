# SPDX-License-Identifier: Apache-2.0
"""A data directory as a cluster."""

from __future__ import annotations

from rbdstore import driver, exceptions
from rbdstore.drivers.file import errors
from rbdstore.drivers.file.datadir import DataDirectory
from rbdstore.drivers.file.options import FileOptions
from rbdstore.drivers.file.pool import FilePool


class FileCluster(driver.Cluster):
    """Any number of them, in any number of processes, may be of one data directory."""

    def __init__(self, options: FileOptions) -> None:
        self.options = options
        self.data = DataDirectory(options)

    @property
    def fsid(self) -> str:
        return self.data.fsid

    def open_pool(self, name: str, namespace: str = "") -> FilePool:
        with errors.translated(), self.data.database.reading() as tx:
            row = tx.execute(
                "SELECT number FROM pools WHERE name = ? AND namespace = ?", (name, namespace)
            ).fetchone()
        if row is None:
            option = "rbd_namespace" if namespace else "rbd_pool"
            place = f"{name}/{namespace}" if namespace else name
            raise exceptions.PoolNotFound(
                f"there is no pool {place!r}; there are: {', '.join(self.list_pools())}. Name one "
                f"of them by the option {self.options.where(option)}, or add {place} to "
                "file_store_pools"
            )
        return FilePool(self, row["number"], name, namespace)

    def list_pools(self) -> list[str]:
        with errors.translated(), self.data.database.reading() as tx:
            rows = tx.execute("SELECT name FROM pools WHERE namespace = '' ORDER BY number")
            return [row["name"] for row in rows]

    def list_namespaces(self, pool: str) -> list[str]:
        with errors.translated(), self.data.database.reading() as tx:
            rows = tx.execute(
                "SELECT namespace FROM pools WHERE name = ? AND namespace != ''", (pool,)
            )
            return [row["namespace"] for row in rows]

    def close(self) -> None:
        self.data.database.close()

    def leftovers(self) -> list[str]:
        """Everything in the data directory but the pools themselves, row by row, file by file."""
        with errors.translated():
            return self.data.leftovers()
