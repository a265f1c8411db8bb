# SPDX-License-Identifier: Apache-2.0
"""Any operations in any order do what the model says, without daemons."""

import machine
import places
import pytest


@pytest.mark.parametrize("clone_format", [2, 1])
@pytest.mark.parametrize("deep_flatten", [True, False], ids=["new", "old"])
def test_stores_do_what_the_model_says(clone_format, deep_flatten):
    place = places.MemoryPlace(clone_format=clone_format, deep_flatten=deep_flatten)
    machine.run(place, examples=50, steps=40)
