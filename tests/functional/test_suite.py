# SPDX-License-Identifier: Apache-2.0
"""The rbd driver on a real Ceph, proven by the suite that ships.

All of it with new features; with those of early releases, and their clones of format 1, what
depends on them.
"""

import contextlib
import functools
import itertools
import shutil
from typing import ClassVar

import pools
import pytest
import rados
import samples

from rbdstore.drivers.rbd.driver import RbdDriver
from rbdstore.testing import suite


@pytest.fixture(scope="module")
def host(sandbox, tmp_path_factory):
    """Give options by which one of two hosts connects, so to speak: they share no connection.

    Each connection stays for the time of the module: that is faster.
    """
    folder = tmp_path_factory.mktemp("hosts")
    with contextlib.ExitStack() as stack:

        @functools.cache
        def connected(number, **options):
            conf = folder / f"{number}.conf"
            shutil.copy(sandbox.conf_path, conf)
            found = {"rbd_user": "admin", "rbd_ceph_conf": str(conf), **options}
            cluster = stack.enter_context(contextlib.closing(RbdDriver().open(found)))
            assert cluster.fsid
            return found

        yield connected


@pytest.fixture(autouse=True, scope="class")
def _empty_pools(sandbox):
    """The suite looks after each test, this looks at the RADOS objects in the end."""
    yield
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
        pools.assert_empty(client)


class OnCeph:
    pools = ("volumes", "images")
    options: ClassVar = {}

    @pytest.fixture
    def connect(self, host):
        turns = itertools.cycle((1, 2))
        return lambda: RbdDriver().open(host(next(turns), **self.options))


class TestNewFeatures(OnCeph, suite.DriverSuite):
    pass


class TestOldFeatures(
    OnCeph,
    suite.DataSuite,
    suite.ExtentSuite,
    suite.SnapSuite,
    suite.FlattenSuite,
    suite.UseSuite,
):
    options: ClassVar = {"rbd_features": samples.OLD_FEATURES}


class TestFormat1(OnCeph, suite.Suite):
    options: ClassVar = {"rbd_features": samples.OLD_FEATURES, "rbd_clone_format": "1"}

    test_protection = suite.LineageSuite.test_protection_and_clones
    test_lineage = suite.LineageSuite.test_parent_and_child_know_each_other
    test_a_parent_in_the_trash = suite.LineageSuite.test_a_parent_in_the_trash
    test_a_child_in_the_trash = suite.LineageSuite.test_a_child_in_the_trash
    test_a_snap_with_children = suite.LineageSuite.test_a_snap_with_children_stays
    test_flatten = suite.FlattenSuite.test_flatten
