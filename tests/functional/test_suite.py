# SPDX-License-Identifier: Apache-2.0
"""The rbd driver, proven by the suite that ships: with new features, and with those of early
releases, on a real Ceph.
"""

import itertools
import shutil

import pools
import pytest
import rados
import stores

from rbdstore.drivers.rbd.driver import RbdDriver
from rbdstore.testing import suite


@pytest.fixture(scope="module")
def hosts(sandbox, tmp_path_factory):
    """The options of two clients, which stay connected as long as the module's tests run."""
    folder = tmp_path_factory.mktemp("hosts")
    confs = [shutil.copy(sandbox.conf_path, folder / name) for name in ("one.conf", "two.conf")]
    options = [{"rbd_user": "admin", "rbd_ceph_conf": str(conf)} for conf in confs]
    clusters = [RbdDriver().open(each) for each in options]
    for cluster in clusters:
        assert cluster.fsid
    yield options
    for cluster in clusters:
        cluster.close()


@pytest.fixture(autouse=True, scope="class")
def _empty_pools(sandbox):
    """The suite looks after each test, this looks at the RADOS objects in the end."""
    yield
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
        pools.assert_empty(client)


class TestNewFeatures(suite.DriverSuite):
    pools = ("volumes", "images")
    features = None

    @pytest.fixture
    def connect(self, hosts):
        turns = itertools.cycle(hosts)
        return lambda: RbdDriver().open({**next(turns), "rbd_features": self.features})


class TestOldFeatures(TestNewFeatures):
    features = stores.OLD_FEATURES
