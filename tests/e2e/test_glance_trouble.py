# SPDX-License-Identifier: Apache-2.0
"""Glance is killed, may not see what it should, and has no cluster that answers."""

import concurrent.futures
import html
import threading

import glance_service
import pools
import pytest
import requests
import samples
import stores
from glance_client import refused
from waiting import until

from rbdstore.testing import recipe
from rbdstore.testing.sandbox import CephSandbox

MiB = samples.MiB
DATA = samples.pattern("glance", 20 * MiB + 7)


# Killed


class Held:
    """A body of which some is sent at once, and the rest never."""

    def __init__(self, data):
        self._data = data
        self._ended = threading.Event()

    def __iter__(self):
        yield from samples.pieces(self._data)
        self._ended.wait()

    def end(self):
        self._ended.set()


def kill_in_upload(service, raw):
    """Kill a service while it stores an image; return that one's id."""
    image = service.client.create()
    body = Held(samples.pattern("held", 60 * MiB))
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        upload = thread.submit(service.client.upload, image, body)
        try:
            until(lambda: any(key.startswith("rbd_data.") for key in raw.objects("images")))
            assert service.client.show(image)["status"] == "saving"
            service.kill()
        finally:
            body.end()
        with pytest.raises(requests.RequestException):
            upload.result()
    return image


def test_killed_in_an_upload(own_glance, ceph, admin, collect):
    service = own_glance(glance_service.RBDSTORE, rbd_lease_seconds=10)
    client = service.client
    with stores.foreign(ceph) as raw:
        image = kill_in_upload(service, raw)
        service.start()
        # The next one is not held up, and the record can be deleted.
        other = client.add(DATA)
        client.delete(image)
        assert [name for name in raw.images("images") if name.startswith(image)]
        collected = []

        def gone():
            collected.extend(collect("images", "glance"))
            return not [name for name in raw.images("images") if name.startswith(image)]

        # A dead client is one that lives until its time is over.
        until(gone)
        assert any(each["item"].startswith(f"images/{image}") for each in collected)
        assert client.download(other) == DATA
    client.delete(other)
    assert client.list() == {}
    assert pools.leftovers(admin, "images") == []


def test_killed_in_an_upload_with_the_stock_driver(own_glance, ceph, admin):
    """What it had sent stays, by the image's own name, when there is no such image any more."""
    service = own_glance(glance_service.STOCK)
    with stores.foreign(ceph) as raw:
        image = kill_in_upload(service, raw)
        service.start()
        service.client.delete(image)
        assert service.client.list() == {}
        assert raw.images("images") == [image]
        pools.clear(admin, "images")


# What the cluster does not let it do


NARROW = recipe.Role("glance-narrow", osd=("profile rbd pool=images",), mgr=())


def test_a_user_who_may_not_see_clones(own_glance, ceph, volumes, nothing_left):
    with stores.more_users(ceph, NARROW):
        service = own_glance(glance_service.RBDSTORE, rbd_store_user=NARROW.name)
        client = service.client
        image = client.add(DATA)
        volumes.clone("volume-1", client.show(image)["direct_url"])
        with pytest.raises(requests.HTTPError, match="403") as caught:
            client.delete(image)
        assert "ceph auth caps client.glance-narrow" in html.unescape(str(caught.value))
        assert client.download(image) == DATA
        volumes.delete("volume-1")
        client.delete(image)
        service.stop()


def test_a_cluster_that_does_not_answer(own_glance):
    with CephSandbox() as ceph:
        service = own_glance(glance_service.RBDSTORE, ceph=ceph, rbd_operation_timeout=8)
        client = service.client
        image = client.add(DATA)
        ceph.pause_daemon("osd.0")
        assert refused(client.add, DATA) == 503
        assert refused(client.download, image) == 503
        assert refused(client.delete, image) == 503
        service.kill()
