# SPDX-License-Identifier: Apache-2.0
"""The pools of some backends, as Prometheus sees them.

Who asks is never kept waiting for a cluster: it is looked at every so often by threads, and told
is what was seen last. What could not be seen is not told, except that it could not.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from oslo_log import log
from prometheus_client import metrics_core, registry

from rbdstore import exceptions
from rbdstore.closing import Closing
from rbdstore.threads import threading

if typing.TYPE_CHECKING:
    from rbdstore.store import Store

LOG = log.getLogger(__name__)

_SILENT: Final = 30.0
"""A cluster that does not tell what a pool holds within so many seconds is not up."""

T = TypeVar("T")

_GAUGES: Final = {
    "capacity_bytes": ("total", "What could be stored if the pool were empty, within its quota."),
    "free_bytes": ("free", "What can be stored now."),
    "used_bytes": ("used", "What is stored."),
    "provisioned_bytes": ("provisioned", "What its images may grow to."),
    "images": ("images", "Its images, volumes and disks, without those in the trash."),
    "snapshots": ("snapshots", "Their snapshots, of users and of this library."),
}
"""Of what the cluster tells of a pool by itself."""

_SURVEYED: Final = {
    "trash_images": "Images in the trash, whoever put them there.",
    "clone_depth": "How many parents the deepest image has above it.",
    "images_too_deep": "Images with more parents than rbd_max_clone_depth.",
    "images_unreadable": "Images that could not be looked at.",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Periods:
    """How often is looked, in seconds; 0: never.

    :ivar stats: at what the cluster tells by itself; costs next to nothing
    :ivar survey: at every image, which opens each
    :ivar gc: for leftovers
    """

    stats: float = 60
    survey: float = 900
    gc: float = 0


class Pools(Closing, registry.Collector):
    """What is seen of the pools of some backends."""

    def __init__(self, stores: Mapping[str, Store], periods: Periods) -> None:
        """``stores`` are by the names of their backends; who made them closes them."""
        looks: dict[str, tuple[float, Callable[[Store], object]]] = {
            "stats": (periods.stats, lambda store: store.volumes.stats()),
            "survey": (periods.survey, _survey),
            "gc": (periods.gc, _leftovers),
        }
        self._looks: dict[tuple[str, str], _Look[Any]] = {
            (backend, look): _Look(f"{look} of {backend}", functools.partial(do, store))
            for backend, store in stores.items()
            for look, (period, do) in looks.items()
            if period
        }
        self._periods = {look: period for look, (period, _do) in looks.items()}

    def once(self) -> None:
        """Look at everything now."""
        for look in self._looks.values():
            look.take()

    def start(self) -> None:
        """Look at everything every so often, until it is closed."""
        for (_backend, look), found in self._looks.items():
            found.start(self._periods[look])

    def close(self) -> None:
        """Look no more. One that a cluster holds up is not waited for."""
        for look in self._looks.values():
            look.stop()

    def collect(self) -> Iterator[metrics_core.Metric]:
        up = _gauge("rbdstore_up", "Whether the cluster told of the pool when asked last.")
        for (backend, look), found in self._looks.items():
            if look == "stats":
                up.add_metric((backend,), found.seen is not None and not found.is_late)
        yield up
        yield from self._stats()
        yield from self._surveyed()
        yield from self._leftovers()
        when = _gauge("rbdstore_look_timestamp_seconds", "When it was looked last.", "look")
        took = _gauge("rbdstore_look_duration_seconds", "How long that took.", "look")
        for (backend, look), found in self._looks.items():
            if (seen := found.seen) is not None:
                when.add_metric((backend, look), seen.at)
                took.add_metric((backend, look), seen.seconds)
        yield from (when, took)

    def _seen(self, wanted: str) -> Iterator[tuple[str, Any]]:
        for (backend, look), found in self._looks.items():
            if look == wanted and (seen := found.seen) is not None:
                yield backend, seen.value

    def _stats(self) -> Iterator[metrics_core.Metric]:
        for name, (attribute, text) in _GAUGES.items():
            gauge = _gauge(f"rbdstore_pool_{name}", text)
            for backend, stats in self._seen("stats"):
                gauge.add_metric((backend,), getattr(stats, attribute))
            yield gauge

    def _surveyed(self) -> Iterator[metrics_core.Metric]:
        for name, text in _SURVEYED.items():
            gauge = _gauge(f"rbdstore_pool_{name}", text)
            for backend, survey in self._seen("survey"):
                gauge.add_metric((backend,), survey[name])
            yield gauge

    def _leftovers(self) -> Iterator[metrics_core.Metric]:
        count = _gauge("rbdstore_pool_leftovers", "What gc would find.", "kind", "outcome")
        size = _gauge("rbdstore_pool_leftover_bytes", "How many it holds.", "kind", "outcome")
        for backend, leftovers in self._seen("gc"):
            for which, (number, held) in leftovers.items():
                count.add_metric((backend, *which), number)
                size.add_metric((backend, *which), held)
        yield from (count, size)


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen(Generic[T]):
    value: T
    at: float
    seconds: float


class _Look(Generic[T]):
    """Something that is looked at, now and then.

    :ivar seen: what was seen last; None: nothing yet, or it could not be
    """

    def __init__(self, what: str, do: Callable[[], T]) -> None:
        self._what = what
        self._do = do
        self._stopped = threading.Event()
        self._begun: float | None = None
        self._failed = False
        self.seen: _Seen[T] | None = None

    @property
    def is_late(self) -> bool:
        """Whether it is at it for longer than such a thing may take."""
        begun = self._begun
        return begun is not None and time.monotonic() - begun > _SILENT

    def start(self, period: float) -> None:
        # As a daemon: a cluster that does not answer is not to keep a process from its end.
        threading.Thread(target=self._run, args=(period,), name=self._what, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self, period: float) -> None:
        while not self._stopped.is_set():
            self.take()
            # Not all of them at the same moment.
            self._stopped.wait(period * random.uniform(0.9, 1.1))  # nosec B311: only a jitter

    def take(self) -> None:
        self._begun = begun = time.monotonic()
        try:
            value = self._do()
        except Exception as error:
            self.seen = None
            if not self._failed and not self._stopped.is_set():
                known = isinstance(error, exceptions.RbdStoreError)
                LOG.warning("%s: %s", self._what, error, exc_info=not known)
            self._failed = True
        else:
            self.seen = _Seen(value, time.time(), time.monotonic() - begun)
            if self._failed:
                LOG.warning("%s: it works again", self._what)
            self._failed = False
        finally:
            self._begun = None


def _survey(store: Store) -> dict[str, int]:
    trees = [tree for tree in store.forest() if not tree.outside]
    return {
        "trash_images": sum(tree.trashed for tree in trees),
        "clone_depth": max((tree.depth or 0 for tree in trees), default=0),
        "images_too_deep": sum(tree.is_too_deep for tree in trees),
        "images_unreadable": sum(tree.problem is not None for tree in trees),
    }


def _leftovers(store: Store) -> dict[tuple[str, str], tuple[int, int]]:
    """How many there are of each kind and outcome, and how many bytes they hold, as is known."""
    count: collections.Counter[tuple[str, str]] = collections.Counter()
    held: collections.Counter[tuple[str, str]] = collections.Counter()
    for found in store.gc().findings:
        count[found.kind, found.outcome] += 1
        held[found.kind, found.outcome] += found.bytes or 0
    return {which: (number, held[which]) for which, number in count.items()}


def _gauge(name: str, text: str, *labels: str) -> metrics_core.GaugeMetricFamily:
    return metrics_core.GaugeMetricFamily(name, text, labels=("backend", *labels))
