# SPDX-License-Identifier: Apache-2.0
"""Names stay claimed while their claimant lives, and not for long after it has died or hung.

Uploads get their data from a named pipe here, so that a test decides how far each one is.
"""

import concurrent.futures
import contextlib
import os
import signal
import time

import halves
import pytest
import racers
import samples

from rbdstore import exceptions, leases, spec, threads

MiB = samples.MiB
LEASE = 5
BEYOND = 1.6 * LEASE

# What one is told whose lease has gone to somebody else: that, or that it was cut off.
CUT_OFF = {"LeaseLost", "Unreachable"}


@pytest.fixture
def pair(place):
    with racers.running(place, 2, rbd_lease_seconds=LEASE) as found:
        yield found


@pytest.fixture
def volumes(place):
    return place.volumes("admin", rbd_lease_seconds=LEASE)


@pytest.fixture
def images(place):
    return place.images("admin", rbd_lease_seconds=LEASE)


def frozen(racer):
    """Stop a process for longer than its lease lasts."""
    racer.signal(signal.SIGSTOP)
    time.sleep(BEYOND)


def test_a_name_stays_claimed_for_as_long_as_the_work_takes(pair, images, raw, tmp_path):
    upload = halves.Upload(pair[0], raw, tmp_path / "pipe", "image", "ours")
    for _ in range(3):
        time.sleep(LEASE)
        with pytest.raises(exceptions.Duplicate):
            images.add("image", b"theirs")
    assert upload.finish() == "ok"
    assert raw.read("images", "image") == upload.data
    images.delete("rbd://image")


def test_an_upload_waits_for_who_is_about_to_let_go(place, images, raw, monkeypatch):
    """Such as one who collects what was left of an earlier one."""
    monkeypatch.setattr(leases, "LETTING_GO", 60)
    pool, key = place.store("images")._open_pool(), spec.lease_object("image")
    assert pool.lease(key, "another", 3600, "host-2 pid 1")
    with concurrent.futures.ThreadPoolExecutor() as executor:
        upload = executor.submit(images.add, "image", b"data")
        time.sleep(0.5)
        assert not upload.done()
        pool.remove_leased(key, "another")
        upload.result()
    assert raw.read("images", "image") == b"data"
    images.delete("rbd://image")


def test_what_a_killed_process_was_at_is_taken_over(pair, images, raw, tmp_path):
    upload = halves.Upload(pair[0], raw, tmp_path / "pipe", "image", "ours")
    pair[0].kill()
    upload.close()
    with pytest.raises(exceptions.Duplicate):
        images.add("image", b"too early")

    def stored():
        with contextlib.suppress(exceptions.Duplicate):
            return images.add("image", b"theirs")

    racers.until(stored)
    assert raw.images("images") == ["image"]
    assert raw.read("images", "image") == b"theirs"
    images.delete("rbd://image")


def test_a_killed_upload_does_not_stop_a_deletion(pair, images, raw, tmp_path):
    upload = halves.Upload(pair[0], raw, tmp_path / "pipe", "image", "ours")
    pair[0].kill()
    upload.close()
    with pytest.raises(exceptions.ImageNotFound):
        images.delete("rbd://image")
    assert raw.images("images") == []


def test_one_that_hung_does_not_delete_another_volume_of_that_name(pair, volumes, raw, place):
    raw.create("volumes", "volume", data=b"first")
    with place.held_open("volumes", "volume"):
        # It waits for the one who has it open.
        pair[0].begin(delete_waiting, "volume", 60)
        racers.until(lambda: raw.is_claimed("volumes", "volume"))
        frozen(pair[0])
        volumes.rename("volume", "moved")
        raw.create("volumes", "volume", data=b"second")
    pair[0].signal(signal.SIGCONT)
    assert pair[0].outcome() in CUT_OFF
    assert raw.read("volumes", "moved") == b"first"
    assert raw.read("volumes", "volume") == b"second"
    assert raw.trash("volumes") == {}
    # Whoever hung can work again.
    assert pair[0].run("volumes.delete", "volume") == "ok"
    volumes.delete("moved")


def delete_waiting(all_stores, name, wait):
    all_stores.volumes.delete(name, wait=wait)


def test_one_that_hung_and_was_not_succeeded_leaves_nothing(pair, images, raw, tmp_path):
    upload = halves.Upload(pair[0], raw, tmp_path / "pipe", "image", "ours")
    frozen(pair[0])
    pair[0].signal(signal.SIGCONT)
    assert upload.finish() in CUT_OFF
    with pytest.raises(exceptions.ImageNotFound):
        images.delete("rbd://image")
    assert raw.images("images") == []


def test_no_thread_is_left_when_no_name_is_claimed(volumes):
    # Another test's store may be open still.
    before = set(threads.threading.enumerate())
    volumes.create("volume", MiB)
    volumes.create_cloned_volume("clone", "volume")
    volumes.delete("clone")
    volumes.delete("volume")

    def threads_of_ours():
        now = set(threads.threading.enumerate()) - before
        return [thread.name for thread in now if "rbdstore" in thread.name]

    racers.until(lambda: threads_of_ours() == [])


def test_a_child_process_has_none_of_its_parents_claims(pair, images, raw):
    """A fork in the middle of an upload, as a worker pool in a service does it."""
    assert pair[0].run(fork_while_uploading, "image", "volume") == "ok"
    assert raw.read("images", "image") == b"before" + b"after"
    assert raw.images("volumes") == []
    images.delete("rbd://image")


def fork_while_uploading(all_stores, image_id, volume):
    def body():
        yield b"before"
        child = os.fork()
        if child == 0:
            os._exit(in_child(all_stores, image_id, volume))
        # Longer than a lease lasts: the fork must not have ended its renewal here.
        time.sleep(BEYOND)
        assert os.waitpid(child, 0) == (child, 0)
        yield b"after"

    all_stores.images.add(image_id, body())


def in_child(all_stores, image_id, volume):
    """Return 0 if a child process can work, but not on what its parent is at."""
    try:
        all_stores.volumes.create(volume, MiB)
        all_stores.volumes.delete(volume)
        all_stores.images.add(image_id, b"the child's")
    except exceptions.Duplicate:
        return 0
    except BaseException:
        return 1
    return 2
