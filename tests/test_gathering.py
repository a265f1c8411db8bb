# SPDX-License-Identifier: Apache-2.0
"""Group commit: done once for all who called before, and nobody waits for ever."""

import concurrent.futures
import itertools
import multiprocessing
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from rbdstore import exceptions, gathering

KEY = "image"
# Long enough for the slowest machine: it is only waited for where something is wrong.
LIMIT = 60


class Gathering(gathering.Gathering):
    """One whose groups are called 1, 2, 3, ..., and which can be looked into."""

    def __init__(self):
        names = itertools.count(1)
        super().__init__(0, lambda: str(next(names)))

    def members(self):
        """How many are in the group that takes members."""
        group = self._open.get(KEY)
        return group.members if group else 0

    def waiting(self):
        """How many of those have done all there was to do before."""
        group = self._open.get(KEY)
        return group.members - group.preparing if group else 0


@pytest.fixture
def gathered():
    made = Gathering()
    yield made
    # Whatever happened, nobody is remembered.
    assert (made._open, made._served) == ({}, {})


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(64) as executor:
        yield executor


def until(is_so):
    end = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


class Work:
    """Something to be done, that takes until it is let go on, and counts."""

    def __init__(self, *errors):
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.calls = 0
        self._errors = list(errors)

    def __call__(self):
        self.calls += 1
        self.begun.set()
        # Not one long wait: a signal that comes right before it would be seen after it.
        until(self.go_on.is_set)
        if self._errors:
            raise self._errors.pop(0)
        return self


def share(gathered, do, key=KEY):
    with gathered.join(key) as member:
        return member.name, member.once(do)


def outcome(future):
    """What a call returned, or which error ended it."""
    try:
        return future.result(LIMIT)
    except BaseException as error:
        return error


@pytest.fixture
def busy(gathered, threads):
    """A group is being served, so that whoever calls now becomes a member of the next one."""
    work = Work()
    first = threads.submit(share, gathered, work)
    assert work.begun.wait(LIMIT)
    yield work
    work.go_on.set()
    assert first.result(LIMIT) == ("1", work)
    assert work.calls == 1


def call_together(gathered, threads, busy, work, count):
    """Have that many members of one group do something; return what became of each."""
    calls = [threads.submit(share, gathered, work) for _ in range(count)]
    until(lambda: gathered.waiting() == count)
    work.go_on.set()
    busy.go_on.set()
    return [outcome(call) for call in calls]


def test_one_who_is_alone(gathered):
    work = Work()
    work.go_on.set()
    assert share(gathered, work) == ("1", work)
    assert share(gathered, work) == ("2", work)
    assert work.calls == 2


def test_it_is_done_once_for_all_who_called_before(gathered, threads, busy):
    work = Work()
    # None of them gets what was begun before it called.
    found = call_together(gathered, threads, busy, work, 50)
    assert found == [("2", work)] * 50
    assert work.calls == 1


def test_other_keys_do_not_wait(gathered, busy):
    work = Work()
    work.go_on.set()
    assert share(gathered, work, "other image") == ("2", work)


def test_it_is_done_when_every_member_is_ready(gathered, threads, busy):
    ready = threading.Event()
    order = []

    def slow():
        with gathered.join(KEY) as member:
            assert ready.wait(LIMIT)
            order.append("ready")
            return member.once(lambda: order.append("done"))

    calls = [threads.submit(share, gathered, lambda: order.append("done")), threads.submit(slow)]
    until(lambda: gathered.members() == 2)
    busy.go_on.set()
    # The group takes nobody more, so it waits for the slow one by now.
    until(lambda: not gathered.members())
    assert order == []
    ready.set()
    for call in calls:
        call.result(LIMIT)
    assert order == ["ready", "done"]


def test_one_who_fails_before_it_fails_alone(gathered, threads, busy):
    work = Work()

    def fail():
        with gathered.join(KEY):
            raise LookupError

    calls = [threads.submit(share, gathered, work) for _ in range(3)]
    until(lambda: gathered.waiting() == 3)
    failing = threads.submit(fail)
    busy.go_on.set()
    assert work.begun.wait(LIMIT)
    # It is still here, because what it takes back the others need.
    assert not failing.done()
    work.go_on.set()
    assert isinstance(outcome(failing), LookupError)
    assert [outcome(call) for call in calls] == [("2", work)] * 3
    assert work.calls == 1


