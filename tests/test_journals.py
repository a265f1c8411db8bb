# SPDX-License-Identifier: Apache-2.0
"""Journals: what a dead one left is put right by whoever is next, and by nobody else."""

import contextlib
import dataclasses
import json
import shlex

import memory
import pytest
import scenes
from scenes import REQUEST, Boom, claim, draft, expect, noted, publish

from rbdstore import exceptions, records
from rbdstore.driver import Parent
from rbdstore.names.claims import Journal
from rbdstore.testing import faults

KEY = "rbdstore.lease.volume"


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


# The journal


FULL = Journal(
    request=["clone", "rbd://größe", None, 5, True, ["list"]],
    effect="make",
    image_id="1f",
    outcome={"size": 5, "checksum": "d41d8"},
    drafts=["volume.1.partial", "größe.2.partial"],
    deleted=["2a", "2b"],
    parents=[Parent("images", "", "画像", "3c", "snap"), Parent("p", "n", "i", "4d", "s\n")],
)


@pytest.mark.parametrize("journal", [FULL, Journal([], "none"), Journal(["delete"], "remove")])
def test_a_journal_is_read_as_it_was_written(journal):
    assert Journal.from_bytes(journal.to_bytes()) == journal


def changed(**values):
    written = json.loads(FULL.to_bytes())
    written.update(values)
    return json.dumps({key: value for key, value in written.items() if value is not ...}).encode()


FOREIGN = {
    "garbage": b"\0\x01\x02",
    "no UTF-8": b"\xff\xfe{}",
    "half of one": FULL.to_bytes()[:40],
    "two of them": FULL.to_bytes() * 2,
    "null": b"null",
    "a number": b"5",
    "a text": b'"text"',
    "a list": b"[]",
    "nothing in it": b"{}",
    "very deep": b"[" * 100_000,
    "a later release's": changed(version=2),
    "a version that is a text": changed(version="1"),
    "no version": changed(version=...),
    "no request": changed(request=...),
    "no effect": changed(effect=...),
    "no parents": changed(parents=...),
    "another field": changed(later=1),
    "a request of text": changed(request="create"),
    "an unknown effect": changed(effect="explode"),
    "no effect but null": changed(effect=None),
    "an id that is a number": changed(image_id=5),
    "an outcome that is a list": changed(outcome=[]),
    "drafts that are a text": changed(drafts="volume"),
    "drafts that are null": changed(drafts=None),
    "a draft that is a number": changed(drafts=[5]),
    "a draft that is no draft's name": changed(drafts=["neighbour"]),
    "deleted ones that are a text": changed(deleted="1f"),
    "a deleted one that is null": changed(deleted=[None]),
    "parents that are null": changed(parents=None),
    "a parent that is a text": changed(parents=["images/image@snap"]),
    "a parent without a snap": changed(parents=[{"pool": "images"}]),
    "a parent with more": changed(parents=[{**dataclasses.asdict(FULL.parents[0]), "x": 1}]),
    "a parent whose pool is a number": changed(
        parents=[{**dataclasses.asdict(FULL.parents[0]), "pool": 5}]
    ),
}


