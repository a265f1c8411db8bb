# SPDX-License-Identifier: Apache-2.0
"""What is to be done when a task of the cluster has ended, by a thread that waits for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from oslo_log import log

from rbdstore import exceptions, threads
from rbdstore.driver import Cluster

LOG = log.getLogger(__name__)

_POLL_SECONDS: Final = 0.5


class Afterwards:
    """Threads, one for each task, that end with the store.

    What they did not come to by then is left to whoever sees that it is due.
    """

    def __init__(self) -> None:
        self.reset()
        threads.reset_in_child(self)

    def reset(self) -> None:
        """Forget everything: a child process has none of its parent's threads."""
        self._lock = threads.threading.Lock()
        self._closing = threads.threading.Event()
        self._waiting: set[Any] = set()

    def do(self, cluster: Cluster, task: str, what: Callable[[], object]) -> None:
        """Call ``what`` when the task has ended, well or not. Returns at once."""
        with self._lock:
            if self._closing.is_set():
                return
            thread = threads.threading.Thread(
                target=self._wait, args=(cluster, task, what), name="rbdstore-tasks", daemon=True
            )
            thread.start()
            self._waiting.add(thread)

    def close(self) -> None:
        """Wait for no task any more. What was begun is finished."""
        with self._lock:
            self._closing.set()
            waiting = list(self._waiting)
        for thread in waiting:
            thread.join()

    def _wait(self, cluster: Cluster, task: str, what: Callable[[], object]) -> None:
        try:
            while not self._closing.wait(_POLL_SECONDS):
                if _has_ended(cluster, task):
                    what()
                    return
        except exceptions.RbdStoreError as error:
            LOG.warning("what follows the task %s is left for later: %s", task, error)
        finally:
            with self._lock:
                self._waiting.discard(threads.threading.current_thread())


def _has_ended(cluster: Cluster, task: str) -> bool:
    try:
        return cluster.task_progress(task) is None
    except exceptions.ClusterError as error:
        # A manager may have died, and the next one goes on with its tasks.
        LOG.debug("nobody knows of the task %s: %s", task, error)
        return False
