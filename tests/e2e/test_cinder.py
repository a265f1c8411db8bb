# SPDX-License-Identifier: Apache-2.0
"""Cinder, driven through HTTP only: over this library, and over its own driver as a control.

What is the same for both is one test with two backends; where they differ, the test says how, and
``doc/source/operator/cinder.rst`` lists it.
"""

import subprocess

import cinder_service
import pools
import pytest
import requests
import samples
import stores
from oslo_utils import units

GiB, MiB = units.Gi, units.Mi
DATA = samples.pattern("cinder", 9 * MiB + 512)

BOTH = pytest.mark.parametrize("backend", ["ours", "stock"])


@pytest.fixture
def client(request, cinder, admin, raw, nothing_left):
    yield cinder.client
    if "stock" in request.node.name:
        # It keeps volumes with clones that have gone meanwhile, here and in every cloud.
        assert all(image.endswith(".deleted") for image in raw.images("volumes"))
        pools.clear(admin, "volumes")


@pytest.fixture
def raw(ceph):
    """A client that writes and reads what instances would."""
    with stores.foreign(ceph) as found:
        yield found


@pytest.fixture
def volume(client, raw, backend):
    """A volume of 1 GiB that begins with DATA, in the backend; the test deletes it."""
    return filled(client, raw, backend)


def filled(client, raw, backend, data=DATA):
    made = client.create(1, volume_type=backend)
    raw.write("volumes", name(made), data)
    return made


def name(volume):
    return f"volume-{volume['id']}"


def begins(raw, volume, pool="volumes"):
    with raw.open(pool, name(volume), read_only=True) as image:
        return image.read(0, len(DATA))


def number(raw, volume):
    with raw.open("volumes", name(volume), read_only=True) as image:
        return image.id()


def parent(raw, volume):
    found = raw.parent("volumes", name(volume))
    return found and found[1]


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


@pytest.mark.parametrize("backend", ["ours"])
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


def test_limits_and_several_hosts(client, raw):
    """The control is that Ceph knows the limits by these names."""
    fast = client.create_type("fast", "ours", multiattach="<is> True")
    client.limit_type(fast, total_iops_sec="500", read_bytes_sec_max="1000000")
    volume = client.create(1, volume_type="fast")

    def limits(of):
        with raw.open("volumes", name(of), read_only=True) as image:
            return {
                setting["name"]: setting["value"]
                for setting in image.config_list()
                if setting["name"].startswith("rbd_qos_")
                and setting["value"] not in ("0", "1")
                and not setting["name"].endswith(("burst_seconds", "tick_min"))
            }

    assert limits(volume) == {"rbd_qos_iops_limit": "500", "rbd_qos_read_bps_burst": "1000000"}
    assert "exclusive-lock" not in raw.features("volumes", name(volume))
    attachments = [client.attach(volume["id"]) for _ in range(2)]
    for attachment in attachments:
        client.detach(attachment["id"])
    assert client.retype(volume["id"], "ours")["volume_type"] == "ours"
    assert limits(volume) == {}
    assert "exclusive-lock" in raw.features("volumes", name(volume))
    client.delete(volume["id"])


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


@BOTH
def test_a_volume_of_an_image_in_a_container(client, raw, backend, glance, tmp_path):
    disk, container = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    disk.write_bytes(DATA)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, container], check=True
    )
    image = glance.client.add(container.read_bytes(), disk_format="qcow2")
    volume = client.create(1, imageRef=image, volume_type=backend)
    assert parent(raw, volume) is None
    assert begins(raw, volume) == DATA
    assert raw.size("volumes", name(volume)) == GiB
    client.delete(volume["id"])
    glance.client.delete(image)


@BOTH
@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
def test_an_image_of_a_volume(client, raw, backend, volume, glance, tmp_path, disk_format):
    image = client.upload(volume["id"], disk_format)
    assert glance.client.show(image)["status"] == "active"
    path = tmp_path / "image"
    path.write_bytes(glance.client.download(image))
    if disk_format == "qcow2":
        disk = tmp_path / "disk"
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, disk], check=True)
        path = disk
    assert path.stat().st_size == GiB
    with path.open("rb") as file:
        assert file.read(len(DATA)) == DATA
        assert not any(file.read(MiB))
    assert raw.snaps("volumes", name(volume)) == []
    glance.client.delete(image)
    client.delete(volume["id"])


# Elsewhere


