# SPDX-License-Identifier: Apache-2.0
"""Any operations in any order do what the model says, without daemons; and what that found."""

import machine
import pytest
import worlds

from rbdstore import exceptions


# What fails is shrunk, for up to five minutes.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("clone_format", [2, 1])
@pytest.mark.parametrize("deep_flatten", [True, False], ids=["new", "old"])
def test_stores_do_what_the_model_says(clone_format, deep_flatten):
    world = worlds.MemoryWorld(clone_format=clone_format, deep_flatten=deep_flatten)
    machine.run(world, examples=50, steps=40)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("deep_flatten", [True, False], ids=["new", "old"])
def test_the_embedded_driver_does_what_the_model_says(tmp_path, deep_flatten):
    machine.run(worlds.FileWorld(tmp_path, deep_flatten=deep_flatten), examples=60, steps=40)


@pytest.mark.parametrize("clone_format", [2, 1])
def test_a_deleted_image_goes_with_the_last_snapshot_that_needs_it(clone_format):
    world = worlds.MemoryWorld(clone_format=clone_format, deep_flatten=False)
    stores = worlds.Stores(world.connect)
    stores.add_image("image", b"data", None)
    stores.clone("a", "image", None)
    stores.create_cloned_volumes(["b"], "a", None)
    stores.flatten("a")
    stores.delete_image("image", "defer")
    # Its snapshot of "a" was made before that was flattened, and alone shared data with the image.
    stores.delete("b")
    stores.delete("a")
    stores.close()
    assert world.leftovers() == []


def test_a_rename_that_was_done_is_not_repeated_on_another_volume():
    world = worlds.MemoryWorld()
    stores = worlds.Stores(world.connect)
    stores.create("a", 1)
    stores.plan.watch()
    stores.rename("a", "b")
    last_look = len(stores.plan.stop()) - 2
    stores.rename("b", "a")
    stores.plan.fail(last_look, exceptions.Timeout("injected"))
    with pytest.raises(exceptions.Timeout):
        stores.rename("a", "b")
    stores.plan.stop()
    assert stores.names() == ([], ["b"])
    stores.create("a", 2)
    with pytest.raises(exceptions.Duplicate):
        stores.rename("a", "b")
    assert (stores.see("a").data, stores.see("b").data) == (bytes(2), bytes(1))
    stores.close()


def test_a_deletion_that_was_done_may_be_repeated_with_another_policy():
    world = worlds.MemoryWorld()
    stores = worlds.Stores(world.connect)
    stores.add_image("image", b"data", None)
    stores.plan.watch()
    stores.delete_image("image", "refuse")
    last = len(stores.plan.stop())
    stores.add_image("image", b"data", None)
    stores.plan.fail(last - 1, exceptions.Timeout("injected"))
    with pytest.raises(exceptions.Timeout):
        stores.delete_image("image", "refuse")
    stores.plan.stop()
    assert stores.names() == ([], [])
    stores.delete_image("image", "flatten")
    with pytest.raises(exceptions.ImageNotFound):
        stores.delete_image("image", "flatten")
    stores.close()
    assert world.leftovers() == []
