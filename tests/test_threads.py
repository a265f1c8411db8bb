# SPDX-License-Identifier: Apache-2.0
"""Threads: the real ones, also in a process that eventlet has patched."""

import importlib.util
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rbdstore import threads

needs_eventlet = pytest.mark.skipif(
    importlib.util.find_spec("eventlet") is None,
    reason="eventlet is not installed; services that patch themselves bring it",
)

PATCHED = """
import eventlet

eventlet.monkey_patch()

import sys
import threading
import time

{paths}
import memory

from rbdstore import threads
from rbdstore import leases

real = threads.threading
"""


def run(program):
    """Run a program in a process that eventlet has patched; return what it printed."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    head = PATCHED.format(paths=f"sys.path[:0] = {paths!r}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", head + program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_in_a_process_that_is_not_patched_they_are_the_usual_ones():
    assert threads.threading is threading
    assert threads.queue is queue


@needs_eventlet
def test_in_a_patched_process_they_are_not_the_patched_ones():
    assert (
        run("""
print(real is not threading)
print(eventlet.patcher.is_monkey_patched("thread"))
print(type(real.Lock()) is not type(threading.Lock()))
print(real.get_ident is not threading.get_ident)
""")
        == ["True"] * 4
    )


@needs_eventlet
def test_a_thread_is_one_of_its_own_and_the_others_run_beside_it():
    """It blocks for good what it waits for, and the green threads go on all the same."""
    assert run("""
blocked = real.Lock()
blocked.acquire()
ended = real.Event()

def work():
    blocked.acquire()
    ended.set()

started = real.Thread(target=work, daemon=True)
started.start()
eventlet.sleep(0.05)
print(ended.is_set())
blocked.release()
while not ended.is_set():
    eventlet.sleep(0.01)
print(real.get_ident() != started.ident)
""") == ["False", "True"]


@needs_eventlet
def test_what_a_thread_of_librbds_releases_wakes_who_waits():
    """It calls back from a thread that eventlet knows nothing of."""
    assert run("""
from eventlet import patcher

pause = patcher.original("time").sleep
lock, semaphore, event = real.Lock(), real.BoundedSemaphore(1), real.Event()
condition = real.Condition()

def notify():
    with condition:
        condition.notify()

def release():
    for step in (lock.release, semaphore.release, event.set, notify):
        pause(0.1)
        step()

lock.acquire()
semaphore.acquire()
patcher.original("_thread").start_new_thread(release, ())
print(lock.acquire(timeout=20), semaphore.acquire(timeout=20), event.wait(20))
with condition:
    print(condition.wait(20))
""") == ["True True True", "True"]


@needs_eventlet
def test_a_lease_is_renewed_while_green_threads_keep_the_process_busy():
    """The one that renews is a real thread, and needs no green one's leave."""
    assert run("""
pool = memory.memory_cluster().open_pool("rbd")
lease = leases.acquire(pool, "volume", 0.3, wait=0)
until = time.monotonic() + 0.6
while time.monotonic() < until:
    eventlet.patcher.original("time").sleep(0.01)
print(leases.Lease(pool, "volume", 0.3).try_acquire())
lease.write(b"held")
lease.release()
print(pool.read_object(lease.key))
""") == ["False", "b''"]


@needs_eventlet
def test_to_wait_for_a_lease_lets_other_green_threads_run():
    """Also the one that holds it, or nobody would ever get any further."""
    assert run("""
pool = memory.memory_cluster().open_pool("rbd")
order = []

def hold():
    with leases.held(pool, "volume", 0.5):
        order.append("first")
        eventlet.sleep(0.2)
        order.append("first ends")

def wait():
    with leases.held(pool, "volume", 0.5):
        order.append("second")

both = [eventlet.spawn(hold), eventlet.spawn(wait)]
for one in both:
    one.wait()
print(order)
""") == ["['first', 'first ends', 'second']"]


@needs_eventlet
def test_the_verbs_in_a_patched_process():
    assert run("""
from rbdstore import exceptions

with memory.memory_store(pool="rbd", lease_seconds=1.5) as store:
    def life(number):
        uri = store.images.add(f"image-{number}", b"data").uri
        store.volumes.clone(f"volume-{number}", uri)
        store.volumes.create_cloned_volume(f"clone-{number}", f"volume-{number}")
        store.volumes.delete(f"volume-{number}")
        store.volumes.flatten(f"clone-{number}")
        store.volumes.delete(f"clone-{number}")
        store.images.delete(uri)
        return number

    print(list(eventlet.GreenPool(8).imap(life, range(8))))
    pool = store._cluster.open_pool("rbd")
    print(pool.list_images(), pool.trash_list())
""") == [str(list(range(8))), "[] []"]


UPLOADS = """
store = memory.memory_store(pool="rbd", chunk_size=4096, transfer_window=4 * 4096)


def body(number):
    for _ in range(30):
        yield bytes([number]) * 1000
        eventlet.sleep(0)


def life(number):
    uri = store.images.add(f"image-{number}", body(number)).uri
    taken = b""
    for piece in store.images.get(uri):
        taken += piece
        eventlet.sleep(0)
    store.images.delete(uri)
    return taken == bytes([number]) * 30_000


for whole in eventlet.GreenPool(3).imap(life, range(1, 7)):
    print(whole)
"""


@needs_eventlet
def test_transfers_in_a_patched_process():
    """Real threads hash, while greenthreads give the data and take them."""
    assert run(UPLOADS) == ["True"] * 6


def test_a_wait_is_in_slices():
    """A signal that came right before it is seen at the end of one, without any other event."""
    changed = threads.threading.Condition()
    is_so = threading.Event()

    def wait():
        with changed:
            threads.wait_for(changed, is_so.is_set)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(0.1)
    # Nobody notifies.
    is_so.set()
    waiting.join(60)
    assert not waiting.is_alive()
