# SPDX-License-Identifier: Apache-2.0
"""Glance's images, by the functions of glance_store that Glance calls."""

import concurrent.futures
import hashlib
import io

import glance_place
import glance_store
import pytest
import samples
from glance_place import CONF
from glance_store import capabilities, location
from glance_store._drivers import rbd as stock
from oslo_config import cfg

import rbdstore
from rbdstore import exceptions
from rbdstore.adapters import glance

MiB = samples.MiB
DATA = samples.pattern("glance", 9 * MiB + 1)
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


def add(data=DATA, size=None, image_id="image-1", store="ceph", **options):
    """Add an image as Glance does; the size is told unless it is 0."""
    size = len(data) if size is None else size
    body = io.BytesIO(data) if isinstance(data, bytes) else data
    algorithm = options.pop("hashing_algo", "sha512")
    return glance_store.add_with_multihash(CONF, image_id, body, size, store, algorithm, **options)


def get(uri, store="ceph", **wanted):
    pieces, size = glance_store.get(uri, store, **wanted)
    data = b"".join(pieces)
    assert len(data) == size
    return data


def delete(*uris, store="ceph"):
    for uri in uris:
        glance_store.delete(uri, store)


def size_of(uri):
    return glance_store.get_size_from_uri_and_backend(uri, "ceph")


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


# Options


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


# Errors


def every_error(root=exceptions.RbdStoreError):
    yield root
    for kind in root.__subclasses__():
        yield from every_error(kind)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_is_translated(kind):
    with pytest.raises(Exception, match="that is why") as caught, glance.translated():
        raise kind("that is why")
    assert isinstance(
        caught.value, glance_store.GlanceStoreException | glance_store.BackendException
    )
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (exceptions.ImageNotFound, "NotFound"),
        (exceptions.SnapshotNotFound, "NotFound"),
        (exceptions.Vanished, "NotFound"),
        (exceptions.PoolNotFound, "BadStoreConfiguration"),
        (exceptions.ConfigError, "BadStoreConfiguration"),
        (exceptions.Duplicate, "Duplicate"),
        (exceptions.InUse, "InUseByStore"),
        (exceptions.InvalidBody, "Invalid"),
        (exceptions.InvalidName, "Invalid"),
        (exceptions.NoSpace, "StorageFull"),
        (exceptions.ReadOnly, "StorageWriteDenied"),
        # Uploads look for the one, deletions for the other.
        (exceptions.PermissionDenied, "StorageWriteDenied"),
        (exceptions.PermissionDenied, "Forbidden"),
        (exceptions.Unreachable, "BackendException"),
        (exceptions.Unreachable, "RemoteServiceUnavailable"),
        (exceptions.Timeout, "TimeoutError"),
        (exceptions.LeaseLost, "TimeoutError"),
    ],
)
def test_what_an_error_is_to_glance(kind, expected):
    with pytest.raises(getattr(glance_store.exceptions, expected)), glance.translated():
        raise kind("why")


def test_what_is_not_this_librarys_comes_out_as_it_is():
    with pytest.raises(KeyError), glance.translated():
        raise KeyError


def test_it_is_installed(store):
    assert type(store) is glance.Store
    assert isinstance(store._store, rbdstore.Store)
