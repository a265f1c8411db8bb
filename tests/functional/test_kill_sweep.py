# SPDX-License-Identifier: Apache-2.0
"""Each operation, in a process that is killed right before each of its calls of the driver.

And at random moments inside those that change something. Whenever it is: a user sees either what
there was before or what was asked for; the operation can be repeated by another process, be it
before or after what was left is collected, or never; and once everything is deleted and collected
nothing is left in the cluster, down to its RADOS objects.

Some kills are tried, always the same, and all of them with ``RBDSTORE_ALL_FAULTS=1`` in the
environment.
"""

import collections
import concurrent.futures
import os
import random
import time

import faultcases
import mortal
import pytest
import rehearsals
from mortal import Kill
from rehearsals import LEASE_SECONDS, rehearse
from test_kill import CHANGES

from rbdstore import exceptions

# How many kills of all operations are tried where not all are, by clone format.
SAMPLE = {2: 30, 1: 10}
WORKERS = 12 if os.environ.get("RBDSTORE_ALL_FAULTS") else 6
# So far into a call that changes something, in seconds.
LONGEST = 0.06

# What one who repeats an operation may be told that was done, and whose maker died after that.
DONE = {"Duplicate", "ImageNotFound", "NotFound"}

WHOLE = not rehearsals.RbdPlace.sampled
GROUPS = (
    {case.name: [case] for case in faultcases.EVERY_CASE}
    if WHOLE
    else {"some": faultcases.EVERY_CASE}
)
BY_FORMAT = [
    pytest.param(cases, clone_format, id=f"{name}-{clone_format}")
    for name, group in GROUPS.items()
    for clone_format in SAMPLE
    if (cases := [case for case in group if clone_format in case.formats])
]


@pytest.fixture(scope="module")
def place():
    with rehearsals.rbd_place(WORKERS) as place:
        yield place


def kills(rehearsal):
    """Before each call, and inside those that change something; and what is done then."""
    dice = random.Random(rehearsal.case.name)
    for n, call in enumerate(rehearsal.calls, 1):
        yield rehearsal, Kill(n, call), dice.choice([repeat, collect_and_repeat])
        if call in CHANGES:
            yield rehearsal, Kill(n, call), give_up
            later = dice.uniform(0, LONGEST)
            yield rehearsal, Kill(n, call, later), dice.choice([repeat, give_up])


def is_killed(place, rehearsal, kill, what):
    """Kill an operation, and see what can be done then; return whether it was killed."""
    case = rehearsal.case
    with place.world(rehearsal.clone_format, case.options) as world:
        case.prepare(world)
        ended = mortal.carry_out(place, world, rehearsal, kill)
        assert ended in (None, ("ok", "")), ended
        seen = world.look()
        check_seen(rehearsal, seen)
        for pool, name in world.hidden(seen):
            # librbd gives a name before there is an image.
            with pytest.raises(exceptions.ImageNotFound):
                pool.open(name)
        # Nobody who makes an image waits for another's lease, nor who deletes it for a watcher.
        time.sleep(LEASE_SECONDS)
        what = give_up if ended else what
        what(place, world, rehearsal)
    return ended is None


# What is done after a kill


def repeat(place, world, rehearsal):
    repeat_alone(place, world, rehearsal)
    world.delete_everything()
    world.collect()


def collect_and_repeat(place, world, rehearsal):
    world.collect()
    check_seen(rehearsal, world.observe())
    repeat_alone(place, world, rehearsal)
    world.delete_everything()


def give_up(place, world, rehearsal):
    # Something that was being made may need what is deleted.
    world.delete_everything(in_use="defer")
    world.collect()


def repeat_alone(place, world, rehearsal):
    whole = world.look() == rehearsal.after
    told, why = mortal.carry_out(place, world, rehearsal)
    # Of several at once some may have been done by one who could tell nobody.
    done = told in DONE and (whole or rehearsal.case.partly)
    assert told == "ok" or done, f"{told}: {why}"
    seen = world.observe()
    assert seen == rehearsal.after, f"not what was asked for: {seen.keys()}"
    assert world.parents() == rehearsal.parents_after


def check_seen(rehearsal, seen):
    """See that what is there is what was there, or what was asked for."""
    if rehearsal.case.partly:
        assert rehearsal.before.items() <= seen.items() <= rehearsal.after.items()
    else:
        assert seen in (rehearsal.before, rehearsal.after), f"half done: {seen.keys()}"


@pytest.mark.timeout(7200 if WHOLE else 600)
@pytest.mark.parametrize(("cases", "clone_format"), BY_FORMAT)
def test_an_operation_that_is_killed_can_be_repeated(place, cases, clone_format):
    wrong, killed = [], collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(place.workers) as threads:
        rehearsed = threads.map(lambda case: rehearse(case, clone_format, place), cases)
        points = [point for rehearsal in rehearsed for point in kills(rehearsal)]
        if place.sampled:
            points = random.Random(clone_format).sample(points, SAMPLE[clone_format])
        futures = {threads.submit(is_killed, place, *point): point for point in points}
        for future in concurrent.futures.as_completed(futures):
            rehearsal, kill, what = futures[future]
            if error := future.exception():
                problem = f"{what.__name__}: {type(error).__name__}: {error}"
                wrong.append(f"{rehearsal.case}: {kill}, {problem}")
            elif future.result():
                killed["inside" if kill.later else "before"] += 1
    print(
        f"{len(points)} tries: killed before a call {killed['before']}, inside one"
        f" {killed['inside']}, too late {len(points) - len(wrong) - killed.total()}"
    )
    assert not wrong, "\n".join(sorted(wrong))
