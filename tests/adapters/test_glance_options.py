# SPDX-License-Identifier: Apache-2.0
"""The sections that Glance's images are configured by, and what is wrong with some."""

import glance_place
import glance_store
import pytest
import samples
from glance_place import add, delete
from glance_store._drivers import rbd as stock
from oslo_config import cfg

from rbdstore.adapters import glance

MiB = samples.MiB


def test_the_stock_drivers_options_are_the_very_same():
    ours = {opt.dest: opt for opt in glance.Store.OPTIONS}
    assert len(ours) == len(glance.Store.OPTIONS)
    for opt in stock.Store.OPTIONS:
        assert ours[opt.dest] is opt


def test_all_stores_can_be_registered_in_one_section():
    conf = cfg.ConfigOpts()
    conf([])
    glance_store.register_opts(conf)
    assert conf.glance_store.rbd_store_pool == "images"
    assert conf.glance_store.rbdstore_driver == "rbd"


def test_no_option_must_be_set():
    """Otherwise Glance would not start for one of a driver that it does not use."""
    assert [opt.dest for opt in glance.Store.OPTIONS if opt.required] == []


def test_options_of_this_library_hold(place, tmp_path):
    sections = {
        "ceph": glance_place.options(place, rbd_transfer_window=8),
        "backend_defaults": {"rbd_transfer_threads": 0, "rbd_transfer_window": 16},
    }
    with glance_place.configured(tmp_path, sections):
        settings = glance_store.get_store_from_store_identifier("ceph")._store._settings
        assert (settings.transfer_window, settings.transfer_threads) == (8 * MiB, 0)


@pytest.mark.parametrize(("told", "used"), [(1, 1), (8, 8), (10, 8), (31, 16), (32, 32)])
def test_chunk_sizes(place, tmp_path, told, used):
    """One that is no power of two is rounded down, as by the stock driver."""
    options = glance_place.options(place, rbd_store_chunk_size=told)
    with glance_place.configured(tmp_path, {"ceph": options}):
        settings = glance_store.get_store_from_store_identifier("ceph")._store._settings
        assert settings.chunk_size == used * MiB
        uri, *_ = add()
        with place.raw() as raw:
            assert raw.object_size("images", "image-1") == used * MiB
        delete(uri)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("rbd_store_pool", "nowhere", "nowhere"),
        ("rbdstore_driver", "unknown", "'unknown'"),
        ("rbd_store_chunk_size", 64, "rbd_store_chunk_size"),
    ],
)
def test_a_wrong_section(place, tmp_path, caplog, option, value, words):
    """Uploads are refused then; why is in the log."""
    options = glance_place.options(place) | {option: value}
    with glance_place.configured(tmp_path, {"ceph": options}):
        assert words in caplog.text
        with pytest.raises(glance_store.StoreAddDisabled):
            add()
        store = glance_store.get_store_from_store_identifier("ceph")
        with pytest.raises(glance_store.BadStoreConfiguration):
            store.configure(re_raise_bsc=True)


@pytest.mark.parametrize("others", [0, 1])
def test_nobody_answers(place, tmp_path, others):
    """As with the stock driver, other stores can do without it, and alone it fails."""
    conf = tmp_path / "ceph.conf"
    conf.write_text("[global]\nmon host = v2:127.0.0.1:1\nauth client required = none\n")
    section = {
        "rbd_store_ceph_conf": conf,
        "rados_connect_timeout": 1,
        "rados_connection_retries": 1,
    }
    more = {f"other-{n}": glance_place.options(place) for n in range(others)}
    told = glance_store.StoreAddDisabled if others else glance_store.BackendException
    with pytest.raises(told), glance_place.configured(tmp_path, {"ceph": section, **more}):
        add()
