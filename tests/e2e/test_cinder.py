# SPDX-License-Identifier: Apache-2.0
"""Cinder, driven through HTTP only: over this library, and over its own driver as a control.

What is the same for both is one test with two backends; where they differ, the test says how, and
``doc/source/operator/cinder.rst`` lists it. Of the other files of these tests this one is the part
that CI has.
"""

import cinder_service
import pytest
import requests
from backing_up import back_up_and_restore
from oslo_utils import units
from volume_data import BOTH, DATA, OURS, begins, filled, name, parent

GiB = units.Gi


def test_all_backends_are_up(client):
    for backend in ("ours", "stock", "other"):
        capabilities = client.pools()[cinder_service.host(backend)]
        assert capabilities["backend_state"] == "up"
        assert capabilities["storage_protocol"] == "ceph"
        assert capabilities["free_capacity_gb"] > 0


@BOTH
def test_the_life_of_a_volume(client, raw, backend, volume):
    assert list(client.list()) == [volume["id"]]
    assert volume["os-vol-host-attr:host"] == cinder_service.host(backend)
    snapshot = client.create_snapshot(volume["id"])
    raw.write("volumes", name(volume), b"later")
    from_snapshot = client.create(2, snapshot_id=snapshot["id"])
    clone = client.create(1, source_volid=volume["id"])
    assert begins(raw, from_snapshot) == DATA
    assert raw.size("volumes", name(from_snapshot)) == 2 * GiB
    assert begins(raw, clone) == b"later" + DATA[5:]
    assert parent(raw, from_snapshot) == parent(raw, clone) == name(volume)
    client.revert(volume["id"], snapshot["id"])
    assert begins(raw, volume) == DATA
    assert client.extend(clone["id"], 3)["size"] == 3
    assert raw.size("volumes", name(clone)) == 3 * GiB
    for made in (from_snapshot, clone):
        client.delete(made["id"])
    client.delete_snapshot(snapshot["id"])
    client.delete(volume["id"])


@OURS
def test_what_has_clones_is_deleted_before_them(client, raw, volume):
    snapshot = client.create_snapshot(volume["id"])
    clones = [
        client.create(1, snapshot_id=snapshot["id"]),
        client.create(1, source_volid=volume["id"]),
    ]
    client.delete_snapshot(snapshot["id"])
    client.delete(volume["id"])
    for clone in clones:
        # Nobody has copied data meanwhile, as the stock driver does then.
        assert raw.parent("volumes", name(clone)) is not None
        assert begins(raw, clone) == DATA
        client.delete(clone["id"])


def chain(client, raw, backend, length):
    """Volumes, each a clone of the one before."""
    made = [filled(client, raw, backend)]
    for _ in range(length):
        made.append(client.create(1, source_volid=made[-1]["id"]))
        assert begins(raw, made[-1]) == DATA
    return made


def depth(raw, volume):
    found, above = 0, ("volumes", name(volume))
    while above := raw.parent(above[0], above[1]):
        found += 1
    return found


@BOTH
def test_a_chain_beyond_the_limit(client, raw, backend):
    made = chain(client, raw, backend, 5)
    assert max(depth(raw, volume) for volume in made) <= 3 + (backend == "stock")
    for volume in made:
        client.delete(volume["id"])
    # Of the stock driver's, some are there for ever, though their users deleted them.
    assert bool(raw.images("volumes")) == (backend == "stock")


@BOTH
def test_an_attachment_tells_where_the_volume_is(client, raw, backend, volume, ceph):
    attachment = client.attach(volume["id"])
    info = attachment["connection_info"]
    assert info["driver_volume_type"] == "rbd"
    assert info["name"] == f"volumes/{name(volume)}"
    assert (info["auth_enabled"], info["auth_username"]) == (True, "cinder")
    assert info["secret_uuid"] == ceph.fsid
    assert client.show(volume["id"])["status"] == "in-use"
    with pytest.raises(requests.HTTPError, match="must be available"):
        client.delete(volume["id"])
    client.detach(attachment["id"])
    assert client.show(volume["id"])["status"] == "available"
    client.delete(volume["id"])


# Images


@BOTH
def test_a_volume_of_a_raw_image_shares_its_data(client, raw, backend, glance):
    image = glance.client.add(DATA)
    volume = client.create(1, imageRef=image, volume_type=backend)
    assert raw.parent("volumes", name(volume)) == ("images", image, "snap")
    assert begins(raw, volume) == DATA
    assert raw.size("volumes", name(volume)) == GiB
    with pytest.raises(requests.HTTPError, match="409"):
        glance.client.delete(image)
    client.delete(volume["id"])
    glance.client.delete(image)


# Backups


@BOTH
def test_backups(client, raw, backend):
    """Of volumes that either volume driver serves."""
    back_up_and_restore(client, raw, backend)
