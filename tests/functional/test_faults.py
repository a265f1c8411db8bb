# SPDX-License-Identifier: Apache-2.0
"""Each operation, cut off at each of its calls of the driver.

Whichever call fails, be it once it was done, and whatever the error: a user sees either what there
was before or what was asked for; the operation can be repeated; and nothing is left in the cluster
once everything is deleted. On the example driver in memory every call of every operation is tried;
on a real cluster some, always the same, and all of them with ``RBDSTORE_ALL_FAULTS=1`` in the
environment.
"""

import concurrent.futures
import inspect
import os
import random
import time

import faultcases
import memory
import pytest
import rehearsals
from rehearsals import LEASE_SECONDS, rehearse

from rbdstore import driver, exceptions
from rbdstore.testing import faults

# How many faults of an operation are tried on a real cluster, by clone format, and at once.
SAMPLE = {2: 6, 1: 1}
WORKERS = 4


@pytest.fixture(scope="module", params=["memory", "rbd"])
def place(request):
    if request.param == "memory":
        yield rehearsals.MemoryPlace()
        return
    with rehearsals.rbd_place(WORKERS) as place:
        yield place


def is_cut_off(world, rehearsal, fault):
    """Carry an operation out with a fault; return whether it failed."""
    rehearsal.case.prepare(world)
    error = fault.error("injected")
    world.plan.fail(fault.n, error, after=fault.after, lasting=fault.lasting)
    try:
        rehearsal.case.act(world)
        return False
    except BaseException as raised:
        if raised is not error:
            raise
    finally:
        world.plan.stop()
    seen = world.observe()
    if rehearsal.case.partly:
        assert rehearsal.before.items() <= seen.items() <= rehearsal.after.items()
    else:
        assert seen in (rehearsal.before, rehearsal.after), f"half done: {seen.keys()}"
    # A lease that was let go of ends a moment later; one that could not be, in its own time.
    time.sleep(LEASE_SECONDS if fault.lasting else 0.01)
    return True


def repeat(world, rehearsal, fault):
    """See that an operation that was cut off can be repeated."""
    if is_cut_off(world, rehearsal, fault):
        try:
            rehearsal.case.act(world)
        except (exceptions.Duplicate, exceptions.NotFound):
            # An interrupt may come when all is done and nothing is left to say so.
            if fault.error is not KeyboardInterrupt:
                raise
    seen = world.observe()
    assert seen == rehearsal.after, f"not what was asked for: {seen.keys()}"
    assert world.parents() == rehearsal.parents_after
    world.delete_everything()


def give_up(world, rehearsal, fault):
    """See that what was cut off can be deleted instead, as Cinder does it."""
    is_cut_off(world, rehearsal, fault)
    for name in rehearsal.after.keys() - rehearsal.before.keys():
        world.delete(name)
    world.delete_everything()


def try_all(place, points, check=repeat):
    """Make a check at each of the points, in a world of its own."""

    def carry_out(rehearsal, fault):
        with place.world(rehearsal.clone_format, rehearsal.case.options) as world:
            check(world, rehearsal, fault)

    wrong = []
    with concurrent.futures.ThreadPoolExecutor(place.workers) as pool:
        futures = {pool.submit(carry_out, *point): point for point in points}
        for future in concurrent.futures.as_completed(futures):
            if error := future.exception():
                rehearsal, fault = futures[future]
                call = rehearsal.calls[fault.n - 1]
                wrong.append(f"{rehearsal.case}: {fault}, {call}: {type(error).__name__}: {error}")
    print(f"{len(points)} faults")
    assert not wrong, "\n".join(sorted(wrong))


def some(points, count):
    """A few of the points, always the same."""
    chosen = random.Random(str(points[0][0].case))
    return points if len(points) <= count else chosen.sample(points, count)


def is_sampled(place, case):
    return place.sampled or (case.costly and not os.environ.get("RBDSTORE_ALL_FAULTS"))


def cases(*names):
    found = [case for case in faultcases.CASES if case.name in names]
    assert len(found) == len(names)
    return found


@pytest.mark.parametrize(
    ("case", "clone_format"),
    [
        pytest.param(case, clone_format, id=f"{case}-{clone_format}")
        for case in faultcases.CASES
        for clone_format in case.formats
    ],
)
def test_an_operation_that_is_cut_off_can_be_repeated(place, case, clone_format):
    points = rehearse(case, clone_format).timeouts()
    try_all(place, some(points, SAMPLE[clone_format]) if is_sampled(place, case) else points)


@pytest.mark.parametrize("case", [case for case in faultcases.CASES if case.makes], ids=str)
def test_what_is_cut_off_and_given_up_leaves_nothing(place, case):
    points = rehearse(case).timeouts()
    try_all(place, some(points, 2) if is_sampled(place, case) else points, give_up)


def fail_alone(world, rehearsal, fault):
    """See that one fault is one caller's failure, and that the others have what they wanted."""
    is_cut_off(world, rehearsal, fault)
    assert world.failed <= 1
    assert len(world.done) == 3 - world.failed
    assert world.observe().keys() >= world.done
    rehearsal.case.act(world)
    assert world.observe() == rehearsal.after
    assert world.parents() == rehearsal.parents_after
    world.delete_everything()


