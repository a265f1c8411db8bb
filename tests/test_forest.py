# SPDX-License-Identifier: Apache-2.0
"""The forest while images come and go under whoever looks, and where what is told contradicts.

What it shows of images that stay is in ``services/test_forest.py``.
"""

import dataclasses

import memory
import pytest
import scenes
from rbdstore_memory.image import MemoryImage
from rbdstore_memory.pool import MemoryPool

from rbdstore import exceptions
from rbdstore.driver import Parent
from rbdstore.testing import faults
from rbdstore.views import forest
from rbdstore.views.looking import Branch, Tree

NAMES = {"alone", "image", "child", "grandchild", "other"}


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["images", "volumes"])


@pytest.fixture
def pool(cluster):
    """A pool with a chain of clones, two clones of one snap, and an image that stands alone."""
    found = cluster.open_pool("volumes")
    scenes.make(found, "alone", b"data")
    scenes.make(found, "image", b"data")
    clone(found, "image", "child")
    clone(found, "child", "grandchild")
    found.clone(found, "image", "snap", "other")
    return found


def clone(pool, name, new_name):
    scenes.snapshot(pool, name, "snap")
    pool.clone(pool, name, "snap", new_name)


def look(*pools):
    return {tree.name: tree for tree in forest.look(dict.fromkeys(pools, 5))}


def clones(tree):
    return {clone.name for clone in tree.clones}


# Coming and going


def test_one_that_goes_is_left_out(monkeypatch, pool):
    lists = [["image", "child", "grandchild", "other", "alone", "gone"], sorted(NAMES)]
    monkeypatch.setattr(MemoryPool, "list_images", lambda self: lists.pop(0))
    assert look(pool).keys() == NAMES
    assert lists == []


def test_one_that_is_listed_and_cannot_be_opened(monkeypatch, pool):
    monkeypatch.setattr(MemoryPool, "list_images", lambda self: [*NAMES, "hollow"])
    found = look(pool)
    assert found.keys() == NAMES | {"hollow"}
    assert "cannot be opened" in found["hollow"].problem
    assert (found["hollow"].kind, found["hollow"].depth) == ("unknown", None)


def test_one_that_comes_is_found_by_its_relations(monkeypatch, pool):
    """Neither the new parent of an image was listed, nor a new clone."""
    monkeypatch.setattr(MemoryPool, "list_images", lambda self: ["alone", "child"])
    found = look(pool)
    assert found.keys() == NAMES
    assert found["image"].depth == 0
    assert found["grandchild"].depth == 2
    assert clones(found["image"]) == {"child", "other"}
    assert not any(tree.outside or tree.problem for tree in found.values())


def test_one_that_is_flattened_meanwhile(monkeypatch, pool):
    """Its parent was removed before it could be looked at."""
    parent, told = MemoryImage.parent, []

    def gone_at_first(self):
        if self.name == "alone" and not told:
            told.append(self.name)
            return Parent("volumes", "", "gone", "no such id", "snap")
        return parent(self)

    monkeypatch.setattr(MemoryImage, "parent", gone_at_first)
    found = look(pool)
    assert told
    assert found.keys() == NAMES
    assert (found["alone"].parent, found["alone"].depth) == (None, 0)


def test_a_parent_that_is_not_there(monkeypatch, pool):
    parent = MemoryImage.parent
    lost = Parent("volumes", "", "lost", "no such id", "snap")
    monkeypatch.setattr(
        MemoryImage, "parent", lambda self: lost if self.name == "alone" else parent(self)
    )
    found = look(pool)
    assert found.keys() == NAMES | {"lost"}
    assert found["lost"].problem
    assert clones(found["lost"]) == {"alone"}
    assert found["alone"].depth is None


def test_a_snap_that_goes(monkeypatch, pool):
    snaps = MemoryImage.snaps

    def one_too_many(self):
        return [*snaps(self), dataclasses.replace(snaps(self)[0], id=1 << 40)]

    monkeypatch.setattr(
        MemoryImage, "snaps", lambda self: one_too_many(self) if snaps(self) else []
    )
    found = look(pool)
    assert found.keys() == NAMES
    assert len(found["image"].snaps) == 1


