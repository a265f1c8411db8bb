# SPDX-License-Identifier: Apache-2.0
"""The driver's entry point, and the cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from oslo_config import cfg

from rbdstore import driver, exceptions
from rbdstore_memory import state
from rbdstore_memory.pool import MemoryPool

FEATURES = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")


class MemoryDriver(driver.Driver):
    """Everything in the memory of this process: threads share it, other processes do not."""

    API_VERSION = 1
    OPTIONS = (
        cfg.StrOpt(
            "memory_cluster",
            default="memory",
            help="Backends with the same name here are in one cluster.",
        ),
        cfg.ListOpt(
            "memory_pools",
            default=["rbd", "images", "volumes"],
            help="Pools to make, each as 'pool' or 'pool/namespace'.",
        ),
        cfg.ListOpt(
            "memory_features",
            default=list(FEATURES),
            help="Features of new images. Only 'exclusive-lock' and 'deep-flatten' have effects.",
        ),
        cfg.IntOpt("memory_bytes", min=0, help="How much can be stored. Default: no limit."),
    )

    def open(self, options: Mapping[str, Any]) -> MemoryCluster:
        found = state.cluster(options["memory_cluster"])
        with found.lock:
            if options["memory_bytes"] is not None:
                found.capacity = options["memory_bytes"]
            for entry in options["memory_pools"]:
                name, _slash, namespace = entry.partition("/")
                for place in {(name, ""), (name, namespace)}:
                    found.pools.setdefault(place, state.PoolState(*place))
        return MemoryCluster(found, frozenset(options["memory_features"]))


class MemoryCluster(driver.Cluster):
    """One connection, so to speak: closing it leaves the data where they are."""

    def __init__(self, found: state.ClusterState, features: frozenset[str]) -> None:
        self.features = features
        self.lock = found.lock
        self._state = found
        self._closed = False

    @contextlib.contextmanager
    def locked(self) -> Iterator[state.ClusterState]:
        """Give the cluster to one thread."""
        with self.lock:
            if self._closed:
                raise exceptions.ClusterError("the connection to the cluster is closed")
            yield self._state

    def shares_data_with(self, other: driver.Cluster) -> bool:
        return isinstance(other, MemoryCluster) and other._state is self._state

    @property
    def fsid(self) -> str:
        return self._state.fsid

    def open_pool(self, name: str, namespace: str = "") -> MemoryPool:
        with self.locked() as found:
            if (name, namespace) not in found.pools:
                place = f"{name}/{namespace}" if namespace else name
                raise exceptions.PoolNotFound(
                    f"rbd_pool, rbd_namespace: there is no {place}; add it to memory_pools, or "
                    f"name one of {', '.join(sorted(self.list_pools()))}"
                )
            return MemoryPool(self, found.pools[name, namespace])

    def list_pools(self) -> list[str]:
        with self.locked() as found:
            return [name for name, namespace in found.pools if not namespace]

    def close(self) -> None:
        self._closed = True
