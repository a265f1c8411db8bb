# SPDX-License-Identifier: Apache-2.0
"""Undo: only on failure, in reverse, all of it, and the first error stays the first."""

import functools

import pytest

from rbdstore import exceptions
from rbdstore.undo import Undo


class Boom(Exception):
    pass


@pytest.fixture
def undone():
    return []


def gone():
    raise exceptions.ImageNotFound("no such image")


def stuck(name):
    raise exceptions.InUse(f"{name} is open")


def run(steps, error=None):
    with Undo() as undo:
        for step, *args in steps:
            undo.add(step, *args)
        if error is not None:
            raise error


def notes(error):
    return getattr(error, "__notes__", [])


def test_nothing_is_undone_on_success(undone):
    run([(undone.append, 1)])
    assert undone == []


def test_steps_are_undone_in_reverse(undone):
    with pytest.raises(Boom):
        run([(undone.append, 1), (undone.append, 2), (undone.append, 3)], Boom)
    assert undone == [3, 2, 1]


def test_a_step_gets_its_arguments(undone):
    undo = Undo()
    undo.add(lambda *args, **kwargs: undone.append((args, kwargs)), 1, two=2)
    undo.__exit__(Boom, Boom(), None)
    assert undone == [((1,), {"two": 2})]


def test_a_failing_step_is_a_note_and_the_others_run(undone):
    with pytest.raises(Boom) as caught:
        run([(undone.append, "first"), (stuck, "volume-1"), (undone.append, "last")], Boom)
    assert undone == ["last", "first"]
    assert notes(caught.value) == [
        "could not take back stuck('volume-1',): volume-1 is open",
    ]


def test_a_failing_step_that_is_no_function_is_a_note():
    with pytest.raises(Boom) as caught:
        run([(functools.partial(stuck, "volume-1"),)], Boom)
    assert len(notes(caught.value)) == 1


def test_what_is_gone_already_is_no_failure():
    with pytest.raises(Boom) as caught:
        run([(gone,)], Boom)
    assert notes(caught.value) == []


def test_the_first_error_comes_out_as_it_is():
    first = Boom("first")
    with pytest.raises(Boom) as caught:
        run([(stuck, "volume-1")], first)
    assert caught.value is first
    assert str(first) == "first"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_are_failures_too(undone, error):
    with pytest.raises(error):
        run([(undone.append, 1)], error)
    assert undone == [1]


def test_what_has_not_been_done_is_not_undone(undone):
    undo = Undo()
    undo.add(undone.append, 1)
    undo.drop()
    undo.add(undone.append, 2)
    undo.__exit__(Boom, Boom(), None)
    assert undone == [2]
