# SPDX-License-Identifier: Apache-2.0
"""What is asked of a volume's type and host: limits, another pool, another driver, an owner."""

import cinder_service
from oslo_utils import units
from volume_data import BOTH, DATA, OURS, begins, filled, name

GiB = units.Gi


def number(raw, volume):
    with raw.open("volumes", name(volume), read_only=True) as image:
        return image.id()


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


@OURS
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
