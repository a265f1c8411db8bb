# SPDX-License-Identifier: Apache-2.0
"""Cinder is killed while it is at something and started again; all can be used, and be deleted."""

import time

import cinder_service
import pytest
import requests
import samples
import stores
from oslo_utils import units

MiB = units.Mi
DATA = samples.pattern("killed", 64 * MiB)
# Somewhere in it, before it, after it: whatever it is, what follows must hold.
MOMENTS = pytest.mark.parametrize("moment", [0.05, 0.2, 0.6])


@pytest.fixture(scope="module")
def service(make_cinder, ceph):
    section = cinder_service.options(
        ceph, cinder_service.RBDSTORE, rbd_max_clone_depth=1, rbd_lease_seconds=5
    )
    return make_cinder({"killed": section})


@pytest.fixture
def raw(ceph):
    with stores.foreign(ceph) as found:
        yield found


@pytest.fixture
def source(service, raw, nothing_left):
    made = service.client.create(1, volume_type="killed")
    raw.write("volumes", f"volume-{made['id']}", DATA)
    return made


def kill(service, moment, volume):
    """Kill it while it is at a volume, and start it again; return the volume's status then.

    What was asked for and had not arrived is lost: its bus has no broker.
    """
    time.sleep(moment)
    service.kill()
    service.start()
    return service.client.give_up(volume["id"])


def begins(raw, volume):
    with raw.open("volumes", f"volume-{volume['id']}", read_only=True) as image:
        return image.read(0, len(DATA))


def clean_up(service, *volumes):
    """Delete what there is, also what came out as an error."""
    client = service.client
    for volume in volumes:
        try:
            client.delete(volume["id"])
        except requests.HTTPError as error:
            # When it starts, Cinder goes on with deletions.
            if error.response.status_code != 404:
                raise
    assert client.list() == {}


@MOMENTS
def test_in_a_clone(service, raw, source, moment):
    clone = service.client.begin(1, source_volid=source["id"])
    if kill(service, moment, clone) == "available":
        assert begins(raw, clone) == DATA
    assert begins(raw, source) == DATA
    again = service.client.create(1, source_volid=source["id"])
    assert begins(raw, again) == DATA
    clean_up(service, source, clone, again)


@MOMENTS
def test_in_a_flatten(service, raw, source, moment):
    clone = service.client.create(1, source_volid=source["id"])
    # It is at the limit: it is flattened first.
    deeper = service.client.begin(1, source_volid=clone["id"])
    if kill(service, moment, deeper) == "available":
        assert begins(raw, deeper) == DATA
    for volume in (source, clone):
        assert begins(raw, volume) == DATA
    clean_up(service, source, clone, deeper)


@MOMENTS
def test_in_a_deletion(service, raw, source, moment):
    clone = service.client.create(1, source_volid=source["id"])
    service.client.begin_delete(source["id"])
    kill(service, moment, source)
    assert begins(raw, clone) == DATA
    clean_up(service, source, clone)
