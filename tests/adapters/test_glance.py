# SPDX-License-Identifier: Apache-2.0
"""Glance's images, by the functions of glance_store that Glance calls."""

import concurrent.futures
import hashlib
import io

import glance_place
import glance_store
import pytest
import samples
from glance_place import DATA, add, delete, get, size_of
from glance_store import capabilities, location

import rbdstore
from rbdstore.adapters import glance

MiB = samples.MiB
MD5 = hashlib.md5(DATA).hexdigest()
SHA512 = hashlib.sha512(DATA).hexdigest()


@pytest.fixture
def store(place, tmp_path):
    """The store ``ceph``, the only one."""
    with glance_place.configured(tmp_path, {"ceph": glance_place.options(place)}):
        yield glance_store.get_store_from_store_identifier("ceph")


@pytest.fixture
def volumes(place):
    return place.volumes()


def test_an_image_comes_and_goes(place, store):
    uri, size, checksum, multihash, noted = add()
    assert uri == f"rbd://{place.fsid}/images/image-1/snap"
    assert (size, checksum, multihash) == (len(DATA), MD5, SHA512)
    assert noted == {"store": "ceph"}
    assert size_of(uri) == len(DATA)
    assert get(uri) == DATA
    delete(uri)
    with pytest.raises(glance_store.NotFound):
        get(uri)


def test_size_unknown_twice_on_one_store(store):
    """The stock driver keeps the first one's size on the store, and the second fails."""
    other = samples.pattern("other", 20 * MiB)
    first, second = add(size=0), add(other, 0, "image-2")
    assert (first[1], second[1]) == (len(DATA), len(other))
    assert get(first[0]) == DATA
    assert get(second[0]) == other
    delete(first[0], second[0])


@pytest.mark.parametrize("known", [True, False])
def test_eight_at_once(store, known):
    bodies = {f"image-{n}": samples.pattern(n, (3 + n) * MiB) for n in range(8)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        added = pool.map(lambda name: add(bodies[name], None if known else 0, name), bodies)
        uris = [uri for uri, *_ in added]
        assert list(pool.map(get, uris)) == list(bodies.values())
        list(pool.map(delete, uris))


def test_an_empty_image(store):
    uri, size, checksum, _multihash, _noted = add(b"", 0)
    assert (size, checksum) == (0, hashlib.md5().hexdigest())
    assert get(uri) == b""
    delete(uri)


def test_what_is_iterated_and_not_read(store):
    uri, size, *_ = add(samples.pieces(DATA, 100_000), 0)
    assert size == len(DATA)
    assert get(uri) == DATA
    delete(uri)


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "blake2b"])
def test_hashes(store, algorithm):
    uri, _size, checksum, multihash, _noted = add(hashing_algo=algorithm)
    assert checksum == MD5
    assert multihash == hashlib.new(algorithm, DATA).hexdigest()
    delete(uri)


def test_an_unknown_hash(store):
    with pytest.raises(glance_store.UnknownHashingAlgo):
        add(hashing_algo="md6")
    with pytest.raises(glance_store.Invalid):
        store.add("image-1", io.BytesIO(DATA), len(DATA), "md6")


def test_as_before_there_were_other_hashes(store):
    uri, size, checksum, noted = store.add("image-1", io.BytesIO(DATA), len(DATA))
    assert (size, checksum, noted) == (len(DATA), MD5, {"store": "ceph"})
    delete(uri)


@pytest.mark.parametrize("size", [len(DATA), 0])
@pytest.mark.parametrize("body", [io.BytesIO, samples.pieces])
def test_a_verifier_is_given_all_of_it(store, body, size):
    class Verifier:
        seen = b""

        def update(self, data):
            self.seen += data

    verifier = Verifier()
    uri, *_ = add(body(DATA), size, verifier=verifier)
    assert verifier.seen == DATA
    assert get(uri) == DATA
    delete(uri)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_another_size_than_told(store, size):
    with pytest.raises(glance_store.Invalid):
        add(size=size)


def test_a_body_that_fails(store):
    class Gone(Exception):
        pass

    def body():
        yield DATA
        raise Gone

    for size in (0, 2 * len(DATA)):
        with pytest.raises(Gone):
            add(body(), size)
    # Nor does it stand in the way of the next one.
    delete(add()[0])


