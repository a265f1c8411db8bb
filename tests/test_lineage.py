# SPDX-License-Identifier: Apache-2.0
"""Lineage: every real parent counts, wherever it is, and a child's own header has the word."""

import memory
import pytest
import scenes

from rbdstore import driver, exceptions, lineage, settings, volumes
from rbdstore.driver import Child, Parent
from rbdstore.testing import faults

OLD = ("layering", "striping")
"""The features of images that early releases made: to flatten one does not free its snaps."""


@pytest.fixture
def cluster():
    return memory.memory_cluster(pools=["images", "volumes", "volumes/tenant"])


@pytest.fixture
def images(cluster):
    return cluster.open_pool("images")


@pytest.fixture
def pool(cluster):
    return cluster.open_pool("volumes")


def clone(parent, name, pool, snap="snap"):
    """Clone a new snap of an image; return how the clone names its parent."""
    found = scenes.snapshot(parent, name.partition(" ")[0], snap)
    pool.clone(parent, found.image, snap, name.partition(" ")[2])
    return found


def chain(pool, depth, name="v0"):
    """Make an image and clones of clones of it, called v1, v2 and so on."""
    scenes.make(pool, name, b"data")
    return [clone(pool, f"v{number} v{number + 1}", pool) for number in range(depth)]


def flatten(pool, name):
    with pool.open(name, read_only=False) as image:
        image.flatten()


def depth(pool, name):
    with pool.open(name) as image:
        return lineage.depth(image)


def parents(pool, name):
    with pool.open(name) as image:
        return lineage.parents(image)


# Depth


@pytest.mark.parametrize("above", range(7))
def test_depth(pool, above):
    chain(pool, above)
    assert depth(pool, f"v{above}") == above


def test_depth_across_pools_and_namespaces(cluster, images, pool):
    tenant = cluster.open_pool("volumes", "tenant")
    scenes.make(images, "image", b"data")
    clone(images, "image one", pool)
    clone(pool, "one two", tenant)
    clone(tenant, "two three", images)
    clone(images, "three four", tenant)
    assert depth(tenant, "four") == 4


def test_parents_in_the_trash_count(pool):
    chain(pool, 4)
    for name in ("v0", "v2", "v3"):
        pool.trash_move(name)
    assert depth(pool, "v4") == 4


def test_an_image_in_the_trash_has_a_depth(pool):
    chain(pool, 2)
    with pool.open("v2") as image:
        pool.trash_move("v2")
        assert lineage.depth(image) == 2


def test_renamed_parents_count(pool):
    chain(pool, 3)
    pool.rename("v1", "other")
    with pool.open("other", read_only=False) as image:
        image.rename_snap("snap", "rbdstore.deleted.1")
    assert depth(pool, "v3") == 3


def test_a_flattened_parent_is_the_end(pool):
    chain(pool, 4)
    flatten(pool, "v2")
    assert depth(pool, "v4") == 2
    assert depth(pool, "v2") == 0


def test_the_parent_counts_as_it_was_at_the_snap():
    """Without deep-flatten the snap keeps the parent that the image has let go of."""
    pool = memory.memory_cluster(features=OLD).open_pool("volumes")
    chain(pool, 3)
    flatten(pool, "v1")
    assert depth(pool, "v1") == 0
    assert depth(pool, "v2") == 2
    assert depth(pool, "v3") == 3


def test_a_snap_from_before_does_not_lend_its_parent_to_a_later_one():
    pool = memory.memory_cluster(features=OLD).open_pool("volumes")
    chain(pool, 1)
    clone(pool, "v1 early", pool, "early")
    flatten(pool, "v1")
    clone(pool, "v1 late", pool, "late")
    assert depth(pool, "early") == 2
    assert depth(pool, "late") == 1


