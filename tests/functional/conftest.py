# SPDX-License-Identifier: Apache-2.0
"""The driver's own connections for tests on a real Ceph, and the pools empty after each."""

import contextlib
import shutil

import pools
import pytest
import rados
import samples
import stores

from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd.driver import RbdDriver


@pytest.fixture(scope="session")
def sandbox(ceph):
    return ceph


@pytest.fixture(autouse=True)
def _empty_pools(request):
    """See that each test leaves nothing behind, down to the RADOS objects."""
    yield
    # Some modules have a sandbox of their own, which they stop, break and look after.
    if "ceph" not in request.fixturenames:
        return
    conf = request.getfixturevalue("ceph").conf_path
    with rados.Rados(conffile=conf, rados_id="admin") as client:
        try:
            pools.assert_empty(client)
        finally:
            # So that one failure is one failure.
            for pool in client.list_pools():
                pools.clear(client, pool)


@pytest.fixture
def raw(sandbox):
    with stores.foreign(sandbox) as client:
        yield client


@pytest.fixture
def volumes(sandbox):
    return stores.volume_store(sandbox)


@pytest.fixture
def backups(sandbox):
    return stores.store(sandbox, "cinder-backup", "backups").backups


@pytest.fixture
def connections():
    """Tell the connections that this test has made and that are still there."""
    others = set(clients._connections)
    return lambda: clients._connections - others


@pytest.fixture
def user():
    """As whom the driver connects where a test does not say."""
    return "admin"


@pytest.fixture
def connect(sandbox, tmp_path, connections, user):
    """Open clusters that are closed after the test, of which no connection stays then."""
    others = set(clients._clients)
    # A path of its own: other tests' stores must not share its clients, some of which are cut off.
    conf = shutil.copy(sandbox.conf_path, tmp_path / "ceph.conf")
    with contextlib.ExitStack() as stack:

        def connected(user=user, **options):
            options = {"rbd_user": user, "rbd_ceph_conf": str(conf), **options}
            cluster = RbdDriver().open(options)
            stack.callback(cluster.close)
            return cluster

        yield connected
    assert not connections()
    assert set(clients._clients) == others


@pytest.fixture
def cluster(connect):
    return connect()


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


@pytest.fixture(params=["new", "old"])
def features(request):
    return None if request.param == "new" else samples.OLD_FEATURES


@pytest.fixture
def either_pool(connect, features):
    """The pool with new features, and with those of early releases."""
    return connect(rbd_features=features).open_pool("volumes")
