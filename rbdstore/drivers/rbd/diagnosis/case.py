# SPDX-License-Identifier: Apache-2.0
"""One backend that is looked at, and what its checks hand on to those after them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Self

import rados

from rbdstore import exceptions, sections
from rbdstore.checks import Outcome
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import errors
from rbdstore.drivers.rbd.options import RbdOptions


class Case:
    """What is known of it so far.

    :ivar given: the section's values, which may be wrong
    :ivar writes: whether its user is to write in the pool
    :ivar options: the same, checked; known once ``settings`` has passed
    :ivar refused: why a monitor that answered does not let this client in
    """

    options: RbdOptions
    refused: exceptions.RbdStoreError | None = None

    def __init__(self, given: Mapping[str, Any], *, writes: bool) -> None:
        self.given = given
        self.writes = writes
        self._connection: clients.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.release()

    def bound(self, look: Callable[[Case], Outcome]) -> Callable[[], Outcome]:
        """A check of this case, whose errors come out translated."""

        @functools.wraps(look)
        def looked() -> Outcome:
            user = self.options.client.user if hasattr(self, "options") else ""
            with errors.translated(user=user, pool=self.pool_name, reads=not self.writes):
                return look(self)

        return looked

    @property
    def section(self) -> str:
        return sections.name(self.given)

    @property
    def pool_name(self) -> str:
        return str(self.given.get("rbd_pool") or "rbd")

    @property
    def namespace(self) -> str:
        return str(self.given.get("rbd_namespace") or "")

    # The cluster, once ``key`` has passed

    @property
    def connection(self) -> clients.Connection:
        if self._connection is None:
            raise exceptions.Unreachable("there is no connection")
        return self._connection

    @connection.setter
    def connection(self, connection: clients.Connection) -> None:
        self._connection = connection

    @property
    def ioctx(self) -> rados.Ioctx:
        """The pool's handle, once ``pool`` has passed."""
        return self.connection.ioctx(self.pool_name, self.namespace)

    def ask(self, prefix: str, **arguments: Any) -> Any:
        """What the monitors answer to a command, decoded."""
        return json.loads(self.connection.monitor_command(prefix, **arguments))

    @functools.cached_property
    def osd_map(self) -> dict[str, Any]:
        return dict(self.ask("osd dump"))

    @functools.cached_property
    def ailments(self) -> dict[str, Any]:
        """What the cluster says is wrong with it, by code, without what is muted."""
        found = self.ask("health", detail="detail")
        return {
            code: each for code, each in found.get("checks", {}).items() if not each.get("muted")
        }
