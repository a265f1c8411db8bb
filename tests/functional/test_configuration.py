# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in setting up: each text names the section, the option, and what to do."""

import base64
import os
import pathlib
import subprocess
import sys

import pytest
import rados

import rbdstore
from rbdstore import exceptions

MiB = 1 << 20

LOAD = """\
import sys
sys.path.insert(0, sys.argv[2])
for name in sys.argv[3:]:
    sys.modules[name] = None
import rbdstore
from rbdstore import exceptions
try:
    rbdstore.load(sys.argv[1]).volumes
except exceptions.ConfigError as error:
    print(error)
"""


@pytest.fixture
def configured(sandbox, tmp_path):
    """Write a configuration of one backend, its options those given, and return its path."""

    def write(driver="rbd", **options):
        values = {
            "rbd_ceph_conf": sandbox.conf_path,
            "rbd_user": "cinder",
            "rbd_pool": "volumes",
            **options,
        }
        path = tmp_path / "rbdstore.conf"
        lines = ["[rbdstore]", f"enabled_backends = fast:{driver}", "[fast]"]
        path.write_text("\n".join([*lines, *(f"{k} = {v}" for k, v in values.items())]) + "\n")
        return path

    return write


@pytest.fixture
def altered(sandbox, tmp_path):
    """Write a ceph.conf like the sandbox's with another keyring, and return its path."""

    def write(keyring):
        keys = tmp_path / "keyring"
        keys.write_text(keyring)
        conf = tmp_path / "ceph.conf"
        text = pathlib.Path(sandbox.conf_path).read_text()
        lines = [line for line in text.splitlines() if not line.startswith("keyring")]
        first = lines.index("[global]")
        lines.insert(first + 1, f"keyring = {keys}")
        conf.write_text("\n".join(lines) + "\n")
        return conf

    return write


def fails(kind, path, *parts):
    """See that the store says all of ``parts`` when it is loaded, or at the first use."""
    with pytest.raises(kind) as caught, rbdstore.load(path) as store:
        store.volumes.list()
    for part in ("[fast]", *parts):
        assert part in str(caught.value)


def test_a_right_one(configured):
    path = configured(rbd_store_chunk_size=1)
    with rbdstore.load(path) as store:
        store.volumes.create("volume-1", MiB)
        assert [volume.name for volume in store.volumes.list()] == ["volume-1"]
        store.volumes.delete("volume-1")


def test_a_section_of_cinder(configured):
    path = configured(
        volume_driver="cinder.volume.drivers.rbd.RBDDriver",
        volume_backend_name="fast",
        rbd_secret_uuid="457eb676-33da-42ec-9a8c-9293d545c337",
        rados_connect_timeout=-1,
        rbd_max_clone_depth=5,
        rbd_flatten_volume_from_snapshot="False",
        rbd_store_chunk_size=4,
    )
    with rbdstore.load(path, "fast") as store:
        assert list(store.volumes.list()) == []


def test_a_section_of_glance(sandbox, tmp_path):
    path = tmp_path / "rbdstore.conf"
    path.write_text(
        "[rbdstore]\nenabled_backends = fast:rbd\n"
        "[fast]\nrbd_store_pool = images\nrbd_store_user = glance\nrbd_store_chunk_size = 8\n"
        f"rbd_store_ceph_conf = {sandbox.conf_path}\nrbd_thin_provisioning = true\n"
    )
    with rbdstore.load(path) as store:
        image = store.images.add("image-1", b"data")
        assert b"".join(store.images.get(image.uri)) == b"data"
        store.images.delete(image.uri)


def test_a_ceph_conf_that_is_not_there(configured, tmp_path):
    missing = tmp_path / "nowhere" / "ceph.conf"
    path = configured(rbd_ceph_conf=missing)
    fails(
        exceptions.ConfigError, path, "rbd_ceph_conf", str(missing), "copy the cluster's ceph.co"
    )


def test_a_ceph_conf_that_cannot_be_read(configured, tmp_path):
    # Root may read every file, but nobody a folder.
    path = configured(rbd_ceph_conf=tmp_path)
    fails(
        exceptions.ConfigError, path, "rbd_ceph_conf", str(tmp_path), "cannot be read by user id"
    )


