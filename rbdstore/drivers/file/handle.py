# SPDX-License-Identifier: Apache-2.0
"""What every operation of an open image begins with: who may do it, and what there is to see."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import typing
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from rbdstore import driver, exceptions
from rbdstore.drivers.file import errors, layers, views
from rbdstore.drivers.file.datadir import DataDirectory, image_id
from rbdstore.drivers.file.locks import Turnstile
from rbdstore.drivers.file.objects import Objects
from rbdstore.drivers.file.views import View
from rbdstore.drivers.file.watching import Watch, watchers
from rbdstore.threads import threading

if typing.TYPE_CHECKING:
    from rbdstore.drivers.file.pool import FilePool

T = TypeVar("T")

_FIND: Final = """
SELECT * FROM images WHERE pool = :pool
    AND (number = :number OR :number IS NULL AND name = :name AND kept_until IS NULL)
"""


class Handle(driver.Image):
    """Belongs to the process that opened it; in a child that was forked it only closes."""

    pool: FilePool

    def __init__(
        self, pool: FilePool, known_as: str, number: int | None, *, read_only: bool
    ) -> None:
        """Open the image of that number, or else of that name."""
        self.pool = pool
        self.name = known_as
        self.read_only = read_only
        self.data = pool.cluster.data
        self.snap: int | None = None
        self.owns = False
        self._pid = os.getpid()
        self._closed = False
        self._watch: Watch | None = None
        self._turnstile: Turnstile | None = None
        self._mutex = threading.RLock()
        # Who watches must not miss a removal: that is one transaction, and so is this.
        transaction = pool.reading if read_only else pool.writing
        try:
            with transaction(known_as) as tx:
                row = tx.execute(
                    _FIND, {"pool": pool.number, "number": number, "name": known_as}
                ).fetchone()
                if row is None:
                    raise exceptions.ImageNotFound("no such image", spec=self.spec)
                self.name = row["name"]
                self.number = int(row["number"])
                # Not a method of its own: a handle that is forgotten is closed at once.
                again = functools.partial(_load, self.data, self.number)
                self.objects = Objects(self.data.temporary, again)
                self.id = image_id(self.number)
                self.folder = self.data.image_folder(pool.number, self.number)
                self._object_size: int = 1 << row["bits"]
                self._features = frozenset(row["features"].split(","))
                if not read_only:
                    os.makedirs(self.folder, exist_ok=True)
                    self._watch = Watch(self.folder)
                    self._turnstile = Turnstile(self.folder, self.data.timeout)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if "objects" in self.__dict__:
            self.objects.close()
        if self.owns and self._pid == os.getpid():
            self._give_back()
        if self._watch is not None:
            self._watch.close()
        if self._turnstile is not None:
            self._turnstile.close()

    def _give_back(self) -> None:
        # Only to spare others the look whether who owns it is still alive.
        with (
            contextlib.suppress(exceptions.RbdStoreError),
            errors.translated(),
            self.data.database.writing() as tx,
        ):
            tx.execute(
                "UPDATE images SET owner = NULL WHERE number = ? AND owner = ?",
                (self.number, self.address),
            )

    def __del__(self) -> None:
        # It may not have come to the end of __init__, nor to the middle.
        if not self.__dict__.get("_closed", True):
            # It may be collected in any line of this thread, also in a transaction of its own.
            self.owns = False
            self.close()

    # For a block that does one operation

    @contextlib.contextmanager
    def used(self, snap: str | None = None) -> Iterator[None]:
        """See that the handle can be used; errors are about it, or about a snap of it."""
        spec = self.pool.spec(self.name, snap)
        if self._pid != os.getpid():
            raise exceptions.Unreachable("opened before this process was forked", spec=spec)
        with self._mutex, errors.translated(spec):
            if self._closed:
                raise exceptions.ClusterError("the image was closed", spec=spec)
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self.used(), self.data.database.reading() as tx:
            yield tx

    @contextlib.contextmanager
    def changing(self, snap: str | None = None) -> Iterator[sqlite3.Connection]:
        """Give the database for a change that has nothing to do with the image's data."""
        with self.used(snap):
            self.check_writable()
            with self.data.database.writing() as tx:
                self.check_there(tx)
                yield tx

    @contextlib.contextmanager
    def alone(self, snap: str | None = None) -> Iterator[None]:
        """Keep everybody from writing data while the image's shape is changed."""
        with self.used(snap):
            self.check_writable()
            with self.turnstile.alone():
                yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[View]:
        """Give the view whose head layer can be written into, while nobody changes its shape."""
        with self.used():
            self.check_writable()
            if self.snap is not None:
                raise exceptions.ReadOnly("set to a snapshot", spec=self.spec)
            with self.turnstile.shared():
                yield self.head()

    @property
    def turnstile(self) -> Turnstile:
        assert self._turnstile is not None  # nosec B101: only handles for writing come here
        return self._turnstile

    def check_writable(self) -> None:
        if self.read_only:
            raise exceptions.ReadOnly("opened read-only", spec=self.spec)

    def check_there(self, tx: sqlite3.Connection) -> sqlite3.Row:
        row: sqlite3.Row | None = tx.execute(
            "SELECT * FROM images WHERE number = ?", (self.number,)
        ).fetchone()
        if row is None:
            raise exceptions.ImageNotFound("no such image", spec=self.spec)
        return row

    def check_owner(self, owner: str | None) -> None:
        """:raises ReadOnly: another handle, which is alive, holds the exclusive lock"""
        if self.is_owned_by_another(owner):
            raise exceptions.ReadOnly(f"locked by {owner}", spec=self.spec)

    def is_owned_by_another(self, owner: str | None) -> bool:
        return owner is not None and owner != self.address and owner in watchers(self.folder)

    @property
    def address(self) -> str | None:
        return None if self._watch is None else self._watch.address

    # Views

    def head(self, *, owned: bool = True) -> View:
        """The image's view, its head layer being one that can be written into.

        :raises ReadOnly: another handle holds the exclusive lock, and ``owned`` is true
        """
        with self.data.database.reading() as tx:
            row = self.check_there(tx)
            frozen = layers.is_frozen(tx, row["layer"])
            view = views.load(self.data, tx, self.number)
        if owned:
            self.check_owner(row["owner"])
        if frozen:
            with self.data.database.writing() as tx:
                layers.thaw(self.data, tx, self.pool.number, self.number)
                view = views.load(self.data, tx, self.number)
        return view

    def look(self, at: Callable[[View], T]) -> T:
        """Return what is seen in the image, or in the snap it is set to, at one moment.

        :raises Vanished: it is there no more
        """
        return views.at_one_moment(self._view(), self._view, at)

    def _view(self) -> View:
        try:
            with self.data.database.reading() as tx:
                return views.load(self.data, tx, self.number, self.snap)
        except exceptions.NotFound as exc:
            raise exceptions.Vanished(
                "it was deleted while it was read; what was read cannot be trusted",
                spec=self.spec,
            ) from exc

    def settle(self) -> None:
        """Let the layers melt that can, and remove the folders of those that have gone."""
        while self._next() is not None:
            with self.turnstile.alone():
                # Somebody else may have done it just before.
                if (pair := self._next()) is None:
                    break
                upper, lower = pair
                # Without power the snap must not be there again, and show what is above it.
                self.data.sync()
                if upper is None:
                    with self.data.database.writing() as tx:
                        layers.drop(self.data, tx, self.pool.number, self.number, lower)
                else:
                    layers.melt(self.data, self.pool.number, self.number, upper, lower)
        self.data.sweep()

    def _next(self) -> tuple[int | None, int] | None:
        with self.data.database.reading() as tx:
            return layers.superfluous(tx, self.number)


def _load(data: DataDirectory, number: int) -> View:
    with data.database.reading() as tx:
        return views.load(data, tx, number)
