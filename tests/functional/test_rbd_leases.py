# SPDX-License-Identifier: Apache-2.0
"""What only the rbd driver promises of leases. The rest is in ``test_suite``."""

import pytest
import rados

from rbdstore import exceptions


class TestLeases:
    def test_without_a_lease_nothing_is_made(self, pool, raw):
        with pytest.raises(exceptions.LeaseLost, match="k in pool volumes"):
            pool.write_leased("k", "one", b"x")
        assert not pool.lease("k", "one", 60, "host-1", renew=True)
        pool.remove_keys("k", ["a"])
        assert "k" not in raw.objects("volumes")

    def test_it_can_be_seen_with_cephs_own_tools(self, pool, raw):
        assert pool.lease("k", "one", 60, "host-1")
        with raw.ioctx("volumes") as ioctx:
            assert ioctx.get_xattr("k", "rbdstore.owner") == b"host-1"
            with pytest.raises(rados.ObjectBusy):
                ioctx.lock_exclusive("k", "rbdstore", "two")
            # A client that has the same cookie by chance is another all the same.
            with pytest.raises(rados.ObjectBusy):
                ioctx.lock_exclusive("k", "rbdstore", "one")
        pool.remove_leased("k", "one")
