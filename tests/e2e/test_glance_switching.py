# SPDX-License-Identifier: Apache-2.0
"""To this library and back, as ``doc/source/operator/glance.rst`` says."""

import glance_service
import manual
import pytest
import requests
import samples
import stores

from rbdstore.testing import recipe

MiB = samples.MiB
DATA = samples.pattern("old", 20 * MiB + 7)
PAGE = manual.Page("glance")


@pytest.fixture
def volumes(ceph):
    return stores.volume_store(ceph)


def test_the_manual_is_about_what_is_tested(ceph):
    """The section that it shows, and one word that changes."""
    before, *changes = PAGE.configurations()
    drivers = [f"ceph:{name}" for name in ("rbd", "rbdstore", "rbd")]
    told = [each["DEFAULT"]["enabled_backends"] for each in (before, *changes)]
    assert told == drivers
    assert [[*each["DEFAULT"]] for each in changes] == [["enabled_backends"]] * 2
    shown, used = dict(before["ceph"]), glance_service.options(ceph)
    assert shown.pop("rbd_store_ceph_conf") == "/etc/ceph/ceph.conf"
    assert shown == {name: str(used[name]) for name in shown}
    assert {*used} - {*shown} == {"rbd_store_ceph_conf"}


def test_from_the_stock_driver_and_back(own_glance, ceph, volumes, nothing_left):
    service = own_glance(glance_service.STOCK)
    client = service.client
    old, doomed = client.add(DATA, name="old"), client.add(b"doomed" * MiB)
    before = client.show(old)
    assert {"mon", "mgr", "osd"} <= {*PAGE.command("ceph auth caps")}
    PAGE.run("ceph auth caps", ceph)
    (glance,) = (role for role in recipe.ROLES if role.name == "glance")
    assert ceph.ceph_json("auth", "get", "client.glance")[0]["caps"] == glance.caps

    service.use(glance_service.RBDSTORE)
    assert client.show(old) == before
    assert client.download(old) == DATA
    assert client.download_range(old, "bytes=5-9").content == DATA[5:10]
    client.delete(doomed)
    volumes.clone("volume-1", before["direct_url"])
    with pytest.raises(requests.HTTPError, match="409"):
        client.delete(old)
    data = samples.pattern("new", 11 * MiB)
    new, next_one = client.add(data), client.add(samples.pieces(data))

    service.use(glance_service.STOCK)
    assert PAGE.run("rbdstore --driver rbd", ceph)
    assert client.download(old) == DATA
    assert client.download(new) == client.download(next_one) == data
    client.delete(next_one)
    last = client.add(data)

    service.use(glance_service.RBDSTORE)
    assert client.download(last) == data
    volumes.delete("volume-1")
    for image in (old, new, last):
        client.delete(image)
    assert client.list() == {}


def test_both_at_once(ceph, own_glance, nothing_left):
    """As while one host after the other is changed: two, with one database and one pool."""
    stock = own_glance(glance_service.STOCK)
    ours = own_glance(glance_service.RBDSTORE, beside=stock)
    services = (ours, stock)
    images = [each.client.add(DATA) for each in services]
    for each in services:
        assert set(each.client.list()) == set(images)
        assert [each.client.download(image) for image in images] == [DATA, DATA]
    # Each deletes the other's.
    for image, each in zip(images, reversed(services), strict=True):
        each.client.delete(image)
    assert ours.client.list() == stock.client.list() == {}


def test_both_in_one_service(own_glance, ceph, nothing_left):
    """Two stores of the one driver, in two pools, and one of the other."""
    vms = glance_service.options(ceph, rbd_store_pool="vms", rbd_store_user="nova")
    stock = glance_service.options(ceph)
    service = own_glance(
        glance_service.RBDSTORE,
        more={"vms": (glance_service.RBDSTORE, vms), "stock": (glance_service.STOCK, stock)},
    )
    client = service.client
    assert {store["id"] for store in client.stores()} == {"ceph", "vms", "stock"}
    pools = {"ceph": "images", "vms": "vms", "stock": "images"}
    images = {store: client.add(DATA, store=store) for store in pools}
    for store, image in images.items():
        (location,) = client.show(image)["locations"]
        assert location["metadata"] == {"store": store}
        assert location["url"] == f"rbd://{ceph.fsid}/{pools[store]}/{image}/snap"
        assert client.download(image) == DATA
        client.delete(image)
    assert client.list() == {}
