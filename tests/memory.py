# SPDX-License-Identifier: Apache-2.0
"""Stores without daemons, over the example driver, for tests of the services."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rbdstore import settings, store

# The driver is a distribution of its own; only test_third_party.py installs it.
sys.path.append(str(Path(__file__).parent / "example_driver"))

from rbdstore_memory import driver


def memory_cluster(
    name: str | None = None,
    *,
    pools: Iterable[str] = ("rbd", "images", "volumes"),
    features: Iterable[str] = driver.FEATURES,
    capacity: int | None = None,
) -> driver.MemoryCluster:
    """Return a connection to a cluster: a new one, or, by ``name``, one that was made before.

    :param pools: each as ``pool`` or ``pool/namespace``
    """
    options = {
        "memory_cluster": name or uuid.uuid4().hex,
        "memory_pools": list(pools),
        "memory_features": list(features),
        "memory_bytes": capacity,
    }
    return driver.MemoryDriver().open(options)


def memory_store(cluster: driver.MemoryCluster | None = None, **values: Any) -> store.Store:
    """Return a store over a cluster, a new one by default.

    :param values: what should differ from the defaults of :class:`rbdstore.settings.Settings`
    """
    return store.Store(cluster or memory_cluster(), settings.Settings(**values))