def test_a_volume_moves_to_another_pool_and_back(client, raw):
    client.create_type("either", "<or> ours <or> other")
    volume = filled(client, raw, "ours")
    client.retype(volume["id"], "either")
    for there, pool, empty in (("other", "vms", "volumes"), ("ours", "volumes", "vms")):
        moved = client.migrate(volume["id"], cinder_service.host(there))
        assert moved["os-vol-host-attr:host"] == cinder_service.host(there)
        assert raw.images(pool) == [name(volume)]
        assert raw.images(empty) == []
        assert begins(raw, volume, pool) == DATA
    client.delete(volume["id"])


@pytest.mark.parametrize("backend", ["ours"])
def test_a_type_in_another_pool(client, raw, volume):
    client.retype(volume["id"], "other", "on-demand")
    assert begins(raw, volume, "vms") == DATA
    assert raw.images("volumes") == []
    client.delete(volume["id"])


def test_both_drivers_on_one_pool_with_the_stock_one_s_volumes_given_away(client, raw):
    """As while one host after the other is changed. What moves is only who has the volume."""
    volume = filled(client, raw, "stock")
    image_id = number(raw, volume)
    snapshot = client.create_snapshot(volume["id"])
    theirs = client.create(1, source_volid=volume["id"])
    client.delete_snapshot(snapshot["id"])
    found = client.retype(volume["id"], "ours", "on-demand")
    assert found["os-vol-host-attr:host"] == cinder_service.host("ours")
    assert number(raw, volume) == image_id
    ours = client.create(1, source_volid=volume["id"])
    client.retype(ours["id"], "stock", "on-demand")
    assert begins(raw, ours) == begins(raw, theirs) == DATA
    # Each deletes what the other one has made, parents first.
    for made in (volume, theirs, ours):
        client.delete(made["id"])


@BOTH
def test_what_is_there_is_taken_over(client, raw, backend):
    raw.create("volumes", "theirs", 3 * GiB // 2)
    raw.write("volumes", "theirs", DATA)
    raw.snap("volumes", "theirs", "before", protect=False)
    host = cinder_service.host(backend)
    found = client.manageable(host)["theirs"]
    assert (found["size"], found["safe_to_manage"]) == (2, True)
    volume = client.manage(host, "theirs", volume_type=backend)
    assert volume["size"] == 2
    assert begins(raw, volume) == DATA
    assert client.manageable(host)[name(volume)]["reason_not_safe"] == "already managed"
    assert client.manageable(host, "snapshots")["before"]["safe_to_manage"]
    snapshot = client.manage_snapshot(volume["id"], "before")
    clone = client.create(2, snapshot_id=snapshot["id"])
    assert begins(raw, clone) == DATA
    client.delete(clone["id"])
    client.delete_snapshot(snapshot["id"])
    client.unmanage(volume["id"])
    again = client.manage(host, name(volume), volume_type=backend)
    assert begins(raw, again) == DATA
    client.delete(again["id"])


# Backups


@pytest.fixture
def with_stock_backups(make_cinder, ceph):
    """A Cinder that is Cinder's own throughout."""
    backends = {"stock": cinder_service.options(ceph, cinder_service.STOCK)}
    service = make_cinder(backends, backup_driver=cinder_service.STOCK_BACKUP)
    yield service.client
    service.stop()


def back_up_and_restore(client, raw, backend):
    volume = filled(client, raw, backend)
    full = client.create_backup(volume["id"])
    raw.write("volumes", name(volume), b"later")
    # In use: an instance need not be stopped for it.
    attachment = client.attach(volume["id"])
    incremental = client.create_backup(volume["id"], incremental=True)
    client.detach(attachment["id"])
    target = client.create(1, volume_type=backend)
    client.restore(incremental["id"], target["id"])
    assert begins(raw, target) == b"later" + DATA[5:]
    # In place, which is what it was.
    client.restore(full["id"], volume["id"])
    assert begins(raw, volume) == DATA
    for backup in (incremental, full):
        client.delete_backup(backup["id"])
    for made in (volume, target):
        client.delete(made["id"])
    assert raw.images("backups") == []


@BOTH
def test_backups(client, raw, backend):
    """Of volumes that either volume driver serves."""
    back_up_and_restore(client, raw, backend)


def test_backups_by_the_stock_driver(with_stock_backups, raw, nothing_left):
    back_up_and_restore(with_stock_backups, raw, "stock")


@pytest.mark.parametrize("backend", ["ours"])
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
