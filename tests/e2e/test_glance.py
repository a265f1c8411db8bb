# SPDX-License-Identifier: Apache-2.0
"""Glance, driven through HTTP only: over this library, and over its own driver as a control.

What is the same for both is one test with two services; where they differ, the test says how, and
``doc/source/operator/glance.rst`` lists it.
"""

import concurrent.futures
import hashlib
import http.client
import urllib.parse

import pools
import pytest
import samples
import stores
from glance_client import refused
from waiting import until

MiB = samples.MiB
DATA = samples.pattern("glance", 20 * MiB + 7)

BOTH = pytest.mark.parametrize("service", ["glance", "stock_glance"], indirect=True)


def differs(name, ours, stock):
    """Run a test with both services, and with what each is seen to do."""
    cases = [
        pytest.param("glance", ours, id="rbdstore"),
        pytest.param("stock_glance", stock, id="rbd"),
    ]
    return pytest.mark.parametrize(("service", name), cases, indirect=["service"])


@pytest.fixture
def service(request, nothing_left):
    return request.getfixturevalue(request.param)


@pytest.fixture
def client(service):
    return service.client


def chunked(data):
    return samples.pieces(data, 100_000)


@BOTH
@pytest.mark.parametrize("body", [bytes, chunked], ids=["known size", "chunked"])
def test_an_image_comes_and_goes(ceph, client, body):
    image = client.add(body(DATA), name="debian")
    shown = client.show(image)
    assert (shown["name"], shown["status"], shown["size"]) == ("debian", "active", len(DATA))
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    assert shown["os_hash_algo"] == "sha512"
    assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    uri = f"rbd://{ceph.fsid}/images/{image}/snap"
    assert shown["direct_url"] == uri
    assert shown["locations"] == [{"url": uri, "metadata": {"store": "ceph"}}]
    assert client.list()[image] == shown
    assert client.download(image) == DATA
    client.delete(image)
    assert image not in client.list()
    assert refused(client.show, image) == refused(client.delete, image) == 404


@BOTH
@pytest.mark.parametrize("body", [bytes, chunked], ids=["known size", "chunked"])
def test_twice_in_a_row(client, body):
    first = client.add(body(DATA))
    other = samples.pattern("other", 33 * MiB)
    second = client.add(body(other))
    assert client.show(first)["size"] == len(DATA)
    assert client.show(second)["size"] == len(other)
    assert client.download(first) == DATA
    assert client.download(second) == other
    client.delete(first)
    client.delete(second)


@BOTH
def test_eight_at_once(client):
    bodies = [samples.pattern(number, (9 + 3 * number) * MiB) for number in range(8)]
    given = [chunked(data) if number % 2 else data for number, data in enumerate(bodies)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        images = list(threads.map(client.add, given))
        assert list(threads.map(client.download, images)) == bodies
        shown = list(threads.map(client.show, images))
        assert [image["size"] for image in shown] == [len(data) for data in bodies]
        list(threads.map(client.delete, images))


@BOTH
def test_an_empty_image(client):
    image = client.add(b"")
    assert client.show(image)["size"] == 0
    assert client.download(image) == b""
    client.delete(image)


RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=100-199", 100, 200),
    (f"bytes={8 * MiB - 1}-{8 * MiB}", 8 * MiB - 1, 8 * MiB + 1),
    (f"bytes={MiB}-", MiB, len(DATA)),
    ("bytes=-10", len(DATA) - 10, len(DATA)),
    (f"bytes={len(DATA) - 1}-{len(DATA) + 100}", len(DATA) - 1, len(DATA)),
]


@differs("status", ours=206, stock=400)
def test_downloads_of_ranges(client, status):
    image = client.add(DATA)
    for wanted, start, stop in RANGES:
        answer = client.download_range(image, wanted)
        assert answer.status_code == status, wanted
        if status == 206:
            assert answer.content == DATA[start:stop]
            told = f"bytes {start}-{stop - 1}/{len(DATA)}"
            assert answer.headers["Content-Range"] == told
    client.delete(image)


@BOTH
def test_a_download_that_is_broken_off(client):
    image = client.add(DATA)
    with client.open(image) as answer:
        assert next(answer.iter_content(1000)) == DATA[:1000]
    assert client.download(image) == DATA
    client.delete(image)


@BOTH
def test_a_client_that_hangs_up(client):
    """Nothing is left of what it sent, and it may begin again."""
    image = client.create()
    host = urllib.parse.urlsplit(client.url).netloc
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.putrequest("PUT", f"/v2/images/{image}/file")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", len(DATA))
    connection.endheaders(DATA[: 12 * MiB])
    until(lambda: client.show(image)["status"] == "saving")
    connection.close()
    until(lambda: client.show(image)["status"] == "queued")
    client.upload(image, DATA)
    assert client.download(image) == DATA
    client.delete(image)


# Where volumes depend on an image


def test_an_image_that_a_volume_needs(glance, volumes, nothing_left):
    client = glance.client
    image = client.add(DATA)
    volumes.clone("volume-1", client.show(image)["direct_url"])
    assert refused(client.delete, image) == 409
    assert client.show(image)["status"] == "active"
    assert client.download(image) == DATA
    volumes.delete("volume-1")
    client.delete(image)
    assert image not in client.list()


def test_an_image_that_a_volume_needs_with_the_stock_driver(
    stock_glance, ceph, admin, nothing_left
):
    """It says that the image is gone, and puts it in the trash, from where nobody takes it."""
    client = stock_glance.client
    image = client.add(DATA)
    with stores.foreign(ceph) as raw:
        raw.clone("images", image, "snap", "volumes", "volume-1")
        client.delete(image)
        assert list(raw.trash("images").values()) == [image]
        raw.remove("volumes", "volume-1")
        assert list(raw.trash("images").values()) == [image]
        pools.clear(admin, "images")


# What only differs


@differs("status", ours=500, stock=200)
def test_what_glance_tells_of_a_store_in_detail(client, status):
    """It has a list of drivers' names, and fails for any other."""
    assert [store["id"] for store in client.stores()] == ["ceph"]
    assert client.stores_detail().status_code == status
