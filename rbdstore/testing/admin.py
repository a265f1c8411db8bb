# SPDX-License-Identifier: Apache-2.0
"""client.admin's conversation with a sandbox's daemons.

One client asks everything, within milliseconds where each run of the ``ceph`` command costs a
fifth of a second. It does not outlive the question at hand: a client must not be carried through
a fork, and nobody knows what the tests around it do.
"""

import contextlib
import json
import os
import pathlib
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

from rbdstore.testing.recipe import SandboxError


@contextlib.contextmanager
def connect(conf_path: str, timeout: float) -> Iterator["Admin"]:
    """Connect as client.admin; each step of it, and each later operation, within ``timeout``."""
    import rados
    import rbd

    limits = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")
    client = rados.Rados(
        conffile=conf_path,
        rados_id="admin",
        conf={limit: str(int(timeout) or 1) for limit in limits},
    )
    try:
        client.connect()
        yield Admin(client)
    except (rados.Error, rbd.Error) as exc:
        raise SandboxError(f"the cluster does not do its work: {exc}") from exc
    finally:
        client.shutdown()


def daemon_state(path: pathlib.Path, command: str) -> str | None:
    """Ask a daemon for its state through its admin socket; None where nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as conversation:
            conversation.settimeout(5)
            conversation.connect(str(path))
            conversation.sendall(json.dumps({"prefix": command}).encode() + b"\0")
            with conversation.makefile("rb") as answer:
                length = int.from_bytes(answer.read(4), "big")
                state: str = json.loads(answer.read(length))["state"]
                return state
    except (OSError, ValueError):
        return None


class Admin:
    """What a sandbox asks of its cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def monitor(self, prefix: str, **arguments: object) -> Any:
        """Send a command to the monitor; return its answer, decoded."""
        return _command(self._client.mon_command, prefix, **arguments)

    def is_ready(self) -> bool:
        """Tell whether placement groups and manager are; pools see :meth:`try_pools`."""
        if not self.monitor("mgr stat")["available"]:
            return False
        try:
            summary = _command(self._client.mgr_command, "pg stat")["pg_summary"]
            _command(self._client.mgr_command, "rbd task list")
        except SandboxError:
            # A manager that has just started does not know its modules' commands yet.
            return False
        clean = sum(
            state["num"]
            for state in summary["num_pg_by_state"]
            # Scrubbing goes on in one that serves.
            if state["name"].startswith("active+clean")
        )
        return bool(clean == sum(pool["pg_num"] for pool in self.monitor("osd dump")["pools"]))

    def create_pools(self, names: Sequence[str]) -> None:
        for name in names:
            self.monitor("osd pool create", pool=name)

    def init_pools(self, names: Sequence[str]) -> None:
        """Initialise pools for RBD."""
        import rbd

        self._in_each(names, lambda ioctx: rbd.RBD().pool_init(ioctx, True))

    def try_pools(self, names: Sequence[str]) -> None:
        """Create an image in each pool, and remove it."""
        import rbd

        def use(ioctx: Any) -> None:
            image = f"sandbox-ready-{uuid.uuid4()}"
            rbd.RBD().create(ioctx, image, 1 << 20)
            rbd.RBD().remove(ioctx, image)

        self._in_each(names, use)

    def _in_each(self, pools: Sequence[str], do: Callable[[Any], None]) -> None:
        def run(pool: str) -> None:
            with self._client.open_ioctx(pool) as ioctx:
                do(ioctx)

        with futures.ThreadPoolExecutor(max(1, len(pools))) as threads:
            for future in [threads.submit(run, pool) for pool in pools]:
                future.result()


def _command(send: Callable[..., Any], prefix: str, **arguments: object) -> Any:
    command = {"prefix": prefix, "format": "json", **arguments}
    status, output, error = send(json.dumps(command), b"")
    # A timeout is negative from the monitor and positive from the manager.
    if status:
        raise SandboxError(f"{prefix}: {error or os.strerror(abs(status))}")
    return json.loads(output) if output.strip() else None
