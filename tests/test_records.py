# SPDX-License-Identifier: Apache-2.0
"""What is kept about an image goes with it."""

import memory
import scenes

from rbdstore import records, spec


def test_a_clone_is_not_noted_on_an_image_that_was_deleted_meanwhile():
    cluster = memory.memory_cluster()
    pool = cluster.open_pool("volumes")
    scenes.make(pool, "parent", b"data")
    scenes.snapshot(pool, "parent", "snap")
    pool.clone(pool, "parent", "snap", "child")
    with pool.open("parent") as parent, pool.open("child", read_only=False) as child:
        (snap,) = parent.snaps()
        # As images.delete(uri, in_use="flatten") does it, between the clone and the note.
        child.flatten()
        with pool.open("parent", read_only=False) as writable:
            writable.remove_snap(snap.id)
        pool.remove("parent")
        records.drop(pool, parent.id)
        records.add_child(parent, snap.id, child)
        key = spec.record_object(parent.id)
    assert key not in cluster._state.pools["volumes", ""].objects
