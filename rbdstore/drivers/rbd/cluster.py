# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster, as one section of the configuration describes it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import rbd

from rbdstore import driver, exceptions
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import errors, manager
from rbdstore.drivers.rbd.image import RbdImage
from rbdstore.drivers.rbd.options import RbdOptions
from rbdstore.drivers.rbd.pool import RbdPool
from rbdstore.spec import ImageSpec


class RbdCluster(driver.Cluster):
    """Connects at the first use."""

    def __init__(self, options: RbdOptions) -> None:
        self.options = options
        self.client = clients.acquire(options.client)
        self._fsid: str | None = None
        self._closed = False

    @contextlib.contextmanager
    def connection(self) -> Iterator[clients.Connection]:
        """Give the connection for one call; errors of connecting name the section."""
        if self._closed:
            raise exceptions.Unreachable("the cluster was closed")
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(self.client.use())
            except (exceptions.ConfigError, exceptions.Unreachable) as exc:
                if not self.options.section:
                    raise
                raise type(exc)(f"[{self.options.section}] {exc}") from exc
            yield connection

    @contextlib.contextmanager
    def calls(
        self,
        spec: ImageSpec | None = None,
        *,
        missing: type[exceptions.NotFound] = exceptions.ImageNotFound,
        pool: str = "",
        reads: bool = False,
    ) -> Iterator[clients.Connection]:
        """Give the connection for one call, whose errors come out translated."""
        with (
            self.connection() as connection,
            errors.translated(
                spec,
                missing=missing,
                user=self.options.client.user,
                pool=pool,
                reads=reads,
            ),
        ):
            yield connection

    @property
    def clone_format(self) -> int:
        if self.options.client.clone_format != "auto":
            return int(self.options.client.clone_format)
        with self.connection() as connection:
            return connection.clone_format

    @property
    def fsid(self) -> str:
        if self._fsid is None:
            with self.calls() as connection:
                self._fsid = str(connection.rados.get_fsid())
        return self._fsid

    def open_pool(self, name: str, namespace: str = "") -> RbdPool:
        return RbdPool(self, name, namespace)

    def list_pools(self) -> list[str]:
        with self.calls() as connection:
            return list(connection.rados.list_pools())

    def list_namespaces(self, pool: str) -> list[str]:
        with self.calls(missing=exceptions.PoolNotFound, pool=pool) as connection:
            ioctx = connection.ioctx(pool, "", look=True)
            return [] if ioctx is None else list(rbd.RBD().namespace_list(ioctx))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            clients.release(self.client)

    def monitors(self) -> list[tuple[str, int]]:
        with self.calls() as connection:
            dump = json.loads(connection.monitor_command("mon dump"))
        vectors = [monitor["public_addrs"]["addrvec"] for monitor in dump["mons"]]
        return [_address(address) for vector in vectors for address in vector]

    def access(self) -> driver.Access:
        client = self.options.client
        secret = self.options.secret_uuid or self.fsid
        return driver.Access(client.user, client.cluster_name, secret)

    def flatten_in_background(self, spec: ImageSpec) -> str:
        with self.open_pool(spec.pool, spec.namespace).open_live(spec.image) as image:
            assert isinstance(image, RbdImage)  # nosec B101: for the type checker
            image.prepare_background_flatten()
        task = self._command("rbd task add flatten", spec=spec, image_spec=str(spec))
        return str(task["id"])

    def task_progress(self, task_id: str) -> float | None:
        try:
            task = self._command("rbd task list", task_id=task_id)
        except exceptions.NotFound:
            return None
        if failure := task.get("retry_message"):
            raise exceptions.ClusterError(f"the task {task_id} failed: {failure}")
        # A task that others are before has none.
        return float(task.get("progress", 0))

    def cancel_task(self, task_id: str) -> None:
        with contextlib.suppress(exceptions.NotFound):
            self._command("rbd task cancel", task_id=task_id)

    def check_no_task(self, spec: ImageSpec, image_id: str) -> None:
        """See that the manager is not at work on an image, which it has open then.

        :raises InUse: it is
        """
        tasks: list[dict[str, Any]] = []
        # One that does not answer does nothing.
        with contextlib.suppress(exceptions.RbdStoreError):
            tasks = self._command("rbd task list") or []
        for task in tasks:
            if task["in_progress"] and task["refs"].get("image_id") == image_id:
                raise exceptions.InUse(
                    f"the cluster's manager is at work on it ({task['message']}): `ceph rbd task "
                    f"cancel {task['id']}` ends that",
                    spec=spec,
                )

    def _command(self, prefix: str, *, spec: ImageSpec | None = None, **arguments: str) -> Any:
        # So that whoever cannot connect is told why, as anywhere else.
        with self.connection():
            return manager.command(self.options.client, prefix, spec=spec, **arguments)


def _address(address: dict[str, Any]) -> tuple[str, int]:
    host, _, port = str(address["addr"]).rpartition(":")
    return host.strip("[]"), int(port)