@pytest.mark.parametrize("error", [None, LookupError(), KeyboardInterrupt()])
def test_nobody_leaves_before_all_have_used_it(gathered, threads, busy, error):
    """Be it that one has failed by then."""
    using = threading.Event()
    may_end = threading.Event()

    def slow():
        with gathered.join(KEY) as member:
            member.once(int)
            using.set()
            assert may_end.wait(LIMIT)

    def fast():
        with gathered.join(KEY) as member:
            member.once(int)
            if error is not None:
                raise error

    calls = [threads.submit(slow), threads.submit(fast)]
    until(lambda: gathered.waiting() == 2)
    busy.go_on.set()
    assert using.wait(LIMIT)
    group = gathered._served, gathered._open
    until(lambda: group == ({}, {}))
    assert not calls[1].done()
    may_end.set()
    assert [outcome(call) for call in calls] == [None, error]


def test_the_first_failure_is_of_its_own_making(gathered, threads, busy):
    error = exceptions.LeaseLost("injected")
    work = Work(error)
    found = call_together(gathered, threads, busy, work, 5)
    assert found.count(error) == 1
    assert found.count(("2", work)) == 4
    assert work.calls == 2


def test_the_second_failure_is_of_all_who_wait(gathered, threads, busy):
    first, second = exceptions.Timeout("first"), exceptions.Timeout("second", errno=110)
    second.add_note("seen by all")
    work = Work(first, second)
    found = call_together(gathered, threads, busy, work, 5)
    assert work.calls == 2
    assert found.count(first) == found.count(second) == 1
    for error in found:
        if error is not first:
            assert (type(error), str(error), error.errno) == (exceptions.Timeout, "second", 110)
    # Each may note on its own what became of it.
    others = [error for error in found if error not in (first, second)]
    others[0].add_note("mine")
    assert [error.__notes__ for error in [second, *others[1:]]] == [["seen by all"]] * 3


def test_interrupts_are_of_nobody_else(gathered, threads, busy):
    work = Work(*(KeyboardInterrupt() for _ in range(4)))
    found = call_together(gathered, threads, busy, work, 5)
    assert sum(isinstance(each, KeyboardInterrupt) for each in found) == 4
    assert ("2", work) in found
    assert work.calls == 5


def test_nothing_is_left_of_a_group_whose_members_all_failed(gathered, threads, busy):
    work = Work(KeyboardInterrupt(), SystemExit())
    found = call_together(gathered, threads, busy, work, 2)
    assert {type(each) for each in found} == {KeyboardInterrupt, SystemExit}
    work = Work()
    work.go_on.set()
    assert share(gathered, work) == ("3", work)


@pytest.fixture
def ctrl_c(threads):
    """Interrupt the main thread, which runs the test, when it is time."""
    seen = threading.Event()

    def handle(_number, _frame):
        if not seen.is_set():
            seen.set()
            raise KeyboardInterrupt

    def interrupt(is_time):
        until(is_time)
        while not seen.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            # One that comes right before a thread begins to wait does not wake it.
            seen.wait(0.01)

    before = signal.signal(signal.SIGINT, handle)
    yield lambda is_time: threads.submit(interrupt, is_time)
    signal.signal(signal.SIGINT, before)


def share_until_interrupted(gathered, do, *go_on):
    with gathered.join(KEY) as member:
        try:
            member.once(do)
        finally:
            # The others' part, for which it waits now.
            for event in go_on:
                event.set()


def test_ctrl_c_while_it_is_done(gathered, threads, busy, ctrl_c):
    work, own = Work(), Work()
    call = threads.submit(share, gathered, work)
    until(lambda: gathered.waiting() == 1)
    # Either of the two may lead.
    ctrl_c(lambda: work.begun.is_set() or own.begun.is_set())
    busy.go_on.set()
    with pytest.raises(KeyboardInterrupt):
        share_until_interrupted(gathered, own, work.go_on)
    assert outcome(call)[1] is work


def test_ctrl_c_while_it_is_waited_for(gathered, threads, busy, ctrl_c):
    work, own = Work(), Work()
    call = threads.submit(share, gathered, work)
    until(lambda: gathered.waiting() == 1)
    ctrl_c(lambda: gathered.waiting() == 2)
    with pytest.raises(KeyboardInterrupt):
        share_until_interrupted(gathered, own, work.go_on, busy.go_on)
    assert outcome(call) == ("2", work)
    assert own.calls == 0


def test_ctrl_c_while_others_are_waited_for(gathered, threads, busy, ctrl_c):
    """Then it does not wait for them, and they are served all the same."""
    may_end = threading.Event()

    def stay():
        with gathered.join(KEY) as member:
            member.once(int)
            assert may_end.wait(LIMIT)
        return "served"

    def leave():
        with gathered.join(KEY) as member:
            busy.go_on.set()
            member.once(int)
            ctrl_c(lambda: member._group.members == 1)

    call = threads.submit(stay)
    until(lambda: gathered.waiting() == 1)
    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not call.done()
    may_end.set()
    assert outcome(call) == "served"


