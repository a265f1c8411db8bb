# SPDX-License-Identifier: Apache-2.0
"""Glance's own driver and this library side by side: in two services, and in one."""

import glance_service
import samples

MiB = samples.MiB
DATA = samples.pattern("old", 20 * MiB + 7)


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