@pytest.mark.parametrize("written", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_journal_is_left_alone_and_named(cluster, pool, written):
    scenes.make(pool, "volume", b"data")
    scenes.make(pool, "v", b"one letter of a name")
    scenes.make(pool, "neighbour", b"data")
    scenes.die(pool, "volume", written)
    before = scenes.contents(cluster)
    for _ in range(2):
        with pytest.raises(
            exceptions.ClusterError, match=f"{KEY} in pool volumes .* `rados -p volumes rm {KEY}`"
        ):
            claim(pool).__enter__()
        assert scenes.contents(cluster) == before
    # What the text tells to do.
    pool.remove_object(KEY)
    with claim(pool, effect="none") as held:
        assert not held.adopted


def test_what_the_text_tells_to_do_can_be_pasted():
    pool = memory.memory_cluster(pools=["volumes/tenant"]).open_pool("volumes", "tenant")
    scenes.die(pool, "volume", b"?")
    with pytest.raises(exceptions.ClusterError) as raised:
        claim(pool).__enter__()
    _, command, _ = str(raised.value).split("`")
    assert shlex.split(command) == ["rados", "-p", "volumes", "-N", "tenant", "rm", KEY]


# What dead ones left


def test_the_leftovers_of_a_dead_one_are_finished(cluster, pool):
    images = cluster.open_pool("images")
    scenes.make(images, "image", b"data")
    link = scenes.snapshot(images, "image", "rbdstore.clone.1")
    images.clone(images, "image", link.snap, "volume.1.partial")
    scenes.make(images, "volume.2.partial")
    scenes.make(images, "old", b"data")
    with images.open("old") as old:
        records.mark_deleted(images, old.id, "old")
    images.trash_move("old")
    scenes.die(
        images,
        "volume",
        Journal(
            ["other"],
            "make",
            drafts=["volume.1.partial", "volume.2.partial", "volume.3.partial"],
            deleted=[old.id, "never was"],
            parents=[link],
        ),
    )
    with claim(images) as held:
        assert not held.adopted
        assert noted(images) == Journal(REQUEST, "make")
    assert images.list_images() == ["image"]
    assert scenes.snaps(images, "image") == []


@contextlib.contextmanager
def opened_deleted(pool):
    """A deleted image in the trash that somebody has open."""
    scenes.make(pool, "old", b"data")
    with pool.open("old", read_only=False) as image:
        records.mark_deleted(pool, image.id, "old")
        pool.trash_move("old")
        yield image.id


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_in_use_is_taken_over_until_it_can_be_finished(pool, fails):
    with opened_deleted(pool) as image_id:
        scenes.die(pool, "volume", Journal(["other"], "remove", image_id, deleted=[image_id]))
        with contextlib.suppress(Boom), claim(pool, ["this"]):
            assert noted(pool) == Journal(["this"], "make", deleted=[image_id])
            if fails:
                raise Boom
        assert noted(pool).deleted == [image_id]
        assert scenes.trash(pool) == ["old"]
    with claim(pool, ["a third"]):
        assert scenes.trash(pool) == []


def test_a_deletion_that_must_wait_is_left_in_the_journal(pool):
    image_id = scenes.make(pool, "volume", b"data")
    with claim(pool, ["delete"], "remove") as held:
        held.note_deletion(image_id, [])
        records.mark_deleted(pool, image_id, "volume")
        with pool.open("volume", read_only=False):
            pool.trash_move("volume")
            held.purge(())
    assert scenes.trash(pool) == ["volume"]
    with claim(pool, ["delete"], "remove") as repeated:
        assert repeated.adopted
        assert scenes.trash(pool) == []


def test_a_draft_in_use_is_kept_and_so_is_the_journal(pool):
    journal = Journal(REQUEST, "make", drafts=["volume.1.partial"])
    scenes.make(pool, "volume.1.partial")
    with pool.open("volume.1.partial", read_only=False):
        scenes.die(pool, "volume", journal)
        with pytest.raises(exceptions.InUse, match="opened by"):
            claim(pool).__enter__()
        assert noted(pool) == journal
        assert pool.list_images() == ["volume.1.partial"]
    with claim(pool):
        assert pool.list_images() == []


def test_whoever_dies_finishing_leaves_it_to_the_third(faulty, pool, plan):
    """At whichever call of the driver that is."""
    journal = Journal(REQUEST, "make", drafts=["volume.1.partial"])
    for number in range(1, 100):
        scenes.make(pool, "volume.1.partial")
        scenes.die(pool, "volume", journal)
        plan.fail(number, KeyboardInterrupt())
        try:
            with claim(faulty, effect="none"):
                done = plan.stop()
        except KeyboardInterrupt:
            plan.stop()
        else:
            break
        with claim(pool, effect="none"):
            assert pool.list_images() == []
    assert number > len(done) > 5
    assert pool.list_images() == []


# A lease that was lost


def test_who_lost_the_lease_removes_its_own_draft_and_nothing_else(cluster, pool):
    with expect(exceptions.LeaseLost), draft(pool) as late:
        scenes.run_out(pool, "volume")
        with draft(pool, ["successor"]) as successor:
            with successor.create(4, order=12) as image:
                image.write(0, b"new!")
            # Held up until now, the first goes on, and learns of it from the journal only.
            with late.create(4, order=12):
                pass
    assert pool.list_images() == []


def test_the_successor_of_one_who_lost_the_lease_keeps_everything(pool):
    with contextlib.ExitStack() as successors:
        with expect(exceptions.LeaseLost), draft(pool) as late:
            scenes.run_out(pool, "volume")
            successor = successors.enter_context(draft(pool, ["successor"]))
            with successor.create(4, order=12) as image:
                image.write(0, b"new!")
            with late.create(4, order=12):
                pass
        # The first has given up, and taken back what it made.
        assert pool.list_images() == [successor.draft]
        assert noted(pool).request == ["successor"]
        with pytest.raises(exceptions.InUse):
            claim(pool, wait=0).__enter__()
        successor.publish()
    assert scenes.read(pool, "volume") == b"new!"


def test_who_lost_the_lease_gives_no_name(pool):
    with expect(exceptions.LeaseLost), draft(pool) as late:
        with late.create(4, order=12):
            pass
        scenes.run_out(pool, "volume")
        publish(pool, ["successor"], b"theirs")
        late.publish()
    assert pool.list_images() == ["volume"]
    assert scenes.read(pool, "volume") == b"theirs"


def test_who_lost_the_lease_to_nobody_is_put_right_by_the_next(pool):
    with expect(exceptions.LeaseLost), draft(pool) as late:
        with late.create(4, order=12):
            pass
        scenes.run_out(pool, "volume")
        late.publish()
    assert pool.list_images() == []
    assert not publish(pool)


def test_what_was_published_before_the_lease_was_lost_stays(pool):
    with draft(pool) as late:
        with late.create(4, order=12):
            pass
        late.publish()
        scenes.run_out(pool, "volume")
    assert pool.list_images() == ["volume"]
    assert publish(pool)