@pytest.mark.parametrize(
    ("step", "errors"),
    [
        ("_end", []),
        ("_forget", []),
        ("notify_all", []),
        ("_end_preparing", [LookupError()]),
        ("notify_all", [LookupError()]),
    ],
)
def test_an_interrupt_at_any_step_leaves_nobody_waiting(gathered, threads, busy, step, errors):
    """Of the one who leads, when it has been done, or has failed."""
    work = Work(*errors)

    def interrupt(frame, _event, _argument):
        called_here = frame.f_back.f_code.co_filename == gathering.__file__
        if work.calls and called_here and frame.f_code.co_name == step:
            sys.settrace(None)
            raise KeyboardInterrupt

    def lead():
        sys.settrace(interrupt)
        try:
            return share(gathered, work)
        finally:
            sys.settrace(None)

    leading = threads.submit(lead)
    until(lambda: gathered.waiting() == 1)
    calls = [threads.submit(share, gathered, work) for _ in range(3)]
    until(lambda: gathered.waiting() == 4)
    work.go_on.set()
    busy.go_on.set()
    assert [outcome(call) for call in calls] == [("2", work)] * 3
    assert isinstance(outcome(leading), KeyboardInterrupt)


def test_it_is_waited_for_as_long_as_there_are_some_who_come(gathered, threads, monkeypatch):
    work = Work()
    work.go_on.set()
    calls = []

    def somebody_comes(_seconds):
        if len(calls) < 3:
            calls.append(threads.submit(share, gathered, work))
            until(lambda: gathered.waiting() == 1 + len(calls))

    monkeypatch.setattr(gathering.time, "sleep", somebody_comes)
    assert share(gathered, work) == ("1", work)
    monkeypatch.undo()
    assert [outcome(call) for call in calls] == [("1", work)] * 3
    assert work.calls == 1


def test_it_is_not_waited_for_ever(gathered, threads, monkeypatch):
    work = Work()
    work.go_on.set()
    calls = []

    def somebody_comes(_seconds):
        calls.append(threads.submit(share, gathered, work))
        until(lambda: gathered.waiting() == 1 + len(calls))

    monkeypatch.setattr(gathering.time, "sleep", somebody_comes)
    share(gathered, work)
    monkeypatch.undo()
    assert work.calls == 1
    assert {outcome(call) for call in calls} == {("1", work)}


def test_many_who_come_and_fail_at_random(gathered, threads):
    begun = itertools.count(1)
    seen = [0]

    def live(number):
        dice = random.Random(number)
        ended = []
        for _ in range(30):
            before = seen[0]

            def do():
                seen[0] = mine = next(begun)
                if dice.random() < 0.2:
                    raise dice.choice([LookupError, KeyboardInterrupt])
                return mine

            try:
                with gathered.join(KEY) as member:
                    if dice.random() < 0.1:
                        raise LookupError
                    assert member.once(do) > before, "it was begun before the call"
                    if dice.random() < 0.1:
                        raise LookupError
                ended.append("ok")
            except (LookupError, KeyboardInterrupt) as error:
                ended.append(type(error).__name__)
        return ended

    ends = [
        end for call in [threads.submit(live, n) for n in range(20)] for end in call.result(120)
    ]
    assert len(ends) == 20 * 30
    assert set(ends) == {"ok", "LookupError", "KeyboardInterrupt"}


def test_a_child_process_waits_for_nobody(gathered, busy):
    work = Work()
    work.go_on.set()
    child = multiprocessing.get_context("fork").Process(target=share, args=(gathered, work))
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 0


_SERVICE = """
import eventlet
import eventlet.tpool

eventlet.monkey_patch()

import time

from rbdstore import gathering

gathered = gathering.Gathering(0.01, str)
begun = []


def do():
    begun.append(len(begun))
    eventlet.sleep(0.05)
    return begun[-1]


def call(_number):
    with gathered.join("image") as member:
        eventlet.sleep(0)
        return member.once(do)


def call_in_thread(number):
    return eventlet.tpool.execute(call, number)


pool = eventlet.GreenPool(40)
green = [pool.spawn(call, number) for number in range(20)]
native = [pool.spawn(call_in_thread, number) for number in range(5)]
with eventlet.Timeout(60):
    found = {each.wait() for each in green + native}
assert found == set(begun)
assert len(begun) < 25
print("done")
"""


def test_green_threads():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SERVICE],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
