# SPDX-License-Identifier: Apache-2.0
"""Small objects: content, a map of entries, and a lease that runs out by the host's clock."""

from __future__ import annotations

import abc
import contextlib
import sqlite3
import time
from collections.abc import Mapping, Sequence

from rbdstore import driver, exceptions


class Bookkeeping(driver.Pool):
    """The part of a pool that has to do with small objects."""

    number: int

    @abc.abstractmethod
    def reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]: ...

    @abc.abstractmethod
    def writing(self) -> contextlib.AbstractContextManager[sqlite3.Connection]: ...

    def lease(
        self, key: str, cookie: str, seconds: float, owner: str, *, renew: bool = False
    ) -> bool:
        with self.writing() as tx:
            now = time.time()
            row = tx.execute(
                "SELECT cookie, until FROM objects WHERE pool = ? AND key = ?", (self.number, key)
            ).fetchone()
            held = row is not None and row["cookie"] is not None and now < row["until"]
            if (held and row["cookie"] != cookie) or (renew and not held):
                return False
            tx.execute(
                "INSERT INTO objects (pool, key, cookie, until, owner) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET cookie = excluded.cookie, until = excluded.until, "
                "owner = excluded.owner",
                (self.number, key, cookie, now + seconds, owner),
            )
            return True

    def lease_owner(self, key: str) -> str | None:
        with self.reading() as tx:
            row = tx.execute(
                "SELECT owner FROM objects WHERE pool = ? AND key = ?", (self.number, key)
            ).fetchone()
            return row["owner"] if row else None

    def lease_state(self, key: str) -> driver.LeaseState | None:
        with self.reading() as tx:
            row = tx.execute(
                "SELECT owner, until FROM objects WHERE pool = ? AND key = ?", (self.number, key)
            ).fetchone()
        if row is None or row["owner"] is None:
            return None
        return driver.LeaseState(row["owner"], time.time() < row["until"], row["until"])

    def inventory(self, prefix: str) -> driver.Inventory:
        with self.reading() as tx:
            rows = tx.execute(
                "SELECT key FROM objects WHERE pool = ? ORDER BY key", (self.number,)
            )
            found = (row["key"] for row in rows)
            return driver.Inventory(tuple(key for key in found if key.startswith(prefix)))

    def write_leased(self, key: str, cookie: str, data: bytes) -> None:
        self._if_leased("UPDATE objects SET content = :content", key, cookie, content=bytes(data))

    def remove_leased(self, key: str, cookie: str) -> None:
        self._if_leased("DELETE FROM objects", key, cookie)

    def _if_leased(self, statement: str, key: str, cookie: str, **values: bytes) -> None:
        with self.writing() as tx:
            done = tx.execute(
                f"{statement} WHERE pool = :pool AND key = :key AND cookie = :cookie "
                "AND :now < until",
                {**values, "pool": self.number, "key": key, "cookie": cookie, "now": time.time()},
            )
            if done.rowcount != 1:
                raise exceptions.LeaseLost(f"the lease on {key} in pool {self.name} ran out")

    def read_object(self, key: str) -> bytes:
        with self.reading() as tx:
            row = tx.execute(
                "SELECT content FROM objects WHERE pool = ? AND key = ?", (self.number, key)
            ).fetchone()
            return bytes(row["content"]) if row else b""

    def remove_object(self, key: str) -> None:
        with self.writing() as tx:
            tx.execute("DELETE FROM objects WHERE pool = ? AND key = ?", (self.number, key))

    def set_keys(self, key: str, entries: Mapping[str, bytes]) -> None:
        with self.writing() as tx:
            tx.execute(
                "INSERT OR IGNORE INTO objects (pool, key) VALUES (?, ?)", (self.number, key)
            )
            tx.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
                [(self.number, key, name, bytes(value)) for name, value in entries.items()],
            )

    def get_keys(self, key: str) -> dict[str, bytes]:
        with self.reading() as tx:
            rows = tx.execute(
                "SELECT name, value FROM entries WHERE pool = ? AND key = ? ORDER BY name",
                (self.number, key),
            )
            return {row["name"]: bytes(row["value"]) for row in rows}

    def remove_keys(self, key: str, names: Sequence[str]) -> None:
        with self.writing() as tx:
            tx.executemany(
                "DELETE FROM entries WHERE pool = ? AND key = ? AND name = ?",
                [(self.number, key, name) for name in names],
            )
