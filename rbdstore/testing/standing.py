# SPDX-License-Identifier: Apache-2.0
"""A sandbox that stands until it is taken down: ``rbdstore sandbox``.

A :class:`~rbdstore.testing.sandbox.CephSandbox` ends with its owner. Here the owner is a process
of its own, the *holder*, that does nothing else. It keeps a lock on a file for as long as it
lives, and writes into that file where everything is: a file that can be locked is nobody's,
however its holder ended. There is one such file for each user.

This module runs as the holder (``python -m rbdstore.testing.standing``), and has what others need
to start, find and end it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Final, Self, cast

from rbdstore.testing.recipe import SandboxError

_UP: Final = "up"
_END_LIMIT: Final = 60.0

_CONFIGURATION: Final = """\
[rbdstore]
enabled_backends = volumes:rbd, images:rbd
default_backend = volumes

[volumes]
rbd_pool = volumes
rbd_user = cinder
rbd_ceph_conf = {conf_path}

[images]
rbd_pool = images
rbd_user = glance
rbd_ceph_conf = {conf_path}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """A sandbox that stands.

    :ivar pid: of its holder
    :ivar path: its folder
    :ivar config_file: a configuration of this library with the backends volumes and images
    """

    pid: int
    fsid: str
    path: str
    conf_path: str
    keyring_path: str
    config_file: str

    @classmethod
    def find(cls) -> Self | None:
        """The one that stands, if one does."""
        try:
            with _file().open() as file:
                if _lock(file.fileno()):
                    return None
                return cls(**json.load(file))
        except (FileNotFoundError, ValueError):
            # Without content it is just being made, or just being taken down.
            return None

    def env(self) -> dict[str, str]:
        """What a shell needs so that ``rbdstore``, ``rbd`` and ``ceph`` find it."""
        return {
            "RBDSTORE_CONFIG": self.config_file,
            "CEPH_CONF": self.conf_path,
            "CEPH_KEYRING": self.keyring_path,
            "CEPH_ARGS": "--id admin",
        }

    def end(self) -> None:
        """Take it down, and return when nothing of it is left.

        :raises SandboxError: it does not end
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        limit = time.monotonic() + _END_LIMIT
        while os.path.exists(self.path) or self.find() is not None:
            if time.monotonic() > limit:
                raise SandboxError(f"its process {self.pid} does not end")
            time.sleep(0.05)


def start() -> Standing:
    """Start one, and return when it serves.

    :raises SandboxError: there is one already, or it could not be started
    """
    if Standing.find() is not None:
        raise SandboxError("it is up already")
    with subprocess.Popen(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        # Neither a Ctrl-C nor the end of the terminal is meant for it.
        start_new_session=True,
    ) as holder:
        try:
            said = cast(IO[str], holder.stdout).readline().strip()
        except BaseException:
            holder.terminate()
            raise
        found = Standing.find() if said == _UP else None
        if found is None:
            raise SandboxError(said or "its process ended while it started")
        # It goes on; nobody waits for it.
        holder.returncode = 0
        return found


def _file() -> pathlib.Path:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return pathlib.Path(base) / "rbdstore" / "sandbox.json"


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _held() -> Iterator[pathlib.Path]:
    """Be the holder: lock the file, empty, and leave it empty."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _lock(file.fileno()):
            raise SandboxError("it is up already, or being started")
        file.truncate(0)
        try:
            yield path
        finally:
            file.truncate(0)


def _say(line: str) -> None:
    """Tell the one who started this process, who reads one line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _hold() -> None:
    """Start a sandbox, say so, and hold it until a signal comes."""
    from rbdstore.testing.sandbox import CephSandbox

    with _held() as path, CephSandbox() as sandbox:
        config_file = sandbox.path / "rbdstore.conf"
        config_file.write_text(_CONFIGURATION.format(conf_path=sandbox.conf_path))
        standing = Standing(
            os.getpid(),
            sandbox.fsid,
            str(sandbox.path),
            sandbox.conf_path,
            sandbox.keyring_path,
            str(config_file),
        )
        path.write_text(json.dumps(dataclasses.asdict(standing)))
        _say(_UP)
        # The pipe's other end is about to be closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        while True:
            signal.pause()


def _main() -> int:
    # An exception, so that the sandbox is taken down, wherever it is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _hold()
    except KeyboardInterrupt:
        return 0
    except (SandboxError, OSError) as error:
        _say(" ".join(str(error).split()))
    return 1


if __name__ == "__main__":
    sys.exit(_main())
