# SPDX-License-Identifier: Apache-2.0
"""The rbd driver's options: what needs no cluster is checked when a section is opened."""

import subprocess
import sys

import pytest

from rbdstore import exceptions
from rbdstore.drivers.rbd import driver, options


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "ceph.conf"
    path.write_text("[global]\nmon host = 127.0.0.1:1\n")
    return str(path)


def read(conf, **values):
    return options.read({"section": "fast", "rbd_ceph_conf": conf, **values})


def test_defaults(conf):
    found = options.read({"rbd_ceph_conf": conf})
    assert found.client == options.ClientSettings(
        conf=conf,
        user="admin",
        cluster_name="ceph",
        clone_format="2",
        connect_timeout=30,
        operation_timeout=300,
        connection_retries=3,
        connection_interval=5,
    )
    assert (found.features, found.order, found.data_pool) == (None, None, None)
    assert found.secret_uuid is None


def test_values_as_text(conf):
    found = read(
        conf,
        rados_connect_timeout="7",
        rbd_features="layering,exclusive-lock",
        rbd_store_chunk_size="8",
        rbd_data_pool="ec",
        rbd_user="cinder",
    )
    assert found.client.connect_timeout == 7
    assert found.client.user == "cinder"
    assert found.features == 1 | 4
    assert found.order == 23
    assert found.data_pool == "ec"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rbd_features": ["layering", "fast"]}, "'fast' is none of the features"),
        ({"rbd_features": ["layering", "data-pool"]}, "'data-pool' is none of the features"),
        ({"rbd_features": ["layering", "object-map"]}, "object-map needs exclusive-lock"),
        ({"rbd_features": ["exclusive-lock"]}, "layering"),
        ({"rbd_clone_format": "3"}, "rbd_clone_format"),
        ({"rados_connect_timeout": -2}, "rados_connect_timeout"),
        ({"rados_connect_timeout": "soon"}, "rados_connect_timeout"),
        ({"rados_connection_retries": 0}, "rados_connection_retries"),
        ({"rbd_operation_timeout": -1}, "rbd_operation_timeout"),
        ({"rbd_store_chunk_size": 3}, "rbd_store_chunk_size"),
        ({"rbd_store_chunk_size": 64}, "rbd_store_chunk_size"),
        ({"rbd_store_chunk_size": "big"}, "rbd_store_chunk_size"),
    ],
)
def test_a_wrong_value_names_section_and_option(conf, values, text):
    with pytest.raises(exceptions.ConfigError) as caught:
        read(conf, **values)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"[fast] {next(iter(values))}: ")


def test_a_missing_ceph_conf():
    with pytest.raises(exceptions.ConfigError) as caught:
        read("/nowhere/ceph.conf")
    assert str(caught.value).startswith("[fast] rbd_ceph_conf: there is no /nowhere/ceph.conf")


def test_the_places_where_ceph_looks(monkeypatch, tmp_path, conf):
    monkeypatch.delenv("CEPH_CONF", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(exceptions.ConfigError, match=r"/etc/ceph/none-such\.conf") as caught:
        read("", rbd_cluster_name="none-such")
    assert f"{tmp_path}/.ceph/none-such.conf" in str(caught.value)
    (tmp_path / ".ceph").mkdir()
    (tmp_path / ".ceph" / "none-such.conf").write_text("")
    found = read("", rbd_cluster_name="none-such")
    assert found.client.conf == f"{tmp_path}/.ceph/none-such.conf"
    monkeypatch.setenv("CEPH_CONF", conf)
    assert read("", rbd_cluster_name="none-such").client.conf == conf


def test_a_folder_is_no_ceph_conf(tmp_path):
    with pytest.raises(exceptions.ConfigError, match="cannot be read"):
        read(str(tmp_path))


def test_names_of_features():
    assert options.feature_names(0b111101) == {
        "layering",
        "exclusive-lock",
        "object-map",
        "fast-diff",
        "deep-flatten",
    }


def test_every_option_has_a_help_text_and_a_plain_default():
    assert driver.RbdDriver.OPTIONS is options.OPTIONS
    for option in options.OPTIONS:
        assert len(option.help) > 20, option.name


def test_other_services_names():
    aliases = {opt.name: {old.name for old in opt.deprecated_opts} for opt in options.OPTIONS}
    assert aliases["rbd_user"] == {"rbd_store_user", "backup_ceph_user"}
    assert aliases["rbd_ceph_conf"] == {
        "rbd_store_ceph_conf",
        "images_rbd_ceph_conf",
        "backup_ceph_conf",
    }
    assert aliases["rados_connect_timeout"] == {"rbd_connect_timeout"}


@pytest.mark.parametrize("missing", ["rados", "rbd"])
def test_without_the_bindings_the_packages_are_named(missing, conf):
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from rbdstore import exceptions\n"
        "from rbdstore.drivers.rbd.driver import RbdDriver\n"
        "try:\n"
        f"    RbdDriver().open({{'rbd_ceph_conf': {conf!r}}})\n"
        "except exceptions.ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "python3-rados and python3-rbd" in done.stdout, done.stderr
