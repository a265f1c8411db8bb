# SPDX-License-Identifier: Apache-2.0
"""A handle of librbd's, from its opening to its end, and the errors of what is done with it."""

from __future__ import annotations

import contextlib
import sys
import time
import typing
import weakref
from collections.abc import Iterator
from typing import Any

import rados
import rbd

from rbdstore import driver, exceptions
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import errors, flights, settling

if typing.TYPE_CHECKING:
    from rbdstore.drivers.rbd.pool import RbdPool


class Handle(driver.Image):
    """An open image, as far as its life goes."""

    pool: RbdPool

    def __init__(
        self,
        pool: RbdPool,
        client: clients.Client,
        connection: clients.Connection,
        handle: rbd.Image,
        *,
        read_only: bool,
    ) -> None:
        self.pool = pool
        self.read_only = read_only
        self._client = client
        self._connection = connection
        self._handle = handle
        self._closed = False
        self._snap_id: int | None = None
        self._locked = False
        self._had_parent = True
        # Those that are in flight; librbd keeps them until they have ended.
        self._flights: weakref.WeakSet[flights.Flight[Any]] = weakref.WeakSet()
        connection.hold()
        connection.keep(handle)
        try:
            self.name = handle.get_name()
            self.id = handle.id()
            self._had_parent = self._parent_id(handle) is not None
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _calls(
        self,
        snap: str | None = None,
        missing: type[exceptions.NotFound] = exceptions.ImageNotFound,
        pool: str = "",
    ) -> Iterator[rbd.Image]:
        spec = self.pool.spec(self.name, snap)
        if self._closed:
            raise exceptions.ClusterError("the image was closed", spec=spec)
        if self._connection.inherited:
            raise exceptions.Unreachable("opened before this process was forked", spec=spec)
        began = time.monotonic()
        try:
            with errors.translated(
                spec,
                missing=missing,
                user=self._connection.user,
                pool=pool,
                reads=self.read_only,
            ):
                yield self._handle
        except exceptions.Unreachable:
            self._client.drop(self._connection)
            raise
        except exceptions.Timeout:
            self._connection.health.timed_out(began)
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._settle()
        finally:
            # What a dead connection says about the handle's end helps nobody.
            with contextlib.suppress(rbd.Error):
                self._connection.close_handle(self._handle)
            self._connection.release()

    def _settle(self) -> None:
        """To be called before librbd closes the image, or a parent that it may not need next."""
        # While the interpreter is taken down nothing can be called back any more.
        if not self._connection.inherited and not sys.is_finalizing():
            for flight in list(self._flights):
                flight.wait()
            if self._had_parent:
                settling.settle(self.pool.ioctx_of(self._connection))

    def _open_anew(self, ioctx: rados.Ioctx) -> None:
        """Forget what librbd remembers of the image."""
        self._settle()
        fresh = rbd.Image(ioctx, image_id=self.id, read_only=self.read_only)
        self._connection.keep(fresh)
        stale, self._handle = self._handle, fresh
        self._connection.close_handle(stale)

    def _look_at(self, handle: rbd.Image, snap_id: int | None) -> None:
        self._settle()
        # At a snap there may be a parent where there is none now.
        self._had_parent = True
        handle.set_snap_by_id(snap_id)

    @staticmethod
    def _parent_id(handle: rbd.Image) -> str | None:
        try:
            return str(handle.parent_id())
        except rbd.ImageNotFound:
            return None
