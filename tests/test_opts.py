# SPDX-License-Identifier: Apache-2.0
"""Options: what operators may write, under which names, and what becomes of it."""

import contextlib
import io
from pathlib import Path

import pytest
from oslo_config import cfg, generator
from oslo_utils import units

from rbdstore import exceptions, opts, settings
from rbdstore.drivers.rbd.driver import RbdDriver

ROOT = Path(__file__).parent.parent
OPTIONS = (*opts.COMMON, *RbdDriver.OPTIONS)

CINDER = """\
[DEFAULT]
enabled_backends = ceph
transport_url = rabbit://openstack:secret@controller

[ceph]
volume_driver = cinder.volume.drivers.rbd.RBDDriver
volume_backend_name = ceph
rbd_pool = volumes
rbd_ceph_conf = /etc/ceph/ceph.conf
rbd_cluster_name = ceph
rbd_flatten_volume_from_snapshot = true
rbd_max_clone_depth = 3
rbd_store_chunk_size = 4
rados_connect_timeout = -1
rados_connection_retries = 2
rados_connection_interval = 7
rbd_concurrent_flatten_operations = 2
rbd_user = cinder
rbd_secret_uuid = 457eb676-33da-42ec-9a8c-9293d545c337
rbd_exclusive_cinder_pool = true
report_dynamic_total_capacity = true
enable_deferred_deletion = false
"""

GLANCE = """\
[DEFAULT]
enabled_backends = ceph:rbd, http:http

[glance_store]
default_backend = ceph

[ceph]
store_description = images
rbd_store_pool = images
rbd_store_user = glance
rbd_store_ceph_conf = /etc/ceph/glance.conf
rbd_store_chunk_size = 16
rbd_thin_provisioning = true
rados_connect_timeout = 5
"""

NOVA = """\
[libvirt]
virt_type = kvm
images_type = rbd
images_rbd_pool = vms
images_rbd_ceph_conf = /etc/ceph/nova.conf
rbd_user = nova
rbd_connect_timeout = 9
rbd_secret_uuid = 457eb676-33da-42ec-9a8c-9293d545c337
"""

BACKUP = """\
[DEFAULT]
backup_driver = cinder.backup.drivers.ceph.CephBackupDriver
backup_ceph_pool = kept
"""


def parsed(text, tmp_path):
    path = tmp_path / "service.conf"
    path.write_text(text)
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(path)], default_config_dirs=[])
    return conf


def read(text, tmp_path, section):
    return opts.read(parsed(text, tmp_path), section, OPTIONS)


def test_defaults_are_those_of_the_settings():
    assert opts.settings_from(opts.check({}, opts.COMMON)) == settings.Settings()


def test_settings_are_in_bytes_and_seconds():
    values = {
        "rbd_pool": "volumes",
        "rbd_namespace": "tenant",
        "rbd_store_chunk_size": "16",
        "rbd_max_clone_depth": "0",
        "rbd_flatten_volume_from_snapshot": "yes",
        "rbd_flatten_target": "destination",
        "rbd_flatten_mode": "task",
        "rbd_concurrent_flatten_operations": "7",
        "rbd_clone_gather_time": "0.5",
        "rbd_max_snapshots_on_image": "100",
        "enable_deferred_deletion": "true",
        "deferred_deletion_delay": "3600",
        "deferred_deletion_purge_interval": "5",
        "rbd_lease_seconds": "12",
        "rbd_transfer_window": "64",
        "rbd_transfer_threads": "1",
    }
    assert opts.settings_from(opts.check(values, opts.COMMON)) == settings.Settings(
        pool="volumes",
        namespace="tenant",
        chunk_size=16 * units.Mi,
        max_clone_depth=0,
        flatten_volume_from_snapshot=True,
        flatten_target="destination",
        flatten_mode="task",
        concurrent_flatten_operations=7,
        clone_gather_time=0.5,
        max_snapshots_on_image=100,
        enable_deferred_deletion=True,
        deferred_deletion_delay=3600,
        deferred_deletion_purge_interval=5,
        lease_seconds=12,
        transfer_window=64 * units.Mi,
        transfer_threads=1,
    )


def test_a_section_of_cinder_works_unchanged(tmp_path):
    values = read(CINDER, tmp_path, "ceph")
    found = opts.settings_from(values)
    assert (found.pool, found.chunk_size, found.max_clone_depth) == ("volumes", 4 * units.Mi, 3)
    assert found.flatten_volume_from_snapshot
    assert found.concurrent_flatten_operations == 2
    assert values["rbd_user"] == "cinder"
    assert values["rbd_ceph_conf"] == "/etc/ceph/ceph.conf"
    assert values["rados_connect_timeout"] == -1
    assert values["rados_connection_retries"] == 2
    assert values["rados_connection_interval"] == 7


