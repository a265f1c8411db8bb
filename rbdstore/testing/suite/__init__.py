# SPDX-License-Identifier: Apache-2.0
"""The contract of :mod:`rbdstore.driver` as tests, for every driver.

A driver proves itself by a class that inherits them and says how to connect::

    class TestMyDriver(suite.DriverSuite):
        pools = ("volumes", "images")

        @pytest.fixture
        def connect(self):
            return lambda: MyDriver().open({"my_host": "..."})

The two pools must be there, and empty. Each test is given them empty, and fails where what it made
there cannot be removed again. What a driver need not have (background tasks, monitors, clones of
format 2, the features exclusive-lock and deep-flatten) is asked of those that say they have it.

One file a subject, to be read beside the interface. It needs pytest (``rbdstore[test]``).
"""

import pytest

# Otherwise a failure in another package than pytest is run for would not show its values.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "aio",
            "base",
            "cluster",
            "data",
            "extents",
            "flatten",
            "leases",
            "lineage",
            "objects",
            "pool",
            "snaps",
            "threads",
            "trash",
            "use",
        )
    )
)

# ruff: noqa: E402
from rbdstore.testing.suite.aio import AioSuite
from rbdstore.testing.suite.base import Suite
from rbdstore.testing.suite.cluster import ClusterSuite
from rbdstore.testing.suite.data import DataSuite
from rbdstore.testing.suite.extents import ExtentSuite
from rbdstore.testing.suite.flatten import FlattenSuite
from rbdstore.testing.suite.leases import LeaseSuite
from rbdstore.testing.suite.lineage import LineageSuite
from rbdstore.testing.suite.objects import ObjectSuite
from rbdstore.testing.suite.pool import PoolSuite
from rbdstore.testing.suite.snaps import SnapSuite
from rbdstore.testing.suite.threads import ThreadSuite
from rbdstore.testing.suite.trash import TrashSuite
from rbdstore.testing.suite.use import UseSuite

__all__ = [
    "AioSuite",
    "ClusterSuite",
    "DataSuite",
    "DriverSuite",
    "ExtentSuite",
    "FlattenSuite",
    "LeaseSuite",
    "LineageSuite",
    "ObjectSuite",
    "PoolSuite",
    "SnapSuite",
    "Suite",
    "ThreadSuite",
    "TrashSuite",
    "UseSuite",
]


class DriverSuite(
    ClusterSuite,
    PoolSuite,
    TrashSuite,
    ObjectSuite,
    LeaseSuite,
    DataSuite,
    AioSuite,
    ExtentSuite,
    SnapSuite,
    LineageSuite,
    FlattenSuite,
    UseSuite,
    ThreadSuite,
):
    """All of them."""
