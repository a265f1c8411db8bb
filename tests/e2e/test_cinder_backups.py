# SPDX-License-Identifier: Apache-2.0
"""cinder-backup, through HTTP: of this library, and Cinder's own as a control."""

import cinder_service
import pytest
from backing_up import back_up_and_restore
from volume_data import DATA, OURS, begins, name


@pytest.fixture
def with_stock_backups(make_cinder, ceph):
    """A Cinder that is Cinder's own throughout."""
    backends = {"stock": cinder_service.options(ceph, cinder_service.STOCK)}
    service = make_cinder(backends, backup_driver=cinder_service.STOCK_BACKUP)
    yield service.client
    service.stop()


def test_backups_by_the_stock_driver(with_stock_backups, raw, nothing_left):
    back_up_and_restore(with_stock_backups, raw, "stock")


@OURS
def test_a_backup_of_a_snapshot(client, raw, backend, volume):
    snapshot = client.create_snapshot(volume["id"])
    raw.write("volumes", name(volume), b"later")
    backup = client.create_backup(volume["id"], snapshot_id=snapshot["id"])
    target = client.create(1, volume_type=backend)
    client.restore(backup["id"], target["id"])
    assert begins(raw, target) == DATA
    client.delete_backup(backup["id"])
    client.delete_snapshot(snapshot["id"])
    for made in (volume, target):
        client.delete(made["id"])
