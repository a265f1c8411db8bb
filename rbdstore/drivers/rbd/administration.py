# SPDX-License-Identifier: Apache-2.0
"""What an administrator asks of a cluster: commands to the monitors, and pools made ready for RBD.

Its client is its own, lives as long as the work at hand, and gives nothing to the services'.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator
from typing import Any, Final

import rados
import rbd

from rbdstore import driver, exceptions
from rbdstore.drivers.rbd import connecting, errors, objects
from rbdstore.drivers.rbd.options import ClientSettings

# What librbd writes when it makes a pool ready.
_READY: Final = "rbd_info"


class RbdAdministration(driver.Administration):
    """Connected from the beginning, until it is closed."""

    def __init__(self, settings: ClientSettings) -> None:
        self._user = settings.user
        self._client, _ = connecting.connect(settings)

    def close(self) -> None:
        self._client.shutdown()

    def command(self, prefix: str, **arguments: Any) -> Any:
        question = json.dumps({"prefix": prefix, "format": "json", **arguments})
        with errors.translated(user=self._user):
            result, output, message = self._client.mon_command(question, b"")
        if abs(result) in (errno.EACCES, errno.EPERM):
            raise exceptions.PermissionDenied(
                f"client.{self._user} may not do `ceph {prefix}` ({message}): if it is no "
                "administrator, who has the mon capability `allow *`, name one and its keyring"
            )
        if result:
            raise errors.from_errno(result, f"{prefix}: {message}", user=self._user, service="mon")
        try:
            return json.loads(output) if output.strip() else None
        except ValueError:
            # Some answer in text, whatever they are asked for.
            return output.decode()

    def is_ready(self, pool: str) -> bool:
        with self._opened(pool) as ioctx:
            return objects.exists(ioctx, _READY)

    def make_ready(self, pool: str) -> None:
        with self._opened(pool) as ioctx:
            rbd.RBD().pool_init(ioctx, False)

    @contextlib.contextmanager
    def _opened(self, pool: str) -> Iterator[rados.Ioctx]:
        with errors.translated(missing=exceptions.PoolNotFound, user=self._user, pool=pool):
            # One that has just been made is not known here yet.
            self._client.wait_for_latest_osdmap()
            with self._client.open_ioctx(pool) as ioctx:
                yield ioctx
