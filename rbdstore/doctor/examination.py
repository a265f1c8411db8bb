# SPDX-License-Identifier: Apache-2.0
"""The whole way: configuration, what the driver looks at, and what a service does, tried."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oslo_config import cfg

from rbdstore import exceptions
from rbdstore.checks import failed
from rbdstore.closing import Closing
from rbdstore.doctor import configuration, crossing
from rbdstore.doctor.backend import Backend
from rbdstore.doctor.patient import Patient
from rbdstore.doctor.walk import Result, Walk


class Examination(Closing):
    """Of some backends, or all, of a configuration: first :meth:`look`, then :meth:`attempt`."""

    def __init__(
        self,
        conf: cfg.ConfigOpts | str | os.PathLike[str] | None = None,
        names: Sequence[str] = (),
        *,
        read_only: bool = False,
        reads: Sequence[str] = (),
        seconds: int = 30,
    ) -> None:
        """Nothing is read yet.

        :param conf: as for :func:`rbdstore.load`
        :param names: of the backends; none: all that are enabled
        :param read_only: change nothing in any pool
        :param reads: the names of backends whose users are only to read in their pools, as
            Cinder's is in Glance's, where the user's name does not tell
        :param seconds: for how long to wait for any single answer
        """
        self._conf = conf
        self._names = names
        self._read_only = read_only
        self._reads = reads
        self._seconds = seconds
        self._patients: list[Patient] = []
        self._alone: configuration.Options | None = None

    @classmethod
    def of_options(cls, driver: str, options: Mapping[str, str], **how: Any) -> Examination:
        """Of one backend without a configuration, as :func:`rbdstore.connect` takes it."""
        found = cls(**how)
        found._alone = configuration.Options(driver, options)
        return found

    def look(self) -> Iterator[Result]:
        """Whatever can be seen without changing anything, of all backends."""
        if self._alone is not None:
            yield from self._look_at(self._alone, self._alone.backend())
            return
        whole = Walk("", "")
        try:
            found = configuration.opened(self._conf)
        except exceptions.ConfigError as error:
            yield whole.tell("configuration", failed(str(error)))
            return
        for check in found.checks():
            yield whole.take(check)
        for name in found.enabled if not whole.broken else ():
            if not self._names or name in self._names:
                yield from self._look_at(found, found.backend(name))
        for name in dict.fromkeys([*self._names, *self._reads]):
            if name not in found.enabled and not whole.broken:
                there = ", ".join(found.enabled)
                problem = failed(f"there is no backend {name!r} among those enabled: {there}")
                yield Walk(name, "").tell("section", problem)

    def _look_at(
        self, source: configuration.Configuration | configuration.Options, backend: Backend
    ) -> Iterator[Result]:
        patient = Patient(backend, self._seconds)
        for check in source.checks_of(backend):
            yield patient.walk.take(check)
        if patient.walk.broken:
            return
        patient.writes = backend.writes and backend.name not in self._reads
        own = backend.checks(writes=patient.writes, seconds=self._seconds)
        with contextlib.closing(own):
            for check in own:
                yield patient.walk.take(check)
        self._patients.append(patient)

    def attempt(self) -> Iterator[Result]:
        """Whatever a service does, where that can be undone; it is, also where this is cut off."""
        for patient in self._patients:
            yield from patient.begin(changes=not self._read_only)
        if not self._read_only:
            for service in self._patients:
                for other in self._patients:
                    yield from crossing.between(service, other)
        # What was cloned comes after its clones.
        for patient in sorted(self._patients, key=lambda each: each.backend.kind == "images"):
            yield from patient.end()

    def close(self) -> None:
        """Undo whatever is not undone yet, and let go of the clusters."""
        patients, self._patients = self._patients, []
        with contextlib.ExitStack() as stack:
            for patient in patients:
                stack.callback(patient.close)
