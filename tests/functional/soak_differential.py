# SPDX-License-Identifier: Apache-2.0
"""The drivers that need no daemons answer as Ceph does, whatever they are asked."""

import pytest
import sidebyside
import worlds
from rbd_world import RbdWorld


# What fails is shrunk, for up to five minutes.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [worlds.MemoryPlace], ids=["memory"])
def test_a_driver_answers_as_ceph_does(sandbox, raw, kind, features):
    place = kind(deep_flatten=features is None)
    sidebyside.run(place, RbdWorld(sandbox, raw, 2, features), examples=20, steps=40)
