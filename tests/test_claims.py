# SPDX-License-Identifier: Apache-2.0
"""Claims: a failure is taken back, and what was cut off after its effect can be repeated."""

import contextlib
import dataclasses
import threading
import time

import memory
import pytest
import scenes
from rbdstore_memory.pool import MemoryPool
from scenes import REQUEST, SECONDS, Boom, claim, draft, expect, noted, publish

from rbdstore import exceptions, spec
from rbdstore.driver import Parent
from rbdstore.names.claims import ANY, Claim, Journal
from rbdstore.testing import faults


@pytest.fixture
def cluster():
    made = memory.memory_cluster(pools=["volumes", "images"])
    yield made
    scenes.assert_tidy(made)


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


@pytest.fixture
def plan():
    return faults.Plan()


@pytest.fixture
def faulty(cluster, plan):
    """The same pool, seen through a driver that can be made to fail."""
    return faults.FaultyCluster(cluster, plan).open_pool("volumes")


# Holding


def test_a_claim_is_there_while_it_is_held(pool):
    with claim(pool, ["create", (1, 2)]):
        assert noted(pool) == Journal(["create", [1, 2]], "make")
        with pytest.raises(exceptions.InUse, match=r"pid \d+ is at work on it") as caught:
            claim(pool, wait=0).__enter__()
        assert caught.value.spec == spec.ImageSpec("volumes", "volume")
        # Other names are free.
        with Claim(pool, "other", REQUEST, SECONDS, effect="make"):
            pass


def test_it_is_held_for_longer_than_its_lease(pool):
    with claim(pool) as held:
        time.sleep(2 * SECONDS)
        with pytest.raises(exceptions.InUse):
            claim(pool, wait=0).__enter__()
        held.note()


def test_whoever_waits_gets_it(pool):
    order = []
    with claim(pool):
        waiting = threading.Thread(target=lambda: order.append(publish(pool)))
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", False]


def test_what_is_about_to_be_done_is_written_first(pool):
    link = Parent("images", "", "image", "nowhere", "snap")
    with draft(pool) as made:
        assert noted(pool).drafts == [made.draft]
        made.note(image_id="1f", parents=[link, link], outcome={"size": 1})
        made.remember([link])
        found = noted(pool)
    assert (found.image_id, found.parents, found.outcome) == ("1f", [link], {"size": 1})


# Success and failure


def test_success_leaves_what_was_made(pool):
    assert not publish(pool)
    assert pool.list_images() == ["volume"]
    assert scenes.read(pool, "volume") == b"data"


