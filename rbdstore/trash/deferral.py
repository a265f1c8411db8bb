# SPDX-License-Identifier: Apache-2.0
"""Deferral: what a deleted volume leaves in the trash is purged in the background."""

from __future__ import annotations

import atexit
import random
import weakref
from collections.abc import Iterable
from typing import Any, Final

from oslo_log import log

from rbdstore import exceptions, threads
from rbdstore.driver import Pool
from rbdstore.settings import Settings
from rbdstore.trash.purging import LONGEST_PAUSE, Kept, Purging

LOG = log.getLogger(__name__)

_CLOSE_SECONDS: Final = 10

_purgers: weakref.WeakSet[Purger] = weakref.WeakSet()


class Purger:
    """Looks through a pool's trash now and then, where deletion is deferred, in a thread.

    It outlives every failure. What fails is logged once, and tried again less and less often until
    it works.
    """

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._closed = False
        self.reset()
        threads.reset_in_child(self)
        _purgers.add(self)

    def reset(self) -> None:
        """Forget the thread: a child process has none of its parent's."""
        self._lock = threads.threading.Lock()
        self._closing = threads.threading.Event()
        self._worker: Any = None
        self._told: set[object] = set()

    def start(self) -> None:
        """Have the thread run, if it is wanted and does not."""
        if not self._settings.enable_deferred_deletion or self._worker is not None:
            return
        with self._lock:
            if self._closed or self._worker is not None:
                return
            worker = threads.threading.Thread(
                target=self._run, name="rbdstore-purging", daemon=True
            )
            try:
                worker.start()
            except RuntimeError as error:
                LOG.warning("the next deletion tries to start the purging thread: %s", error)
            else:
                self._worker = worker

    def close(self) -> None:
        """End it, in the middle of a removal if need be."""
        with self._lock:
            self._closed = True
            worker = self._worker
        self._closing.set()
        if worker is not None:
            # One that the cluster lets wait ends when that answers, and does nothing more.
            worker.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        purging = Purging(self._pool, self._settings)
        interval = self._settings.deferred_deletion_purge_interval
        # Services that start together do not all look at the same moment.
        pause = random.uniform(0, interval)  # nosec B311: only a jitter
        failures = 0
        while not self._closing.wait(pause):
            pause = interval
            try:
                found = purging.run(self._go_on, wait=0)
                self._tell(found.kept)
                if found.purged:
                    count, name = len(found.purged), self._pool.name
                    LOG.info("purged %d deleted images of pool %s", count, name)
            except _ClosedError:
                return
            except exceptions.InUse as error:
                LOG.debug("another process purges: %s", error)
            except Exception as error:
                if self._closing.is_set():
                    return
                failures += 1
                pause = min(interval * 2 ** min(failures, 30), max(interval, LONGEST_PAUSE))
                self._tell_once(
                    type(error),
                    "deleted images of pool %s stay in the trash until this works again: %s",
                    self._pool.name,
                    error,
                )
                continue
            if failures:
                failures = 0
                self._told.difference_update([one for one in self._told if isinstance(one, type)])
                LOG.info("purging the deleted images of pool %s works again", self._pool.name)

    def _tell(self, kept: Iterable[Kept]) -> None:
        for one in kept:
            if one.why == "failed":
                where = self._pool.spec(one.name)
                self._tell_once(
                    one.image_id, "%s (%s) stays in the trash: %s", where, one.image_id, one.reason
                )

    def _tell_once(self, what: object, text: str, *arguments: object) -> None:
        level = log.DEBUG if what in self._told else log.WARNING
        self._told.add(what)
        LOG.log(level, text, *arguments)

    def _go_on(self, *_progress: object) -> None:
        if self._closing.is_set():
            raise _ClosedError


class _ClosedError(Exception):
    """The store was closed meanwhile."""


@atexit.register
def _close_all() -> None:
    # librbd calls back while it removes, and the process would abort once Python is taken down.
    for purger in list(_purgers):
        purger.close()
