# SPDX-License-Identifier: Apache-2.0
"""A backend that can be opened, as far as it was looked at: what is tried with it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from oslo_log import log

from rbdstore import exceptions
from rbdstore.checks import Check, Outcome, passed, skipped
from rbdstore.closing import Closing
from rbdstore.doctor.backend import Backend
from rbdstore.doctor.probes import Reading, Trial
from rbdstore.doctor.walk import Result, Walk
from rbdstore.driver import Cluster, Pool

LOG = log.getLogger(__name__)


class Patient(Closing):
    """What is tried with one backend: its own pool first, then clones between it and others.

    :ivar writes: whether its user is to make images in its pool
    """

    def __init__(self, backend: Backend, seconds: int) -> None:
        self.backend = backend
        self.walk = Walk(backend.name, backend.section)
        self.writes = True
        self.reading: Reading | None = None
        self.trial: Trial | None = None
        self._seconds = seconds
        self._cluster: Cluster | None = None

    def begin(self, *, changes: bool) -> Iterator[Result]:
        """Open it, and try in its own pool what its service does there."""
        yield self.walk.take(Check("backend", self._open, vital=True))
        if self._cluster is None or self.reading is None:
            return
        if changes and self.writes:
            seconds = self.backend.settings.lease_seconds
            self.trial = Trial(self.reading.pool, seconds, self.backend.command)
            begin = functools.partial(self._begin, self.trial)
            # First: who may write may read, and who may not is to be told of that right.
            yield self.walk.take(Check("lease", begin, ("backend",)))
        else:
            why = "nothing is to be changed" if self.writes else "its user only reads there"
            yield self.walk.tell("create", skipped(why))
        for check in self.reading.checks("lease" if self.trial else "backend"):
            yield self.walk.take(check)
        for check in self.trial.checks() if self.trial else ():
            yield self.walk.take(check)

    def _open(self) -> Outcome:
        self._cluster, pool = self.backend.open(self._seconds)
        self.reading = Reading(pool)
        return passed(f"pool {pool.name} of the cluster {self._cluster.fsid}")

    def _begin(self, trial: Trial) -> Outcome:
        try:
            return trial.begin()
        except exceptions.PermissionDenied as error:
            if self.backend.work is None and self.backend.name:
                # Nobody should be given a right because the doctor did not know better.
                error.lacking += (
                    "; unless it is only to read there, of which `--reads "
                    f"{self.backend.name}` tells"
                )
            raise

    @property
    def fsid(self) -> str:
        """The cluster's; empty where it could not be opened."""
        return "" if self._cluster is None else self._cluster.fsid

    def pool(self, name: str, namespace: str) -> Pool:
        """Another pool of its cluster, as its user sees it."""
        assert self._cluster is not None, "begin comes first"  # nosec B101
        return self._cluster.open_pool(name, namespace)

    def end(self) -> Iterator[Result]:
        """Undo it."""
        trial, self.trial = self.trial, None
        if trial is not None and trial.has_begun:
            yield self.walk.take(Check("undo", trial.end))

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            if self._cluster is not None:
                stack.callback(self._cluster.close)
            if self.reading is not None:
                stack.callback(self.reading.pool.close)
            if self.trial is not None:
                stack.callback(_undo, self.trial)
            self._cluster = self.reading = self.trial = None


def _undo(trial: Trial) -> None:
    outcome = trial.end()
    if outcome.verdict != "pass":
        LOG.warning("%s", outcome.seen)