def test_a_section_of_glance_works_unchanged(tmp_path):
    values = read(GLANCE, tmp_path, "ceph")
    found = opts.settings_from(values)
    assert (found.pool, found.chunk_size) == ("images", 16 * units.Mi)
    assert values["rbd_user"] == "glance"
    assert values["rbd_ceph_conf"] == "/etc/ceph/glance.conf"
    assert values["rados_connect_timeout"] == 5


def test_the_section_of_nova_works_unchanged(tmp_path):
    values = read(NOVA, tmp_path, "libvirt")
    assert values["rbd_pool"] == "vms"
    assert values["rbd_user"] == "nova"
    assert values["rbd_ceph_conf"] == "/etc/ceph/nova.conf"
    assert values["rados_connect_timeout"] == 9


def test_the_pool_of_cinder_backup_is_known(tmp_path):
    text = BACKUP.replace("DEFAULT", "backups")
    assert read(text, tmp_path, "backups")["rbd_pool"] == "kept"


def test_an_unset_user_is_not_the_text_none(tmp_path):
    assert read("[ceph]\n", tmp_path, "ceph")["rbd_user"] is None


def test_the_name_of_ours_comes_before_the_other_services(tmp_path):
    text = "[ceph]\nrbd_store_pool = images\nrbd_pool = volumes\n"
    assert read(text, tmp_path, "ceph")["rbd_pool"] == "volumes"


@pytest.mark.parametrize(
    ("option", "value", "mend"),
    [
        ("rbd_store_chunk_size", "3", "a whole number from 1 to 32, a power of two"),
        ("rbd_store_chunk_size", "0", "a whole number from 1 to 32"),
        ("rbd_store_chunk_size", "64", "a whole number from 1 to 32"),
        ("rbd_store_chunk_size", "4M", "a whole number from 1 to 32"),
        ("rbd_max_clone_depth", "deep", "a whole number"),
        ("rbd_flatten_volume_from_snapshot", "perhaps", "true or false"),
        ("rbd_flatten_target", "both", "one of source, destination"),
        ("rbd_flatten_mode", "later", "one of inline, task"),
        ("rbd_concurrent_flatten_operations", "0", "a whole number from 1"),
        ("rbd_lease_seconds", "0", "a whole number from 1"),
        ("rbd_transfer_window", "0", "a whole number from 1"),
        ("rbd_transfer_threads", "3", "a whole number from 0 to 2"),
        ("rados_connect_timeout", "soon", "a whole number from -1"),
        ("rbd_clone_format", "3", "one of auto, 1, 2"),
        ("rbd_pool", "$nowhere", "text"),
    ],
)
def test_a_wrong_value_names_section_option_and_mend(tmp_path, option, value, mend):
    with pytest.raises(exceptions.ConfigError) as caught:
        read(f"[fast]\n{option} = {value}\n", tmp_path, "fast")
    assert str(caught.value).startswith(f"[fast] {option}: ")
    assert f"give {mend}" in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
def test_chunk_sizes_that_will_do(tmp_path, size):
    text = f"[fast]\nrbd_store_chunk_size = {size}\n"
    found = opts.settings_from(read(text, tmp_path, "fast"))
    assert 1 << found.object_order(0) == size * units.Mi


def test_an_empty_chunk_size_is_none(tmp_path):
    text = "[fast]\nrbd_store_chunk_size =\n"
    assert opts.settings_from(read(text, tmp_path, "fast")).chunk_size is None


def test_an_empty_number_is_the_default(tmp_path):
    found = opts.settings_from(read("[fast]\nrbd_lease_seconds =\n", tmp_path, "fast"))
    assert found.lease_seconds == 30
    assert opts.check({"rbd_lease_seconds": ""}, OPTIONS)["rbd_lease_seconds"] == 30


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", {}),
        ("fast:rbd", {"fast": "rbd"}),
        (" fast : rbd ,images:memory", {"fast": "rbd", "images": "memory"}),
        (["fast:rbd", "slow:rbd"], {"fast": "rbd", "slow": "rbd"}),
        ({"fast": "rbd"}, {"fast": "rbd"}),
    ],
)
def test_backends(value, found):
    assert opts.Backends()(value) == found


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("fast", "'fast' is not of the form name:driver"),
        ("fast,slow:rbd", "'fast' is not of the form name:driver"),
        ("fast:rbd,", "'' is not of the form name:driver"),
        (":rbd", "':rbd' is not of the form name:driver"),
        ("fast:", "'fast:' is not of the form name:driver"),
        ("fast:rbd:2", "'fast:rbd:2' is not of the form name:driver"),
        ("fast:rbd, fast:memory", "two backends called fast"),
        ("DEFAULT:rbd", "a backend cannot be called DEFAULT"),
        ("rbdstore:rbd", "a backend cannot be called rbdstore"),
    ],
)
def test_wrong_backends(value, reason):
    with pytest.raises(ValueError, match=reason):
        opts.Backends()(value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rbd_store_chunk_size", 3),
        ("rbd_store_chunk_size", 2.5),
        ("rbd_store_chunk_size", [4]),
        ("rbd_max_clone_depth", 2.5),
        ("rbd_max_clone_depth", True),
        ("rbd_lease_seconds", {}),
        ("rbd_pool", ["volumes"]),
        ("rbd_pool", b"volumes"),
        ("rbd_flatten_volume_from_snapshot", 7),
        ("rbd_features", 7),
    ],
)
def test_a_passed_value_of_a_wrong_type(option, value):
    with pytest.raises(exceptions.ConfigError, match=f"^{option}: .*; give "):
        opts.check({option: value}, OPTIONS)