def test_there_is_one_already(store):
    uri, *_ = add()
    with pytest.raises(glance_store.Duplicate):
        add(b"other")
    assert get(uri) == DATA
    delete(uri)


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (5, 10), (8 * MiB - 3, 7), (len(DATA) - 1, 1), (1, None), (len(DATA), None)],
)
def test_ranges(store, offset, length):
    uri, *_ = add()
    end = None if length is None else offset + length
    assert get(uri, offset=offset, chunk_size=length) == DATA[offset:end]
    delete(uri)


def test_what_is_read_in_part_is_let_go(store):
    uri, *_ = add()
    pieces, _size = glance_store.get(uri, "ceph")
    next(pieces)
    pieces.close()
    delete(uri)


def test_a_location_of_old(store):
    add()
    assert get("rbd://image-1") == DATA
    assert size_of("rbd://image-1") == len(DATA)
    delete("rbd://image-1")


def test_what_is_not_there(place, store):
    uri = f"rbd://{place.fsid}/images/image-1/snap"
    for call in (get, size_of, delete):
        with pytest.raises(glance_store.NotFound):
            call(uri)


def test_deleted_while_it_is_read(store):
    data = samples.pattern("long", 100 * MiB)
    uri, *_ = add(data)
    pieces, _size = glance_store.get(uri, "ceph")
    begin = next(pieces)
    assert data.startswith(begin)
    delete(uri)
    with pytest.raises(glance_store.NotFound):
        list(pieces)


@pytest.mark.parametrize(
    "uri", ["rbd://a/b", "rbd://a/b/c/d/e", "rbd:///images/image-1/snap", "rbd://"]
)
def test_locations_of_no_shape(store, uri):
    for call in (get, size_of, delete):
        with pytest.raises(glance_store.BadStoreUri):
            call(uri)


def test_locations_of_elsewhere(place, store, volumes):
    """Whoever may tell Glance where images are cannot have it read or delete a volume."""
    volumes.create("volume-1", MiB)
    volumes.create_snapshot("volume-1", "snap")
    other = "00000000-0000-0000-0000-000000000000"
    for uri in (
        f"rbd://{place.fsid}/volumes/volume-1/snap",
        f"rbd://{other}/images/image-1/snap",
    ):
        for call in (get, size_of, delete):
            with pytest.raises(glance_store.BadStoreUri) as caught:
                call(uri)
            # What Glance tells those who delete.
            assert isinstance(caught.value, glance_store.Forbidden)
    assert volumes.get("volume-1").snapshots
    volumes.delete_snapshot("volume-1", "snap")
    volumes.delete("volume-1")


def test_an_image_that_a_volume_needs(store, volumes):
    uri, *_ = add()
    volumes.clone("volume-1", uri)
    with pytest.raises(glance_store.exceptions.InUseByStore, match="volume-1"):
        delete(uri)
    assert get(uri) == DATA
    volumes.delete("volume-1")
    delete(uri)


# What it is to glance_store


def test_capabilities(store):
    assert store.is_capable(
        capabilities.BitMasks.RW_ACCESS,
        capabilities.BitMasks.READ_RANDOM,
        capabilities.BitMasks.DRIVER_REUSABLE,
    )
    assert glance_store.get_store_from_store_identifier("ceph") is store


def test_there_are_no_access_control_lists(store):
    uri, *_ = add()
    glance_store.set_acls_for_multi_store(uri, "ceph", public=True)
    with pytest.raises(NotImplementedError):
        store.set_acls(location.get_location_from_uri_and_backend(uri, "ceph"))
    delete(uri)


def test_several_backends(place, tmp_path):
    sections = {
        "fast": glance_place.options(place),
        "slow": glance_place.options(place, "volumes", "cinder"),
    }
    with glance_place.configured(tmp_path, sections):
        other = samples.pattern("other", MiB)
        fast, *_, noted = add(store="fast")
        assert noted == {"store": "fast"}
        slow, *_, noted = add(other, store="slow")
        assert noted == {"store": "slow"}
        assert get(fast, "fast") == DATA
        assert get(slow, "slow") == other
        # By this Glance finds the store of an image that it has no note of.
        for name, uri in (("fast", fast), ("slow", slow)):
            found = glance_store.get_store_from_store_identifier(name)
            assert uri == f"{found.url_prefix}image-1/snap"
            assert location.SCHEME_TO_CLS_BACKEND_MAP["rbd"][name]["store"] is found
        with pytest.raises(glance_store.BadStoreUri):
            delete(fast, store="slow")
        delete(fast, store="fast")
        delete(slow, store="slow")


def test_it_is_installed(store):
    assert type(store) is glance.Store
    assert isinstance(store._store, rbdstore.Store)
