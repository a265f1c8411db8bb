# SPDX-License-Identifier: Apache-2.0
"""What it costs that operations are told of: a verb that does nothing, by itself and observed.

``python bench/observing.py [--runs N]`` prints the medians of several runs.
"""

import argparse
import logging
import os
import statistics
import time
import timeit

import prometheus_client
from measuring import machine
from measuring.results import grid

from rbdstore import observing
from rbdstore.metrics import operations
from rbdstore.settings import Settings

CALLS = 20_000


class Service:
    """As :class:`rbdstore.volumes.VolumeStore` is one."""

    def __init__(self):
        self._settings = Settings(backend="volumes")

    def create(self, name, size):
        return None


def microseconds(service, runs):
    """Of the processor, for one call."""
    took = timeit.repeat(
        lambda: service.create("volume-1", 1 << 30),
        number=CALLS,
        repeat=runs,
        timer=time.process_time,
    )
    return 1e6 * statistics.median(took) / CALLS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    observed = observing.observed(Service, "volumes")()
    logger = logging.getLogger("rbdstore")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    rows = [("by itself", microseconds(Service(), runs))]
    rows.append(("observed, nothing logged", microseconds(observed, runs)))
    observer = operations.Operations(prometheus_client.CollectorRegistry())
    observing.add(observer)
    rows.append(("the same, and counted", microseconds(observed, runs)))
    observing.remove(observer)
    logger.setLevel(logging.INFO)
    with open(os.devnull, "w") as nowhere:
        logger.addHandler(logging.StreamHandler(nowhere))
        rows.append(("observed, and logged to /dev/null", microseconds(observed, runs)))
    print(f"load {machine.load()}")
    print(grid(("a call", "µs"), [(what, f"{figure:.1f}") for what, figure in rows]))


if __name__ == "__main__":
    main()
