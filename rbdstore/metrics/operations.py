# SPDX-License-Identifier: Apache-2.0
"""The operations of this process, as Prometheus counts them.

No label is ever a name of a user's: there are as many time series as there are verbs, backends and
kinds of errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

import prometheus_client
from prometheus_client import metrics_core, registry

from rbdstore import observing
from rbdstore.threads import threading

# Seconds: from a look at one image to an upload of hours.
_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

# prometheus_client's locks may be held by another thread at a fork, and never be released in the
# child; and where eventlet has patched them, they are not for native threads. So whoever counts,
# or looks, holds this one before, and so does who forks.
_LOCK: Final = threading.Lock()
os.register_at_fork(
    before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)


class Operations(observing.Observer, registry.Collector):
    """Counts what it is told of."""

    def __init__(self, into: registry.CollectorRegistry | None = None) -> None:
        """``into`` is where it is asked for; None: where prometheus_client looks by itself."""
        own = registry.CollectorRegistry(auto_describe=True)
        self._own = own
        self._operations = prometheus_client.Histogram(
            "rbdstore_operation_duration_seconds",
            "How long an operation took, and how many there were.",
            ("operation", "backend", "outcome"),
            buckets=_BUCKETS,
            registry=own,
        )
        self._bytes = prometheus_client.Counter(
            "rbdstore_operation_bytes",
            "Bytes that operations have moved between this process and the cluster.",
            ("operation", "backend", "direction"),
            registry=own,
        )
        self._flattens = prometheus_client.Gauge(
            "rbdstore_flattens_in_flight",
            "Images that are being flattened by this process, or by the cluster for it.",
            ("backend",),
            registry=own,
            multiprocess_mode="livesum",
        )
        self._findings = prometheus_client.Counter(
            "rbdstore_gc_findings",
            "What gc has found, in each of its passes.",
            ("backend", "kind", "outcome"),
            registry=own,
        )
        self._events = prometheus_client.Counter(
            "rbdstore_events",
            "Retries, lost leases, and work of others that was taken over.",
            ("event",),
            registry=own,
        )
        (prometheus_client.REGISTRY if into is None else into).register(self)

    def collect(self) -> Iterator[metrics_core.Metric]:
        with _LOCK:
            found = list(self._own.collect())
        yield from found

    def ended(self, operation: observing.Operation) -> None:
        name, backend = operation.name, operation.backend
        with _LOCK:
            self._operations.labels(name, backend, operation.outcome).observe(operation.seconds)
            if operation.read:
                self._bytes.labels(name, backend, "read").inc(operation.read)
            if operation.written:
                self._bytes.labels(name, backend, "written").inc(operation.written)

    def flattening(self, backend: str, more: int) -> None:
        with _LOCK:
            self._flattens.labels(backend).inc(more)

    def happened(self, event: observing.Event) -> None:
        with _LOCK:
            self._events.labels(event).inc()

    def collected(self, backend: str, findings: Iterable[observing.Found]) -> None:
        with _LOCK:
            for found in findings:
                self._findings.labels(backend, found.kind, found.outcome).inc()