def test_every_way_to_clone_counts(cluster):
    """Clones of images, of snapshots and of volumes alike, each of them a real parent."""
    stored = memory.memory_store(cluster, pool="images").images.add("image", b"data" * 1024)
    made = volumes.VolumeStore(cluster.open_pool("volumes"), settings.Settings(pool="volumes"))
    made.clone("one", stored.uri)
    made.create_snapshot("one", "snapshot")
    made.create_from_snapshot("two", "one", "snapshot")
    made.create_cloned_volume("three", "two")
    assert [made.get(name).depth for name in ("one", "two", "three")] == [1, 2, 3]
    assert [volume.depth for volume in made.list()] == [1, 3, 2]


def test_a_parent_that_goes_while_it_is_counted(cluster):
    """What was flattened meanwhile has let go of its parents, and these may be gone."""
    chain(cluster.open_pool("volumes"), 3)
    plan = faults.Plan()
    pool = faults.FaultyCluster(cluster, plan).open_pool("volumes")
    with pool.open("v3") as image:
        plan.watch()
        lineage.depth(image)
        calls = plan.stop()
        for call, error in (
            ("Pool.open", exceptions.ImageNotFound("gone")),
            ("Image.set_snap", exceptions.SnapshotNotFound("gone")),
        ):
            found = [n for n, each in enumerate(calls, 1) if each == call]
            assert len(found) == 3
            for number in found:
                plan.fail(number, error)
                assert lineage.depth(image) == 3
                plan.stop()


def test_a_parents_snap_that_goes_while_it_is_counted(cluster):
    chain(cluster.open_pool("volumes"), 3)
    plan = faults.Plan()
    pool = faults.FaultyCluster(cluster, plan).open_pool("volumes")
    with pool.open("v3") as image:
        plan.watch()
        lineage.depth(image)
        looked = [n for n, call in enumerate(plan.stop(), 1) if call == "Image.set_snap"]
        assert len(looked) == 3
        for number in looked:
            plan.fail(number, exceptions.SnapshotNotFound("gone"))
            assert lineage.depth(image) == 3
            plan.stop()


# Parents


def test_an_image_without_parents(pool):
    scenes.make(pool, "image", b"data")
    scenes.snapshot(pool, "image", "snap")
    assert parents(pool, "image") == []


def test_the_parent_of_an_image_and_its_snaps_is_named_once(pool):
    (above,) = chain(pool, 1)
    scenes.snapshot(pool, "v1", "one")
    scenes.snapshot(pool, "v1", "two")
    assert parents(pool, "v1") == [above]


def test_the_snaps_of_a_flattened_image_have_no_parent(pool):
    chain(pool, 1)
    scenes.snapshot(pool, "v1", "before")
    flatten(pool, "v1")
    assert parents(pool, "v1") == []


def test_without_deep_flatten_they_have():
    pool = memory.memory_cluster(features=OLD).open_pool("volumes")
    (above,) = chain(pool, 1)
    scenes.snapshot(pool, "v1", "before")
    flatten(pool, "v1")
    scenes.snapshot(pool, "v1", "after")
    assert parents(pool, "v1") == [above]


def test_the_image_is_looked_at_as_it_is_afterwards(pool):
    (above,) = chain(pool, 1)
    scenes.snapshot(pool, "v1", "small")
    with pool.open("v1", read_only=False) as image:
        image.resize(1 << 20)
    with pool.open("v1") as image:
        assert lineage.parents(image) == [above]
        assert image.size() == 1 << 20


def test_a_snap_that_goes_while_they_are_listed(cluster):
    (above,) = chain(cluster.open_pool("volumes"), 1)
    plan = faults.Plan()
    pool = faults.FaultyCluster(cluster, plan).open_pool("volumes")
    for snap in ("one", "two"):
        scenes.snapshot(cluster.open_pool("volumes"), "v1", snap)
    with pool.open("v1") as image:
        plan.watch()
        lineage.parents(image)
        calls = plan.stop()
        plan.fail(calls.index("Image.set_snap") + 1, exceptions.SnapshotNotFound("gone"))
        assert lineage.parents(image) == [above]
        plan.stop()


