# SPDX-License-Identifier: Apache-2.0
"""How others open a volume: as they are told, QEMU does."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
import samples
import stores

from rbdstore import exceptions

MiB = samples.MiB
DATA = samples.pattern("volume", MiB)
SECRET = "457eb676-33da-42ec-9a8c-9293d545c337"


@pytest.fixture
def volume(raw):
    raw.create("volumes", "volume-1", data=DATA)
    yield "volume-1"
    raw.remove("volumes", "volume-1")


@pytest.fixture
def addresses(sandbox):
    """What the monitors themselves say: host and port, of both protocols."""
    (monitor,) = sandbox.ceph_json("mon", "dump")["mons"]
    return [each["addr"].rsplit(":", 1) for each in monitor["public_addrs"]["addrvec"]]


def test_cinders_dictionary(sandbox, volume, addresses):
    info = stores.volume_store(sandbox).connection_info(volume)
    assert info.cinder() == {
        "driver_volume_type": "rbd",
        "data": {
            "name": "volumes/volume-1",
            "hosts": [host for host, _port in addresses],
            "ports": [port for _host, port in addresses],
            "cluster_name": "ceph",
            "auth_enabled": True,
            "auth_username": "cinder",
            "secret_type": "ceph",
            "secret_uuid": sandbox.fsid,
            "volume_id": "1",
            "discard": True,
        },
    }
    assert info.cinder("an id")["data"]["volume_id"] == "an id"
    assert len(addresses) == 2
    assert {"layering", "exclusive-lock", "deep-flatten"} <= set(info.features)
    assert info.fsid == sandbox.fsid


def test_libvirts_element(sandbox, volume, addresses):
    volumes = stores.volume_store(sandbox, rbd_secret_uuid=SECRET)
    disk = ElementTree.fromstring(volumes.connection_info(volume).libvirt("vdb"))
    assert (disk.tag, disk.attrib) == ("disk", {"type": "network", "device": "disk"})
    assert disk.find("driver").attrib == {"name": "qemu", "type": "raw", "discard": "unmap"}
    assert disk.find("source").attrib == {"protocol": "rbd", "name": "volumes/volume-1"}
    hosts = [[host.get("name"), host.get("port")] for host in disk.findall("source/host")]
    assert hosts == addresses
    assert disk.find("auth").attrib == {"username": "cinder"}
    assert disk.find("auth/secret").attrib == {"type": "ceph", "uuid": SECRET}
    assert disk.find("target").attrib == {"dev": "vdb", "bus": "virtio"}


@pytest.mark.parametrize("protocol", ["both", "v1", "v2"])
def test_qemu_opens_it_as_it_is_told(sandbox, volume, protocol, tmp_path):
    """With no more of a ceph.conf than where the key is."""
    conf = tmp_path / "ceph.conf"
    conf.write_text(f"[global]\nkeyring = {sandbox.keyring_path}\n")
    info = stores.volume_store(sandbox).connection_info(volume)
    told = json.loads(info.blockdev("disk", conf=str(conf)))
    assert told.pop("node-name") == "disk"
    if protocol != "both":
        told["server"] = [told["server"][protocol == "v1"]]
    done = subprocess.run(
        ["qemu-io", "-r", f"json:{json.dumps(told)}", "-c", "read -v 0 512"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "read 512/512 bytes at offset 0" in done.stdout
    assert done.stdout.startswith(f"00000000:  {DATA[:16].hex(' ')}")


def test_there_is_no_key_in_any_of_them(sandbox, volume):
    info = stores.volume_store(sandbox).connection_info(volume)
    with open(sandbox.keyring_path) as keyring:
        keys = [line.split("=", 1)[1].strip() for line in keyring if "key =" in line]
    assert keys
    for text in (json.dumps(info.cinder()), info.blockdev(), info.libvirt(), repr(info)):
        assert not [key for key in keys if key in text]


def test_a_disk(sandbox, raw):
    raw.create("vms", "0f5f9e2e_disk", MiB)
    info = stores.store(sandbox, "nova", "vms").disks.connection_info("0f5f9e2e_disk")
    assert info.name == "vms/0f5f9e2e_disk"
    assert info.user == "nova"
    raw.remove("vms", "0f5f9e2e_disk")


def test_a_volume_that_is_not_there(sandbox):
    with pytest.raises(exceptions.ImageNotFound):
        stores.volume_store(sandbox).connection_info("volume-1")
