# SPDX-License-Identifier: Apache-2.0
"""Any operations in any order do what the model says, on a real Ceph."""

import machine
import pytest
from rbd_world import RbdWorld


# What fails is shrunk, for up to five minutes.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("clone_format", [2, 1])
def test_stores_do_what_the_model_says(sandbox, raw, clone_format, features):
    world = RbdWorld(sandbox, raw, clone_format, features)
    machine.run(world, examples=5, steps=30)
