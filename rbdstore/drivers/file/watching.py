# SPDX-License-Identifier: Apache-2.0
"""Watchers: a file for each handle that is open for writing, locked for as long as it is."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import Final

from rbdstore.drivers.file import locks

_SUFFIX: Final = ".watcher"


class Watch:
    """One watcher of the image that has a folder; the folder is there."""

    def __init__(self, folder: str) -> None:
        self._lock = locks.make_live(
            os.path.join(folder, f"{os.getpid()}-{uuid.uuid4().hex[:8]}{_SUFFIX}")
        )
        self.address = _address(os.path.basename(self._lock.path))

    def close(self) -> None:
        # A child that was forked has no lock, and its parent's file is not its own to remove.
        if self._lock.fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._lock.path)
        self._lock.close()


def watchers(folder: str) -> list[str]:
    """The addresses of the live watchers; what dead ones left is removed."""
    return [_address(name) for name in locks.sweep(folder, _SUFFIX)]


def _address(file: str) -> str:
    return "pid " + file.removesuffix(_SUFFIX).replace("-", "/")
