# SPDX-License-Identifier: Apache-2.0
"""The drivers that need no daemons answer as Ceph does, whatever they are asked."""

import pytest
import sidebyside
import worlds
from rbd_world import RbdWorld


# What fails is shrunk, for up to five minutes.
@pytest.mark.timeout(1800)
def test_the_example_driver_answers_as_ceph_does(sandbox, raw, features):
    world = worlds.MemoryWorld(deep_flatten=features is None)
    sidebyside.run(world, RbdWorld(sandbox, raw, 2, features), examples=6, steps=40)


@pytest.mark.timeout(1800)
def test_the_embedded_driver_answers_as_ceph_does(sandbox, raw, features, tmp_path):
    world = worlds.FileWorld(tmp_path, deep_flatten=features is None)
    sidebyside.run(world, RbdWorld(sandbox, raw, 2, features), examples=12, steps=40)