def test_a_clone_that_its_parent_does_not_know(monkeypatch, pool):
    """A flatten that was killed took it off the list, and left it a clone."""
    monkeypatch.setattr(MemoryImage, "children", lambda self, snap_id: [])
    found = look(pool)
    assert clones(found["image"]) == {"child", "other"}
    assert found["grandchild"].depth == 2


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ImageNotFound("injected"),
        exceptions.PermissionDenied("injected"),
        exceptions.ClusterError("injected"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_one_does_not_fail_the_others(cluster, pool, error):
    plan = faults.Plan()
    faulty = faults.FaultyCluster(cluster, plan).open_pool("volumes")
    plan.watch()
    look(faulty)
    count = len(plan.stop())
    assert count > 50
    for n in range(1, count + 1):
        plan.fail(n, error)
        try:
            found = look(faulty)
        except exceptions.RbdStoreError:
            assert plan.stop()[n - 1] in ("Cluster.fsid", "Pool.list_images", "Pool.trash_list")
        else:
            plan.stop()
            assert len(NAMES & found.keys()) >= len(NAMES) - 1
            assert sum(bool(tree.problem) for tree in found.values()) <= 1


@pytest.mark.parametrize("error", [exceptions.Unreachable, exceptions.Timeout])
def test_a_cluster_that_does_not_answer_fails_the_whole(cluster, pool, error):
    plan = faults.Plan()
    faulty = faults.FaultyCluster(cluster, plan).open_pool("volumes")
    plan.fail(20, error("injected"), lasting=True)
    with pytest.raises(error):
        look(faulty)


def test_pools_of_several_clusters(pool):
    other = memory.memory_cluster(pools=["volumes"]).open_pool("volumes")
    with pytest.raises(exceptions.InvalidInput):
        look(pool, other)


# Putting it together


def link(name, snap="snap"):
    return Parent("volumes", "", name, f"id-{name}", snap)


def told(name, parent=None, snap_parent=None, snap="snap"):
    branch = Branch(snap, parent=snap_parent)
    return Tree("volumes", "", name, f"id-{name}", "volume", parent=parent, snaps=(branch,))


def grown(*trees):
    found = list(forest.grow(trees, {("volumes", ""): 5}))
    assert len({tree.id for tree in found}) == len(found)
    return {tree.name: tree for tree in found}


def test_the_depth_goes_by_the_snap():
    """Its parent stays a clone's ancestor when the image has none any more, and the reverse."""
    found = grown(
        told("a"), told("b", None, link("a")), told("c", link("b")), told("d", link("a"), None)
    )
    assert {name: tree.depth for name, tree in found.items()} == {"a": 0, "b": 0, "c": 2, "d": 1}
    # It is not a clone, but its snapshot is.
    assert clones(found["a"]) == {"b", "d"}


def test_a_snap_that_was_renamed():
    clone_of_old_name = told("b", link("a", "old"))
    parent = dataclasses.replace(
        told("a"), snaps=(Branch("new", 1, clones=(told("b"),)), Branch("snap", 2))
    )
    found = grown(parent, clone_of_old_name)
    assert [(snap.name, len(snap.clones)) for snap in found["a"].snaps] == [
        ("new", 1),
        ("snap", 0),
    ]


def test_a_snap_that_is_not_known():
    found = grown(told("a"), told("b", link("a", "other")))
    assert [(snap.name, len(snap.clones)) for snap in found["a"].snaps] == [
        ("snap", 0),
        ("other", 1),
    ]


def test_a_circle_has_an_end():
    found = grown(
        told("a", link("c"), link("c")),
        told("b", link("a"), link("a")),
        told("c", link("b"), link("b")),
        told("self", link("self"), link("self")),
        told("below", link("b")),
    )
    assert found.keys() == {"a", "b", "c", "self", "below"}
    assert {tree.depth for tree in found.values()} == {None}


def test_the_limit():
    chain = [told("v0")]
    for number in range(1, 8):
        above = link(f"v{number - 1}")
        chain.append(told(f"v{number}", above, above))
    found = grown(*chain)
    assert [name for name, tree in found.items() if tree.is_too_deep] == ["v6", "v7"]
    unlimited = forest.grow(chain, {("volumes", ""): 0})
    assert not any(tree.is_too_deep for tree in unlimited)


def test_a_long_chain():
    chain = [told("v0")]
    for number in range(1, 1000):
        above = link(f"v{number - 1}")
        chain.append(told(f"v{number}", above, above))
    assert grown(*chain)["v999"].depth == 999