def test_passed_values_may_be_text_or_what_they_mean():
    as_text = {
        "rbd_store_chunk_size": "8",
        "rbd_flatten_volume_from_snapshot": "on",
        "rbd_features": "layering,exclusive-lock",
        "rbd_ceph_conf": "/etc/ceph/ceph.conf",
        "rbd_clone_format": "1",
    }
    as_meant = {
        "rbd_store_chunk_size": 8,
        "rbd_flatten_volume_from_snapshot": True,
        "rbd_features": ["layering", "exclusive-lock"],
        "rbd_ceph_conf": Path("/etc/ceph/ceph.conf"),
        "rbd_clone_format": 1,
    }
    assert opts.check(as_text, OPTIONS) == opts.check(as_meant, OPTIONS)


def test_passed_values_may_have_the_other_services_names():
    assert opts.check({"rbd_store_pool": "images"}, OPTIONS)["rbd_pool"] == "images"


def test_an_option_passed_by_two_names():
    with pytest.raises(exceptions.ConfigError, match=r"^rbd_pool: given twice"):
        opts.check({"rbd_store_pool": "images", "rbd_pool": "images"}, OPTIONS)


def test_an_unknown_option_lists_the_known():
    with pytest.raises(exceptions.ConfigError, match=r"^rdb_pool: .*rbd_pool, rbd_store"):
        opts.check({"rdb_pool": "images"}, OPTIONS)


def test_a_required_option():
    needed = cfg.StrOpt("host", required=True, help="Where to connect to.")
    with pytest.raises(
        exceptions.ConfigError, match=r"^host: it must be set; Where to connect to"
    ):
        opts.check({}, [needed])


def test_a_secret_is_not_told(tmp_path):
    pin = cfg.IntOpt("pin", secret=True, help="A number.")
    with pytest.raises(exceptions.ConfigError) as caught:
        opts.read(parsed("[fast]\npin = hunter2\n", tmp_path), "fast", [pin])
    assert "hunter2" not in str(caught.value)


class TestOptionsOfAnotherLibrary:
    """In a section where somebody else has registered an option of the same name."""

    FOREIGN = cfg.IntOpt("rbd_max_clone_depth", default=99, help="Another one's.")

    def depth(self, text, tmp_path, **values):
        conf = parsed(text, tmp_path)
        conf.register_opt(self.FOREIGN, group="ceph")
        for name, value in values.items():
            conf.set_override(name, value, group="ceph")
        found = opts.read(conf, "ceph", OPTIONS)["rbd_max_clone_depth"]
        assert conf.ceph.rbd_max_clone_depth == values.get("rbd_max_clone_depth", conf_value(text))
        return found

    def test_a_value_in_the_file_counts(self, tmp_path):
        assert self.depth("[ceph]\nrbd_max_clone_depth = 3\n", tmp_path) == 3

    def test_a_value_set_in_the_process_counts(self, tmp_path):
        assert self.depth("[ceph]\n", tmp_path, rbd_max_clone_depth=2) == 2

    def test_its_default_does_not(self, tmp_path):
        assert self.depth("[ceph]\n", tmp_path) == 5


def conf_value(text):
    return int(text.rpartition("= ")[2]) if "=" in text else 99


def test_every_option_has_help_for_operators():
    for opt in (*opts.BACKENDS, *OPTIONS):
        assert opt.help, opt.dest
        assert opt.help.endswith("."), opt.dest


def test_the_sample_is_current(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    made = tmp_path / "rbdstore.conf.sample"
    with contextlib.redirect_stdout(io.StringIO()):
        generator.main(
            [
                "--config-file=etc/rbdstore-config-generator.conf",
                f"--output-file={made}",
            ]
        )
    committed = (ROOT / "etc/rbdstore.conf.sample").read_text()
    assert made.read_text() == committed, "run: tox -e genconfig"
