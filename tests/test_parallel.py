# SPDX-License-Identifier: Apache-2.0
"""Many things at a time: in order, within the bound, and over at the first error."""

import signal
import threading
import time

import pytest

from rbdstore import parallel


def test_all_in_order():
    assert parallel.each(lambda number: number * 2, range(100), most=7) == [*range(0, 200, 2)]
    assert parallel.each(str, [], most=3) == []


def test_as_many_as_allowed_at_a_time():
    # Each waits for the other: one at a time would never end.
    together = threading.Barrier(2, timeout=60)
    lock = threading.Lock()
    running, most = set(), 0

    def turn(number):
        nonlocal most
        with lock:
            running.add(number)
            most = max(most, len(running))
        together.wait()
        with lock:
            running.remove(number)

    parallel.each(turn, range(10), most=2)
    assert most == 2


def test_the_first_error_ends_it():
    done = []

    def turn(number):
        done.append(number)
        if number == 3:
            raise LookupError(number)

    with pytest.raises(LookupError, match="3"):
        parallel.each(turn, range(1000), most=1)
    assert done == [0, 1, 2, 3]


def test_what_had_begun_has_ended_when_the_error_comes_out():
    begun, failed = threading.Event(), threading.Event()
    ended = []

    def turn(number):
        if number == 0:
            begun.set()
            assert failed.wait(60)
            ended.append(number)
        else:
            assert begun.wait(60)
            failed.set()
            raise LookupError(number)

    with pytest.raises(LookupError):
        parallel.each(turn, range(2), most=2)
    assert ended == [0]


def test_what_had_begun_has_ended_when_an_interrupt_comes_out():
    """Whoever is interrupted closes what the others still use."""
    ended = []

    def turn(number):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        # The signal is met by the main thread, which waits for this one.
        time.sleep(0.2)
        ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        parallel.each(turn, range(1000), most=1)
    assert ended == [0]
