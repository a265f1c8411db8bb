# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows of work on a Ceph, done on one."""

import pools
import pytest
import rados
import visits


@pytest.fixture
def reader(sandbox):
    """A reader leaves behind what the page leaves."""
    yield
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
        for pool in client.list_pools():
            pools.clear(client, pool)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", visits.pages_to_follow(on_ceph=True))
def test_page(page, sandbox, tmp_path):
    visits.follow(
        page,
        tmp_path,
        visits.on_ceph(sandbox),
        conf_path=sandbox.conf_path,
        # Through it every user finds its key; and `ceph` is client.admin.
        CEPH_CONF=sandbox.conf_path,
    )
