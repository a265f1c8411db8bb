# SPDX-License-Identifier: Apache-2.0
"""Metrics, for Prometheus: what the operations of this process cost.

They are there once :func:`enable` was called, be it by a backend's option ``rbd_metrics``. Until
then nothing is counted, and nothing of ``prometheus_client`` imported.
"""

from __future__ import annotations

import typing

from rbdstore import exceptions, observing
from rbdstore.threads import threading

if typing.TYPE_CHECKING:
    from prometheus_client import registry

_lock = threading.Lock()
_enabled: observing.Observer | None = None


def enable(into: registry.CollectorRegistry | None = None) -> None:
    """Count from now on, in every store of this process. To ask for it again changes nothing.

    :param into: where the metrics are to be had; None: ``prometheus_client.REGISTRY``, which that
        library's own servers tell of
    :raises ConfigError: ``prometheus_client`` is not installed
    """
    global _enabled
    with _lock:
        if _enabled is not None:
            return
        try:
            from rbdstore.metrics import operations
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "prometheus_client":
                raise
            raise exceptions.ConfigError(
                "metrics need the Python package prometheus_client; install it with the extra "
                "metrics: pip install 'rbdstore[metrics]'"
            ) from error
        _enabled = operations.Operations(into)
        observing.add(_enabled)
