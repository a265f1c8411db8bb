# SPDX-License-Identifier: Apache-2.0
"""Wrong drivers, configurations and options (:mod:`wrong`): refused, and nothing is made."""

import pytest
import wrong

import rbdstore
from rbdstore import exceptions, opts, spec
from rbdstore.drivers.rbd import options as rbd_options

FILE = """\
[rbdstore]
enabled_backends = fast:file

[fast]
file_store_datadir = {datadir}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to be in, in which nothing may be made."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    yield tmp_path
    assert list(inside.iterdir()) == []


def refused(table, call):
    found = wrong.faults(table, call)
    assert not found, "\n".join(found)


def test_every_entry_of_every_table_has_a_name_of_its_own():
    tables = {name: getattr(wrong, name) for name in wrong.__all__ if name.isupper()}
    assert len(tables) > 20
    for name, table in tables.items():
        ids = [entry.id for entry in table]
        assert sorted(ids) == sorted(set(ids)), name


def test_what_is_taken_is_found():
    (taken,) = wrong.faults(wrong.NO_SIZE, lambda value: value)
    assert taken == "none: taken, giving None"
    (other,) = wrong.faults(wrong.NO_SIZE, len)
    assert other.startswith("none: TypeError, not InvalidSize: ")
    (silent,) = wrong.faults(wrong.NO_SIZE, lambda value: spec.check_name(value))
    assert silent.startswith("none: InvalidName, not InvalidSize: ")


def test_drivers():
    refused(wrong.DRIVERS, rbdstore.connect)


def test_options_of_every_driver(folder):
    datadir = folder / "data"
    refused(
        wrong.OPTIONS,
        lambda options: rbdstore.connect(
            "file", file_store_datadir=datadir, **{"rbd_pool": "images", **options}
        ),
    )
    assert not datadir.exists()


def test_options_of_the_embedded_driver(folder):
    datadir = folder / "data"
    refused(
        wrong.FILE_OPTIONS,
        lambda options: rbdstore.connect("file", **{"file_store_datadir": datadir, **options}),
    )
    assert not datadir.exists()


def test_options_of_ceph(folder):
    """As the driver reads them before it needs the bindings."""
    (folder / "ceph.conf").write_text("[global]\nmon host = 127.0.0.1:1\n")
    right = {"rbd_ceph_conf": str(folder / "ceph.conf")}
    options = (*opts.COMMON, *rbd_options.OPTIONS)
    refused(wrong.RBD_OPTIONS, lambda wrong: rbd_options.read(opts.check(right | wrong, options)))


def test_options_in_a_file(folder):
    datadir = folder / "data"
    path = folder / "rbdstore.conf"

    def load(options):
        ((name, value),) = options.items()
        path.write_text(FILE.format(datadir=datadir) + f"{name} = {value}\n")
        return rbdstore.load(path)

    # What is no option is ignored there, and other names count less.
    table = [
        entry
        for entry in wrong.OPTIONS
        for value in entry.value.values()
        if entry.says.endswith(": ") and isinstance(value, str) and spec.is_plain(value)
    ]
    assert table
    refused(table, load)
    assert not datadir.exists()


def test_configurations():
    refused(wrong.CONFIGURATIONS, rbdstore.load)


def test_a_file_that_is_not_in_utf_8(folder):
    path = folder / "rbdstore.conf"
    path.write_bytes(FILE.format(datadir=folder / "data").encode() + b"rbd_pool = \xff\xfe\n")
    with pytest.raises(exceptions.ConfigError, match=f"{path}: .*name a file"):
        rbdstore.load(path)


def test_backends(folder):
    path = folder / "rbdstore.conf"
    path.write_text(FILE.format(datadir=folder / "data"))
    refused(wrong.BACKENDS, lambda backend: rbdstore.load(path, backend))
    assert not (folder / "data").exists()


def test_paths_of_other_types(folder):
    path = folder / "rbdstore.conf"
    path.write_text(FILE.format(datadir=folder / "data"))
    for each in (path, str(path), wrong.Text(path)):
        with rbdstore.load(each, wrong.Text("fast")) as store:
            assert list(store.volumes.list()) == []
    with rbdstore.connect(wrong.Text("file"), file_store_datadir=folder / "data") as store:
        assert list(store.images.list()) == []
