# SPDX-License-Identifier: Apache-2.0
"""The check that the pools are empty."""

import pools
import pytest
from scratch import MiB


def test_the_pools_check_sees_everything(raw, pool):
    pool.create("a", MiB)
    pool.create("b", MiB)
    pool.trash_move("b")
    pool.set_keys("rbdstore.k", {"a": b""})
    left = pools.leftovers(raw.client, "volumes")
    assert "rbdstore.k" in left
    assert "rbd_id.a" in left
    assert "rbd_directory: name_a" in left
    assert any(entry.startswith("rbd_header.") for entry in left)
    assert any(entry.startswith("rbd_trash: id_") for entry in left)
    with pytest.raises(AssertionError):
        pools.assert_empty(raw.client)
    pools.clear(raw.client, "volumes")
    assert pools.leftovers(raw.client, "volumes") == []
    assert pool.list_images() == []
