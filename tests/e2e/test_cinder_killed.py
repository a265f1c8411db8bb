# SPDX-License-Identifier: Apache-2.0
"""Cinder is killed while it is at something and started again; all can be used, and be deleted."""

import time

import cinder_service
import pytest
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


def kill(service, moment):
    time.sleep(moment)
    service.kill()
    service.start()


def begins(raw, volume):
    with raw.open("volumes", f"volume-{volume['id']}", read_only=True) as image:
        return image.read(0, len(DATA))


def clean_up(service, *volumes):
    """Delete what there is, also what came out as an error."""
    client = service.client
    for volume in volumes:
        if volume["id"] in client.list():
            client.delete(volume["id"])
    assert client.list() == {}


@MOMENTS
def test_in_a_clone(service, raw, source, moment):
    clone = service.client.begin(1, source_volid=source["id"])
    kill(service, moment)
    if service.client.ended("volumes", clone["id"]) == "available":
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
    kill(service, moment)
    if service.client.ended("volumes", deeper["id"]) == "available":
        assert begins(raw, deeper) == DATA
    for volume in (source, clone):
        assert begins(raw, volume) == DATA
    clean_up(service, source, clone, deeper)


@MOMENTS
def test_in_a_deletion(service, raw, source, moment):
    clone = service.client.create(1, source_volid=source["id"])
    service.client.begin_delete(source["id"])
    kill(service, moment)
    # Cinder goes on with it when it starts.
    service.client.gone("volumes", source["id"])
    assert begins(raw, clone) == DATA
    clean_up(service, clone)
