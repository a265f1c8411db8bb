# SPDX-License-Identifier: Apache-2.0
"""Reading: every range, and no word that it went well when the image went away meanwhile."""

import gc
import itertools
import threading
import weakref

import memory
import pytest
import scenes
from bodies import OBJECT, noise

from rbdstore import exceptions, spec
from rbdstore.testing import faults
from rbdstore.transfer import reader

DATA = noise(3 * OBJECT + 5)
EDGES = [0, 1, OBJECT - 1, OBJECT, 2 * OBJECT + 1, len(DATA) - 1, len(DATA)]


@pytest.fixture
def plan():
    return faults.Plan()


@pytest.fixture
def cluster():
    return memory.memory_cluster()


@pytest.fixture
def store(cluster, plan):
    return memory.memory_store(
        faults.FaultyCluster(cluster, plan), pool="images", chunk_size=OBJECT, lease_seconds=1.5
    )


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("images")


@pytest.fixture
def uri(store):
    return store.images.add("image", DATA).uri


def old(uri):
    """The location in the form that names no snapshot."""
    return "rbd://" + spec.Location.parse(uri).image


def is_closed(image):
    try:
        image.size()
    except exceptions.ClusterError:
        return True
    return False


# Ranges


@pytest.mark.parametrize("offset", EDGES)
@pytest.mark.parametrize("length", [*EDGES, None, 10 * len(DATA)])
def test_ranges(store, uri, offset, length):
    wanted = DATA[offset:] if length is None else DATA[offset : offset + length]
    for location in (uri, old(uri)):
        found = store.images.get(location, offset, length)
        assert found.size == len(wanted)
        assert b"".join(found) == wanted


def test_an_empty_image(store):
    uri = store.images.add("empty", b"").uri
    found = store.images.get(uri)
    assert found.size == 0
    assert list(found) == []


def test_holes_are_read(store):
    data = bytes(2 * OBJECT) + b"x" + bytes(OBJECT)
    assert b"".join(store.images.get(store.images.add("holes", data).uri)) == data


def test_what_was_written_after_the_snapshot_is_not_read(store, pool, uri):
    with pool.open("image", read_only=False) as image:
        image.write(0, b"later")
    assert b"".join(store.images.get(uri)) == DATA
    assert next(store.images.get(old(uri))).startswith(b"later")


@pytest.mark.parametrize("offset", [len(DATA) + 1, 1 << 40])
def test_an_offset_beyond_the_end(store, uri, offset):
    with pytest.raises(exceptions.InvalidSize, match="beyond its end"):
        store.images.get(uri, offset)


# Its end


def test_it_is_an_iterator_that_stays_at_its_end(store, uri):
    found = store.images.get(uri)
    assert iter(found) is found
    assert b"".join(found) == DATA
    assert list(found) == []
    with pytest.raises(StopIteration):
        next(found)


@pytest.fixture
def handle(pool, uri):
    """The image, open as a reader gets it."""
    image = pool.open("image")
    yield image
    image.close()


def reader_of(handle):
    return reader.Reader(handle, None, 0, len(DATA))


def test_it_closes_the_image_at_the_end(handle):
    found = reader_of(handle)
    assert not is_closed(handle)
    assert sum(len(piece) for piece in found) == len(DATA)
    assert is_closed(handle)


def test_to_close_it_is_to_stop(handle):
    found = reader_of(handle)
    next(found)
    found.close()
    assert is_closed(handle)
    assert list(found) == []
    found.close()


def test_a_with_statement_closes_it(handle):
    with reader_of(handle) as found:
        next(found)
    assert is_closed(handle)


def test_to_forget_it_is_to_close_it(handle):
    found = reader_of(handle)
    next(found)
    gone = weakref.ref(found)
    del found
    gc.collect()
    assert gone() is None
    assert is_closed(handle)


def test_another_thread_that_collects_it_does_not_wait(handle):
    """That may be the one whose word the image waits for."""
    go_on, closed = threading.Event(), threading.Event()
    close = handle.close

    def slow_close():
        go_on.wait()
        close()
        closed.set()

    handle.close = slow_close
    held = [reader_of(handle)]
    next(held[0])
    collector = threading.Thread(target=held.clear)
    collector.start()
    collector.join(60)
    waits = collector.is_alive()
    go_on.set()
    assert closed.wait(60)
    assert not waits
    assert is_closed(handle)


# Errors


