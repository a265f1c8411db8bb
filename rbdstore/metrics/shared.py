# SPDX-License-Identifier: Apache-2.0
"""What the processes of services count, in files of a folder that they share.

That is how prometheus_client does it where a service has several processes: one that is asked
could only tell of itself.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Final

from prometheus_client import metrics_core, multiprocess, registry

# What is only so while its process lives.
_LIVE: Final = re.compile(r"gauge_live[a-z]*_(\d+)\.db", re.ASCII)


class Processes(registry.Collector):
    """All processes that have the folder in ``PROMETHEUS_MULTIPROC_DIR``.

    Those that have died are told by their ids: who looks has to see the same processes.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._collector = multiprocess.MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[metrics_core.Metric]:
        for path in pathlib.Path(self._folder).iterdir():
            match = _LIVE.fullmatch(path.name)
            if match and not _is_alive(int(match[1])):
                # Somebody else may ask at the same moment; or who asks may not write there.
                with contextlib.suppress(OSError):
                    multiprocess.mark_process_dead(int(match[1]), self._folder)  # type: ignore[no-untyped-call]
        found: Iterable[metrics_core.Metric] = self._collector.collect()  # type: ignore[no-untyped-call]
        return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
