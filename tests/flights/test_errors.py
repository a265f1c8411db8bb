# SPDX-License-Identifier: Apache-2.0
"""The first error is raised, and nothing is in flight then."""

import io
import itertools
import signal
import threading
import time

import pytest
from bodies import OBJECT, noise
from flying import WINDOW, BrokenError, Counted, content, fill, new_image

from rbdstore import exceptions
from rbdstore.transfer import reads


def fail(error):
    raise error


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize("number", range(12))
def test_a_write_that_fails_fails_the_upload(pool, airport, number, known):
    error = exceptions.StorageFull("full")
    airport.fail(number, error)
    data = noise(12 * OBJECT)
    with new_image(pool, airport, len(data) if known else 0) as image:
        with pytest.raises(exceptions.StorageFull) as caught:
            fill(image, io.BytesIO(data), len(data) if known else None)
        assert airport.in_flight == 0
    assert caught.value is error


def test_a_write_that_fails_stops_everything(pool, airport):
    airport.fail(0, exceptions.StorageFull("full"))
    body = Counted()
    with new_image(pool, airport, 1 << 40) as image, pytest.raises(exceptions.StorageFull):
        fill(image, body, 1 << 40)
    assert body.given < 100 * OBJECT


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("error", [exceptions.Timeout("late"), exceptions.ImageNotFound("gone")])
def test_a_read_that_fails_fails_the_download_at_its_place(pool, airport, number, error):
    data = noise(5 * OBJECT)
    with new_image(pool, airport, len(data)) as image:
        image.write(0, data)
        airport.fail(number, error)
        pieces = reads.drain(image, 0, len(data), window=WINDOW)
        for start in range(0, number * OBJECT, OBJECT):
            assert next(pieces) == data[start : start + OBJECT]
        with pytest.raises(type(error)) as caught:
            next(pieces)
        assert airport.in_flight == 0
    assert caught.value is error


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("which", ["md5", "chosen"])
@pytest.mark.parametrize("piece", [0, 3, 11])
def test_a_hash_that_fails_fails_the_upload(pool, airport, gate_hash, which, piece, threads):
    error = BrokenError()
    turns = itertools.count()
    gate_hash(which, lambda: next(turns) == piece and fail(error))
    with new_image(pool, airport, 12 * OBJECT) as image:
        with pytest.raises(BrokenError) as caught:
            fill(image, io.BytesIO(noise(12 * OBJECT)), 12 * OBJECT, threads=threads)
        assert airport.in_flight == 0
    assert caught.value is error


def test_a_hash_that_fails_stops_everything(pool, airport, gate_hash):
    gate_hash("md5", lambda: fail(BrokenError()))
    body = Counted()
    with new_image(pool, airport, 1 << 40) as image, pytest.raises(BrokenError):
        fill(image, body, 1 << 40)
    assert body.given < 100 * OBJECT


def test_of_two_errors_the_first_is_raised(pool, airport):
    """Also where the body, which breaks later, is what tells of it."""
    first = exceptions.StorageFull("full")
    airport.fail(0, first)

    def body():
        yield noise(OBJECT)
        landed.wait(60)
        raise BrokenError

    landed = threading.Event()
    with new_image(pool, airport) as image:
        whole = image.aio_write

        def aio_write(offset, data, done):
            return whole(offset, data, lambda: (done(), landed.set()))

        image.aio_write = aio_write
        with pytest.raises(exceptions.StorageFull) as caught:
            fill(image, body())
    assert caught.value is first


def test_what_fails_after_the_body_broke_is_not_raised(pool, airport):
    airport.open.clear()
    airport.fail(0, exceptions.StorageFull("full"))

    def body():
        yield noise(OBJECT)
        threading.Timer(0.05, airport.open.set).start()
        raise BrokenError

    with new_image(pool, airport) as image:
        with pytest.raises(BrokenError) as caught:
            fill(image, body())
        assert airport.in_flight == 0
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BrokenError, GeneratorExit])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_nothing_is_in_flight_when_an_upload_was_interrupted(pool, airport, error, known):
    raised = error()

    def progress(done, _total):
        if done >= 5 * OBJECT:
            raise raised

    with new_image(pool, airport, 9 * OBJECT if known else 0) as image:
        with pytest.raises(error) as caught:
            fill(image, Counted(), 9 * OBJECT if known else None, progress)
        assert airport.in_flight == 0
        before = content(image)
    assert caught.value is raised
    assert len(airport.begun) == 5
    assert before[: 5 * OBJECT] == b"x" * 5 * OBJECT


def test_an_interrupt_gets_through_while_all_wait(pool, airport):
    """Ctrl-C, while the window is full and the cluster does not answer."""
    airport.open.clear()
    main = threading.get_ident()

    def interrupt():
        while airport.in_flight < WINDOW // 2:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)
        # What is in flight is waited for.
        threading.Timer(0.05, airport.open.set).start()

    interrupter = threading.Thread(target=interrupt)
    with new_image(pool, airport, 1 << 40) as image:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            fill(image, Counted(), 1 << 40)
        assert airport.in_flight == 0
    interrupter.join()


@pytest.mark.parametrize("taken", range(4))
def test_nothing_is_in_flight_when_a_download_is_given_up(pool, airport, taken):
    data = noise(20 * OBJECT)
    with new_image(pool, airport, len(data)) as image:
        image.write(0, data)
        pieces = reads.drain(image, 0, len(data), window=WINDOW)
        for _ in range(taken):
            next(pieces)
        pieces.close()
        assert airport.in_flight == 0