@pytest.mark.parametrize("piece", range(4))
def test_an_error_comes_out_and_closes_it(store, plan, uri, piece):
    opened = [store.images._open(uri)[0] for _ in range(2)]
    plan.watch()
    assert b"".join(reader_of(opened[0])) == DATA
    reads = [number for number, call in enumerate(plan.stop(), 1) if call == "Image.aio_read"]
    plan.fail(reads[piece], exceptions.Timeout("injected"))
    found = reader_of(opened[1])
    for _ in range(piece):
        next(found)
    with pytest.raises(exceptions.Timeout, match="injected"):
        next(found)
    plan.stop()
    assert is_closed(opened[1])
    assert list(found) == []


def test_an_error_of_the_last_look_comes_out_and_closes_it(store, plan, uri):
    opened = store.images._open(uri)[0]
    found = reader_of(opened)
    for _ in range(4):
        next(found)
    plan.fail(1, exceptions.Timeout("injected"), lasting=True)
    with pytest.raises(exceptions.Timeout, match="injected"):
        next(found)
    plan.stop()
    assert is_closed(opened)


def test_every_call_that_fails_fails_the_reading(store, plan, uri):
    plan.watch()
    assert b"".join(store.images.get(uri)) == DATA
    for number in range(1, len(plan.stop()) + 1):
        plan.fail(number, exceptions.Unreachable("injected"))
        with pytest.raises(exceptions.Unreachable):
            list(store.images.get(uri))
        plan.stop()


# Images that go away


def delete(store, pool, uri):
    store.images.delete(uri)


def delete_and_make_anew(store, pool, uri):
    """Another image of the same name is not the one that is being read."""
    store.images.delete(uri)
    store.images.add("image", noise(len(DATA), seed=1))


def remove_the_snapshot(store, pool, uri):
    """A stock deletion, cut off before the image is removed."""
    with pool.open("image", read_only=False) as image:
        image.unprotect_snap("snap")
        image.remove_snap(image.snaps()[0].id)


def make_the_snapshot_anew(store, pool, uri):
    remove_the_snapshot(store, pool, uri)
    scenes.snapshot(pool, "image", "snap")


@pytest.mark.parametrize("read", range(5))
@pytest.mark.parametrize(
    "go", [delete, delete_and_make_anew, remove_the_snapshot, make_the_snapshot_anew]
)
def test_an_image_that_goes_while_it_is_read(store, pool, uri, go, read):
    found = store.images.get(uri)
    for _ in itertools.islice(found, read):
        pass
    go(store, pool, uri)
    with pytest.raises(exceptions.Vanished, match="was deleted while it was read") as caught:
        list(found)
    assert caught.value.spec == spec.ImageSpec("images", "image")
    assert is_closed(found._image)


@pytest.mark.parametrize("go", [delete, delete_and_make_anew])
def test_an_image_without_a_snapshot_that_goes_while_it_is_read(store, pool, uri, go):
    found = store.images.get(old(uri))
    next(found)
    go(store, pool, uri)
    with pytest.raises(exceptions.Vanished):
        list(found)


def test_an_image_without_a_snapshot_that_goes_to_the_trash(store, pool, uri):
    """Where it may be in the middle of its removal, the data gone and the header there still."""
    found = store.images.get(old(uri))
    next(found)
    pool.trash_move("image")
    with pytest.raises(exceptions.Vanished):
        list(found)


def test_what_was_read_before_it_went_is_told_of_at_the_end_only(store, pool, uri):
    found = store.images.get(uri)
    first = next(found)
    delete(store, pool, uri)
    assert first == DATA[:OBJECT]
    with pytest.raises(exceptions.Vanished):
        list(found)


# Images that stay


def test_an_image_that_is_deleted_for_later_is_read_to_its_end(cluster, store, pool, uri):
    """Its clone keeps it, and its snapshot, as they are."""
    volumes = memory.memory_store(cluster, pool="volumes").volumes
    volumes.clone("volume", uri)
    found = store.images.get(uri)
    next(found)
    store.images.delete(uri, in_use="defer")
    assert scenes.trash(pool) == ["image"]
    assert b"".join(found) == DATA[OBJECT:]


def test_an_image_that_is_renamed_is_read_to_its_end(store, pool, uri):
    for location in (uri, old(uri)):
        found = store.images.get(location)
        next(found)
        pool.rename("image", "other")
        assert b"".join(found) == DATA[OBJECT:]
        pool.rename("other", "image")
