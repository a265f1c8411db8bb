# SPDX-License-Identifier: Apache-2.0
"""Cinder is killed while it is at something and started again; all can be used, and be deleted.

It is at three things each time, and killed when it is seen in the middle of one of them.
"""

import cinder_service
import pools
import pytest
import requests
import samples
import volume_data
from oslo_utils import units
from volume_data import name
from waiting import until

MiB = units.Mi
DATA = samples.pattern("killed", 32 * MiB)


@pytest.fixture(scope="module")
def service(make_cinder, ceph):
    section = cinder_service.options(
        ceph, cinder_service.RBDSTORE, rbd_max_clone_depth=1, rbd_lease_seconds=5
    )
    return make_cinder({"killed": section})


def begins(raw, volume):
    return volume_data.begins(raw, volume, like=DATA)


class Work:
    """Three things that Cinder is at."""

    def __init__(self, client, raw):
        self._client, self._raw = client, raw
        self.source, self.deep, self.doomed = (self._filled() for _ in range(3))
        self.clones = [
            client.create(1, source_volid=volume["id"]) for volume in (self.deep, self.doomed)
        ]

    def _filled(self):
        made = self._client.create(1, volume_type="killed")
        self._raw.write("volumes", name(made), DATA)
        return made

    def begin(self):
        client = self._client
        self.clone = client.begin(1, source_volid=self.source["id"])
        # What that is of is at the limit of depth: it is flattened first.
        self.deeper = client.begin(1, source_volid=self.clones[0]["id"])
        client.begin_delete(self.doomed["id"])

    @property
    def volumes(self):
        return [self.source, self.deep, self.doomed, *self.clones, self.clone, self.deeper]

    # In the middle of it

    def clones_a_volume(self):
        made = [image for image in self._raw.images("volumes") if name(self.clone) in image]
        return made and made != [name(self.clone)]

    def flattens(self):
        return self._raw.data_objects("volumes", name(self.clones[0]))

    def deletes(self):
        return self._raw.is_claimed("volumes", name(self.doomed))


@pytest.mark.parametrize("moment", [Work.clones_a_volume, Work.flattens, Work.deletes])
def test_killed_in_the_middle(service, raw, admin, collect, nothing_left, moment):
    client = service.client
    work = Work(client, raw)
    work.begin()
    until(lambda: moment(work), every=0)
    service.kill()
    service.start()
    # What was asked for and had not arrived is lost: its bus has no broker.
    status = {volume["id"]: client.give_up(volume["id"]) for volume in work.volumes}
    for volume in (work.source, work.deep, *work.clones):
        assert status[volume["id"]] == "available"
        assert begins(raw, volume) == DATA
    for volume in (work.clone, work.deeper):
        if status[volume["id"]] == "available":
            assert begins(raw, volume) == DATA
    again = [client.create(1, source_volid=of["id"]) for of in (work.source, work.clones[0])]
    for volume in again:
        assert begins(raw, volume) == DATA
    for volume in (*again, *work.volumes):
        delete(client, volume)
    assert client.list() == {}

    def left():
        collect("volumes", "cinder")
        return pools.leftovers(admin, "volumes")

    # A dead client is one that lives until its time is over.
    until(lambda: not left())


def delete(client, volume):
    try:
        client.delete(volume["id"])
    except requests.HTTPError as error:
        # When it starts, Cinder goes on with deletions.
        if error.response.status_code != 404:
            raise
