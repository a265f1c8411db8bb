# SPDX-License-Identifier: Apache-2.0
"""To this library and back, as ``doc/source/operator/cinder.rst`` says."""

import contextlib
import sqlite3

import cinder_service
import manual
import pools
import pytest
import samples
import stores
from oslo_utils import units

GiB, MiB = units.Gi, units.Mi
DATA = samples.pattern("switched", 5 * MiB)
PAGE = manual.Page("cinder")
(BACKEND,) = PAGE.configurations()[0]["DEFAULT"].values()
STOCK, RBDSTORE, BACK = (each[BACKEND]["volume_driver"] for each in PAGE.configurations()[:3])
STOCK_BACKUP, BACKUP = (each["DEFAULT"]["backup_driver"] for each in PAGE.configurations()[3:])


@pytest.fixture(scope="module")
def service(make_cinder, ceph):
    return make_cinder({BACKEND: cinder_service.options(ceph, STOCK)}, backup_driver=STOCK_BACKUP)


@pytest.fixture
def raw(ceph):
    with stores.foreign(ceph) as found:
        yield found


def switch(service, ceph, driver, backup_driver):
    service.stop()
    service.configure({BACKEND: cinder_service.options(ceph, driver)}, backup_driver)
    if backup_driver == STOCK_BACKUP:
        with contextlib.closing(sqlite3.connect(service.database)) as database, database:
            database.execute(PAGE.line("UPDATE backups"))
    service.start()


def name(volume):
    return f"volume-{volume['id']}"


def begins(raw, volume):
    with raw.open("volumes", name(volume), read_only=True) as image:
        return image.read(0, len(DATA))


class Things:
    """One of everything that a user of a cloud has."""

    def __init__(self, client, raw, glance):
        self._client, self._raw = client, raw
        self.image = glance.client.add(DATA)
        self.from_image = client.create(1, imageRef=self.image, volume_type=BACKEND)
        self.snapshot = client.create_snapshot(self.from_image["id"])
        self.from_snapshot = client.create(1, snapshot_id=self.snapshot["id"])
        self.clone = client.create(1, source_volid=self.from_snapshot["id"])
        self.backup = client.create_backup(self.from_image["id"])
        self.made = client.create(1, volume_type=BACKEND)

    def use(self):
        """Do something with each, and see that its data is there."""
        client, raw = self._client, self._raw
        for volume in (self.from_image, self.from_snapshot, self.clone):
            assert begins(raw, volume) == DATA
        more = [
            client.create(1, snapshot_id=self.snapshot["id"]),
            client.create(1, source_volid=self.clone["id"]),
            client.create(1, imageRef=self.image, volume_type=BACKEND),
            client.restore(self.backup["id"], self.made["id"]),
        ]
        for volume in more:
            assert begins(raw, volume) == DATA
        raw.write("volumes", name(self.from_image), b"later")
        client.revert(self.from_image["id"], self.snapshot["id"])
        assert begins(raw, self.from_image) == DATA
        assert client.extend(self.clone["id"], 2)["size"] == 2
        assert raw.size("volumes", name(self.clone)) == 2 * GiB
        client.detach(client.attach(self.clone["id"])["id"])
        for volume in more[:-1]:
            client.delete(volume["id"])

    def delete(self):
        client = self._client
        client.delete_backup(self.backup["id"])
        for volume in (self.made, self.clone, self.from_snapshot):
            client.delete(volume["id"])
        client.delete_snapshot(self.snapshot["id"])
        client.delete(self.from_image["id"])
        assert client.list() == {}


def test_the_manual_is_about_what_is_tested(ceph):
    """The section that it shows, and one line that changes."""
    before, *changes = PAGE.configurations()[:3]
    assert (STOCK_BACKUP, BACKUP) == (cinder_service.STOCK_BACKUP, cinder_service.BACKUP)
    assert (STOCK, RBDSTORE, BACK) == (
        cinder_service.STOCK,
        cinder_service.RBDSTORE,
        cinder_service.STOCK,
    )
    assert [[*each[BACKEND]] for each in changes] == [["volume_driver"]] * 2
    shown, used = dict(before[BACKEND]), cinder_service.options(ceph, STOCK)
    assert shown.pop("volume_backend_name") == BACKEND
    assert shown.pop("rbd_ceph_conf") == "/etc/ceph/ceph.conf"
    assert shown == {name: str(used[name]) for name in shown}
    assert {*used} - {*shown} == {"rbd_ceph_conf"}


def test_to_this_library(service, ceph, raw, glance, nothing_left):
    things = Things(service.client, raw, glance)
    switch(service, ceph, RBDSTORE, BACKUP)
    things.use()
    things.delete()
    glance.client.delete(things.image)


def test_and_back(service, ceph, raw, glance, admin):
    switch(service, ceph, RBDSTORE, BACKUP)
    things = Things(service.client, raw, glance)
    switch(service, ceph, BACK, STOCK_BACKUP)
    things.use()
    things.delete()
    # What it has put into the trash, where nobody looks, it leaves there, and so the image has
    # clones.
    assert set(raw.trash("volumes").values()) <= {
        name(volume) for volume in (things.from_image, things.from_snapshot, things.clone)
    }
    for pool in admin.list_pools():
        pools.clear(admin, pool)