def test_a_link_is_what_the_clone_has_as_its_parent(images, pool):
    scenes.make(images, "image", b"data")
    clone(images, "image volume", pool)
    with images.open("image") as parent, pool.open("volume") as child:
        assert lineage.link(parent, "snap") == child.parent()
        assert child.parent() == Parent("images", "", "image", parent.id, "snap")


# Children


def test_children_by_snap(cluster, pool):
    tenant = cluster.open_pool("volumes", "tenant")
    scenes.make(pool, "image", b"data")
    clone(pool, "image one", pool, "first")
    pool.clone(pool, "image", "first", "two")
    scenes.snapshot(pool, "image", "childless")
    clone(pool, "image three", tenant, "second")
    pool.trash_move("two")
    with pool.open("image") as image:
        found = lineage.children(image)
    assert {
        snap.name: [(child.pool, child.namespace, child.image, child.trashed) for child in group]
        for snap, group in found.items()
    } == {
        "first": [("volumes", "", "one", False), ("volumes", "", "two", True)],
        "second": [("volumes", "tenant", "three", False)],
    }


def test_pinning_snaps():
    pool = memory.memory_cluster(features=OLD).open_pool("volumes")
    chain(pool, 1)
    scenes.make(pool, "stranger", b"data")
    for snap in ("one", "two"):
        scenes.snapshot(pool, "v1", snap)
    flatten(pool, "v1")
    scenes.snapshot(pool, "v1", "free")
    with pool.open("v1") as image:
        child = Child("volumes", "", "v1", image.id)
    with pool.open("v0") as parent:
        assert lineage.pinning_snaps(child, parent) == ["one", "two"]
    with pool.open("stranger") as stranger:
        assert lineage.pinning_snaps(child, stranger) == []


# Who still needs a snap


@pytest.fixture
def family(pool):
    """A clone and how it names its parent."""
    (above,) = chain(pool, 1)
    with pool.open("v1") as image:
        return Child("volumes", "", "v1", image.id), above


def needs(pool, child, above, snap="snap"):
    return lineage.still_needs(pool.cluster, child, above.image_id, snap)


def test_a_clone_needs_its_snap_and_no_other(pool, family):
    assert needs(pool, *family)
    assert not needs(pool, *family, snap="other")
    child, above = family
    assert not lineage.still_needs(pool.cluster, child, "another image", above.snap)


def test_a_clone_in_the_trash_needs_it(pool, family):
    pool.trash_move("v1")
    assert needs(pool, *family)


def test_a_renamed_clone_needs_it(pool, family):
    pool.rename("v1", "other")
    assert needs(pool, *family)


def test_a_clone_that_is_gone_does_not(pool, family):
    pool.remove("v1")
    assert not needs(pool, *family)


def test_a_clone_of_a_pool_that_is_gone_does_not(pool, family):
    _child, above = family
    assert not needs(pool, Child("nowhere", "", "v1", "1"), above)


def test_a_flattened_clone_does_not(pool, family):
    scenes.snapshot(pool, "v1", "before")
    flatten(pool, "v1")
    assert not needs(pool, *family)


def test_a_flattened_clone_whose_snap_pins_it_does():
    pool = memory.memory_cluster(features=OLD).open_pool("volumes")
    (above,) = chain(pool, 1)
    made = scenes.snapshot(pool, "v1", "before")
    flatten(pool, "v1")
    child = Child("volumes", "", "v1", made.image_id)
    assert needs(pool, child, above)
    with pool.open("v1", read_only=False) as image:
        image.remove_snap(driver.find_snap(image, "before").id)
    assert not needs(pool, child, above)


def test_not_to_be_able_to_look_is_no_answer(cluster, pool, family):
    plan = faults.Plan()
    wrapped = faults.FaultyCluster(cluster, plan)
    child, above = family
    for error in (exceptions.PermissionDenied, exceptions.Timeout):
        plan.fail(2, error("injected"))
        with pytest.raises(error):
            lineage.still_needs(wrapped, child, above.image_id, above.snap)
