# SPDX-License-Identifier: Apache-2.0
"""Cinder's volumes and Glance's images become each other, through HTTP, where bytes are copied."""

import hashlib
import subprocess

import cinder_client
import pytest
import samples
from oslo_utils import units
from volume_data import BOTH, DATA, OURS, begins, name, parent

GiB, MiB = units.Gi, units.Mi


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


@OURS
def test_a_volume_is_filled_anew(client, raw, volume, glance):
    """One with snapshots, which would go on being of what it was, is refused."""
    other = samples.pattern("anew", MiB)
    image = glance.client.add(other)
    client.reimage(volume["id"], image)
    assert begins(raw, volume) == other + bytes(len(DATA) - MiB)
    snapshot = client.create_snapshot(volume["id"])
    with pytest.raises(cinder_client.Failed, match="error"):
        client.reimage(volume["id"], image)
    assert begins(raw, volume) == other + bytes(len(DATA) - MiB)
    client.act(volume["id"], "os-reset_status", status="available")
    client.delete_snapshot(snapshot["id"])
    client.delete(volume["id"])
    glance.client.delete(image)


@BOTH
def test_a_raw_image_of_a_volume(client, raw, backend, volume, glance):
    image = client.upload(volume["id"])
    shown = glance.client.show(image)
    assert (shown["status"], shown["size"]) == ("active", GiB)
    # Of what was sent; it is not all fetched back, for it is large.
    assert shown["os_hash_value"] == hashlib.sha512(DATA + bytes(GiB - len(DATA))).hexdigest()
    end = len(DATA) + MiB
    begin = glance.client.download_range(image, f"bytes=0-{end - 1}").content
    assert begin == DATA + bytes(MiB)
    assert raw.snaps("volumes", name(volume)) == []
    glance.client.delete(image)
    client.delete(volume["id"])


@BOTH
def test_a_qcow2_image_of_a_volume(client, raw, backend, volume, glance, tmp_path):
    image = client.upload(volume["id"], "qcow2")
    assert glance.client.show(image)["status"] == "active"
    container, disk = tmp_path / "image.qcow2", tmp_path / "disk"
    container.write_bytes(glance.client.download(image))
    subprocess.run(
        ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", container, disk], check=True
    )
    assert disk.stat().st_size == GiB
    with disk.open("rb") as file:
        assert file.read(len(DATA)) == DATA
        assert not any(file.read(MiB))
    assert raw.snaps("volumes", name(volume)) == []
    glance.client.delete(image)
    client.delete(volume["id"])