def test_a_ceph_conf_without_monitors(configured, tmp_path):
    empty = tmp_path / "ceph.conf"
    empty.write_text("[global]\n")
    path = configured(rbd_ceph_conf=empty)
    fails(exceptions.ConfigError, path, "rbd_ceph_conf", str(empty), "it wants a line `mon host`")


def test_a_wrong_key(configured, altered):
    key = base64.b64encode(bytes.fromhex("0100" + "00" * 8 + "1000" + "11" * 16)).decode()
    conf = altered(f"[client.cinder]\n\tkey = {key}\n")
    path = configured(rbd_ceph_conf=conf)
    fails(exceptions.Unreachable, path, "rbd_user", "compare it", "`ceph auth get client.cinder`")


def test_no_key(configured, altered):
    conf = altered("[client.other]\n\tkey = AQ==\n")
    path = configured(rbd_ceph_conf=conf)
    fails(
        exceptions.ConfigError, path, "rbd_user", "no key of client.cinder", "write what `ceph a"
    )


def test_a_user_that_does_not_exist(configured):
    path = configured(rbd_user="nobody")
    fails(exceptions.ConfigError, path, "rbd_user", "no key of client.nobody", "`ceph auth get")


def test_a_pool_that_is_not_there(configured):
    path = configured(rbd_pool="nowhere")
    fails(
        exceptions.PoolNotFound,
        path,
        "rbd_pool",
        "'nowhere'",
        "images",
        "volumes",
        "`rbd pool init nowhere`",
    )


def test_a_namespace_that_is_not_there(configured):
    path = configured(rbd_namespace="nowhere")
    fails(exceptions.PoolNotFound, path, "rbd_namespace", "`rbd namespace create volumes/nowhere`")


def test_a_user_without_rights_in_the_pool(configured):
    path = configured(rbd_pool="vms")
    with rbdstore.load(path) as store, pytest.raises(exceptions.PermissionDenied) as caught:
        store.volumes.create("volume-1", MiB)
    assert "ceph auth caps client.cinder" in str(caught.value)
    assert "profile rbd pool=vms" in str(caught.value)


def test_a_driver_that_is_not_there(configured):
    path = configured(driver="rdb")
    with pytest.raises(exceptions.ConfigError) as caught:
        rbdstore.load(path)
    text = str(caught.value)
    assert text.startswith("[rbdstore] enabled_backends = fast:rdb: ")
    assert "'rdb'" in text
    assert "one of those installed: " in text
    assert "rbd" in text.rpartition("installed: ")[2].split(", ")


@pytest.mark.parametrize("module", ["rados", "rbd"])
def test_a_module_that_is_not_there(configured, module):
    root = pathlib.Path(rbdstore.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, configured(), root, module],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[rbdstore] enabled_backends = fast:rbd: ")
    assert f"needs Python's {module} module" in done.stdout
    assert f"python3-{module}" in done.stdout


def test_a_wrong_value_is_told_before_anything_is_asked(configured):
    path = configured(rbd_store_chunk_size=6, rbd_ceph_conf=os.devnull)
    fails(exceptions.ConfigError, path, "[fast] rbd_store_chunk_size: 6", "a power of two")


def test_connecting_without_a_file_names_the_option(sandbox):
    values = {"rbd_ceph_conf": sandbox.conf_path, "rbd_user": "cinder", "rbd_pool": "nowhere"}
    with rbdstore.connect("rbd", **values) as store, pytest.raises(exceptions.PoolNotFound) as no:
        _ = store.volumes
    assert "option rbd_pool" in str(no.value)


def test_a_pool_that_was_made_meanwhile(sandbox, configured):
    path = configured(rbd_user="admin", rbd_pool="late")
    with rbdstore.load(path) as store:
        with pytest.raises(exceptions.PoolNotFound):
            _ = store.volumes
        with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
            client.create_pool("late")
            try:
                assert list(store.volumes.list()) == []
            finally:
                client.delete_pool("late")