@pytest.mark.parametrize("error", [Boom(), exceptions.StorageFull("full"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(cluster, pool, error):
    with expect(type(error)) as caught, draft(pool) as made, made.create(8, order=None) as image:
        image.write(0, b"data")
        image.create_snap("snap")
        image.protect_snap("snap")
        raise error
    assert caught.value is error
    assert scenes.contents(cluster) == {}


def test_a_failure_of_a_clone_takes_back_the_snap_too(cluster, pool):
    scenes.make(pool, "source", b"data")
    before = scenes.contents(cluster)
    with expect(Boom), draft(pool) as made, pool.open("source", read_only=False) as source:
        source.create_snap("rbdstore.clone.1")
        made.clone(source, source.snaps()[0], None)
        raise Boom
    assert scenes.contents(cluster) == before


def test_after_its_effect_a_failure_leaves_what_a_repetition_adopts(pool):
    with expect(Boom), draft(pool) as made:
        with made.create(0, order=None):
            made.note(outcome={"size": 0})
        made.publish()
        raise Boom
    assert pool.list_images() == ["volume"]
    assert noted(pool).request == REQUEST
    with draft(pool, tuple(REQUEST)) as repeated:
        assert repeated.adopted
        assert repeated.outcome == {"size": 0}
    assert pool.list_images() == ["volume"]


def test_what_cannot_be_taken_back_yet_is_said_and_left_to_the_next(faulty, pool, plan):
    with expect(Boom) as caught, draft(faulty) as made:
        with made.create(0, order=None):
            pass
        plan.fail(1, exceptions.Unreachable("injected"), lasting=True)
        raise Boom
    plan.stop()
    assert caught.value.__notes__ == ["could not take back all of it yet: injected"]
    assert len(pool.list_images()) == 1
    assert not publish(pool)
    assert pool.list_images() == ["volume"]


def test_an_interrupt_of_the_taking_back_comes_out(faulty, pool, plan):
    with expect(KeyboardInterrupt), draft(faulty) as made:
        with made.create(0, order=None):
            pass
        plan.fail(2, KeyboardInterrupt())
        raise Boom
    plan.stop()
    # The name is free a moment later, and what is left is taken back by whoever is next.
    time.sleep(0.01)
    with claim(pool, ["other"], wait=0) as held:
        assert not held.adopted
    assert pool.list_images() == []


def test_work_that_is_done_stays_done_when_the_name_cannot_be_let_go(faulty, pool, plan):
    with draft(faulty) as made:
        with made.create(0, order=None):
            pass
        made.publish()
        plan.fail(1, exceptions.Unreachable("injected"), lasting=True)
    plan.stop()
    assert pool.list_images() == ["volume"]
    assert publish(pool)


@pytest.mark.parametrize("after", [False, True])
def test_a_name_that_was_perhaps_let_go(faulty, plan, after):
    with claim(faulty, effect="none"):
        plan.fail(1, exceptions.Timeout("injected"), after=after)
    plan.stop()


# Adoption


@dataclasses.dataclass
class Past:
    """What a dead one had noted, and what has the name now: nothing, that image, or another."""

    effect: str
    noted: str
    now: str
    adopted: bool


PASTS = [
    Past("make", "its", "its", True),
    Past("make", "its", "another", False),
    Past("make", "its", "", False),
    Past("make", "", "another", False),
    Past("make", "", "", False),
    Past("make", ANY, "another", True),
    Past("make", ANY, "", False),
    Past("remove", "its", "", True),
    Past("remove", "its", "another", True),
    Past("remove", "its", "its", False),
    Past("remove", "", "its", False),
    Past("remove", "", "", False),
    Past("give_up", "its", "", True),
    Past("give_up", "its", "another", True),
    Past("give_up", "its", "its", False),
    Past("none", "its", "its", False),
    Past("none", "its", "", False),
    Past("none", ANY, "its", False),
]


def prepare(pool, past):
    ids = {"": "", ANY: ANY, "its": scenes.make(pool, "its"), "another": "none"}
    scenes.make(pool, "another")
    if past.now:
        pool.rename(past.now, "volume")
    scenes.die(pool, "volume", Journal(REQUEST, past.effect, ids[past.noted]))


@pytest.mark.parametrize("past", PASTS, ids=str)
def test_adoption(pool, past):
    prepare(pool, past)
    before = sorted(pool.list_images())
    with claim(pool, effect=past.effect) as held:
        assert held.adopted is past.adopted
    assert sorted(pool.list_images()) == before


@pytest.mark.parametrize(
    "request_", [["create"], ["create", 2048], ["delete"], ["create", "1024"]]
)
@pytest.mark.parametrize("past", [past for past in PASTS if past.adopted], ids=str)
def test_only_the_same_request_adopts(pool, past, request_):
    prepare(pool, past)
    with claim(pool, request_, past.effect) as held:
        assert not held.adopted
        assert noted(pool).request == request_
        assert noted(pool).image_id == ""


def test_what_was_adopted_is_not_taken_back_by_a_failure(pool):
    prepare(pool, Past("make", "its", "its", True))
    with expect(Boom), draft(pool):
        raise Boom
    assert publish(pool)
    assert "volume" in pool.list_images()


# Giving names


class LyingPool(MemoryPool):
    """Says that it renamed when it did not, as librbd does when it lost a race."""

    def rename(self, name, new_name):
        pass


def test_a_rename_that_lost_a_race(cluster, pool):
    lying = LyingPool(cluster, pool._found)
    with pytest.raises(exceptions.Duplicate, match="gave the name away at the same time"):
        publish(lying)
    assert pool.list_images() == []


@pytest.mark.parametrize("after", [False, True])
def test_a_rename_that_nobody_knows_the_end_of(faulty, pool, plan, after):
    plan.watch()
    publish(faulty)
    number = plan.stop().index("Pool.rename") + 1
    pool.remove("volume")
    plan.fail(number, exceptions.Timeout("injected"), after=after)
    with contextlib.nullcontext() if after else pytest.raises(exceptions.Timeout):
        publish(faulty)
    plan.stop()
    assert pool.list_images() == (["volume"] if after else [])


def test_a_name_that_a_stranger_took_meanwhile(pool):
    with expect(exceptions.Duplicate), draft(pool) as made:
        made.check_free()
        with made.create(4, order=12):
            pass
        scenes.make(pool, "volume", b"theirs")
        made.publish()
    assert pool.list_images() == ["volume"]
    assert scenes.read(pool, "volume") == b"theirs"


def test_a_name_that_is_taken(pool):
    scenes.make(pool, "volume", b"theirs")
    taken = pytest.raises(exceptions.Duplicate, match="volumes/volume: the name is taken")
    with taken, draft(pool) as made:
        made.check_free()
    assert scenes.read(pool, "volume") == b"theirs"


# At every call


def test_an_interrupt_at_any_call_leaves_nothing_or_what_is_adopted(faulty, pool, plan):
    for number in range(1, 100):
        plan.fail(number, KeyboardInterrupt())
        try:
            publish(faulty)
        except KeyboardInterrupt:
            plan.stop()
        else:
            done = plan.stop()
            break
        assert pool.list_images() in ([], ["volume"])
        publish(pool)
        assert scenes.read(pool, "volume") == b"data"
        pool.remove("volume")
    assert number > len(done) > 10


@pytest.mark.parametrize("after", [False, True])
def test_a_claim_that_fails_at_its_first_calls_leaves_no_object(faulty, cluster, plan, after):
    plan.watch()
    entered = claim(faulty).__enter__()
    count = len(plan.stop())
    entered.__exit__(None, None, None)
    for number in range(1, count + 1):
        plan.fail(number, exceptions.Timeout("injected"), after=after)
        with pytest.raises(exceptions.Timeout):
            claim(faulty).__enter__()
        plan.stop()
        scenes.assert_tidy(cluster)
    assert count >= 3


def test_the_time_to_wait(pool):
    """By default long enough for the lease of a dead one to run out."""
    key = spec.lease_object("volume")
    assert pool.lease(key, "dead", SECONDS, "pid 1")
    with claim(pool):
        assert pool.lease_owner(key) != "pid 1"