@pytest.mark.parametrize(
    "case", [case for case in faultcases.CASES if "three" in case.name], ids=str
)
def test_one_of_several_at_once_fails_alone(place, case):
    points = rehearse(case).timeouts() + rehearse(case).every(exceptions.PermissionDenied)
    try_all(place, some(points, 6) if place.sampled else points, fail_alone)


def test_an_operation_can_be_repeated_after_an_outage(place):
    points = []
    for case in faultcases.CASES[:: 6 if place.sampled else 1]:
        # A snapshot that could be neither protected nor taken back is there when that is repeated.
        if case.name != "create-snapshot":
            outages = rehearse(case).every(exceptions.Unreachable, lasting=True)
            points += some(not_at_the_end(outages), 3 if place.sampled else 6)
    try_all(place, points)


@pytest.mark.parametrize("error", [exceptions.PermissionDenied, exceptions.StorageFull])
def test_a_refusal_at_any_call_leaves_nothing(place, error):
    points = []
    for case in cases("add-image", "clone-image", "clone-volume", "create-from-snapshot"):
        refusals = not_at_the_end(rehearse(case).every(error))
        points += some(refusals, 4) if place.sampled else refusals
    try_all(place, points)


def test_an_interrupt_at_any_call_leaves_nothing(place):
    points = []
    for case in cases("add-image", "clone-volume", "delete-clone"):
        rehearsal = rehearse(case)
        interrupts = not_at_the_end(rehearsal.every(KeyboardInterrupt))
        interrupts += rehearsal.every(KeyboardInterrupt, after=True)
        points += some(interrupts, 4) if place.sampled else interrupts
    try_all(place, points)


def not_at_the_end(points):
    """Those where more is left to do than to let go of a lease.

    Once the work is done there is no second chance to remove the lease's object.
    """
    return [
        (rehearsal, fault)
        for rehearsal, fault in points
        if rehearsal.calls[fault.n - 1] != "Pool.remove_leased"
    ]


# The wrapper itself


@pytest.mark.parametrize(
    ("abstract", "wrapper"),
    [
        (driver.Cluster, faults.FaultyCluster),
        (driver.Pool, faults.FaultyPool),
        (driver.Image, faults.FaultyImage),
    ],
)
def test_every_method_of_the_seam_is_wrapped(abstract, wrapper):
    # The last of these is made of two others, each of which is a call.
    inherited = {"spec", "__enter__", "__exit__", "open_live"}
    names = {
        name
        for name, member in vars(abstract).items()
        if inspect.isfunction(member) or isinstance(member, property)
    } - inherited
    assert names <= set(vars(wrapper)) | {"__init__"}
    for name in names - {"close"}:
        ours, theirs = vars(wrapper)[name], vars(abstract)[name]
        if not isinstance(theirs, property):
            assert arguments(ours) == arguments(theirs)


def arguments(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.fixture
def wrapped():
    plan = faults.Plan()
    return faults.FaultyCluster(memory.memory_cluster(pools=["rbd"]), plan), plan


def test_what_is_opened_through_the_wrapper_leads_back_to_it(wrapped):
    cluster, _plan = wrapped
    pool = cluster.open_pool("rbd")
    pool.create("image", 0)
    with pool.open("image") as image:
        assert isinstance(image, driver.Image)
        assert image.pool is pool
        assert image.pool.cluster is cluster
        assert str(image.spec) == "rbd/image"


def test_calls_are_counted_by_name_and_anew(wrapped):
    cluster, plan = wrapped
    pool = cluster.open_pool("rbd")
    assert plan.stop() == ("Cluster.open_pool",)
    pool.create("image", 0)
    with pool.open("image") as image:
        image.size()
    assert plan.stop() == ("Pool.create", "Pool.open", "Image.size")
    assert plan.stop() == ()


def test_calls_of_many_threads_are_all_counted(wrapped):
    cluster, plan = wrapped
    pool = cluster.open_pool("rbd")
    plan.fail(2000, exceptions.Timeout("injected"))

    def work(_number):
        failed = 0
        for _ in range(500):
            try:
                pool.list_images()
            except exceptions.Timeout:
                failed += 1
        return failed

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == 1
    assert len(plan.stop()) == 4000


def test_an_error_comes_instead_of_the_call_or_after_it(wrapped):
    cluster, plan = wrapped
    pool = cluster.open_pool("rbd")
    plan.fail(2, exceptions.StorageFull("injected"))
    pool.create("first", 0)
    with pytest.raises(exceptions.StorageFull, match="injected"):
        pool.create("second", 0)
    pool.create("third", 0)
    plan.fail(1, exceptions.Timeout("injected"), after=True)
    with pytest.raises(exceptions.Timeout, match="injected"):
        pool.create("fourth", 0)
    assert pool.list_images() == ["first", "third", "fourth"]


def test_an_image_whose_opening_fails_afterwards_is_not_left_open(wrapped):
    cluster, plan = wrapped
    pool = cluster.open_pool("rbd")
    pool.create("image", 0)
    plan.fail(1, exceptions.Timeout("injected"), after=True)
    with pytest.raises(exceptions.Timeout):
        pool.open("image", read_only=False)
    pool.remove("image")


def test_a_lasting_error_ends_with_the_plan(wrapped):
    cluster, plan = wrapped
    pool = cluster.open_pool("rbd")
    plan.fail(2, exceptions.Unreachable("injected"), lasting=True)
    pool.list_images()
    for _ in range(3):
        with pytest.raises(exceptions.Unreachable):
            pool.list_images()
    plan.stop()
    assert pool.list_images() == []
