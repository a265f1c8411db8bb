# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of leases."""

import time

import pytest
import rados
import scratch

from rbdstore import exceptions


class TestLeases:
    def test_one_has_it(self, pool, connect):
        other = connect("cinder").open_pool("volumes")
        assert pool.lease_owner("k") is None
        assert pool.lease("k", "one", 60, "host-1")
        assert not pool.lease("k", "two", 60, "host-2")
        assert not other.lease("k", "one", 60, "somebody with the same cookie")
        assert other.lease_owner("k") == "host-1"
        assert pool.lease("k", "one", 60, "host-1 again")
        assert pool.lease_owner("k") == "host-1 again"
        pool.remove_leased("k", "one")
        assert other.lease("k", "two", 60, "host-2")
        other.remove_leased("k", "two")

    def test_a_renewal_is_no_new_lease(self, pool):
        assert not pool.lease("k", "one", 60, "host-1", renew=True)
        assert pool.read_object("k") == b""
        assert pool.lease("k", "one", 0.3, "host-1")
        assert pool.lease("k", "one", 0.3, "host-1", renew=True)
        assert not pool.lease("k", "two", 0.3, "host-2", renew=True)
        time.sleep(0.5)
        assert not pool.lease("k", "one", 60, "host-1", renew=True)
        assert pool.lease("k", "two", 60, "host-2")
        assert not pool.lease("k", "one", 60, "host-1", renew=True)
        assert pool.lease_owner("k") == "host-2"
        pool.remove_leased("k", "two")

    def test_it_runs_out(self, pool):
        assert pool.lease("k", "one", 0.3, "host-1")
        started = time.monotonic()
        while not pool.lease("k", "two", 60, "host-2"):
            time.sleep(0.02)
        assert 0.2 < time.monotonic() - started < 1
        with pytest.raises(exceptions.LeaseLost):
            pool.write_leased("k", "one", b"late")
        with pytest.raises(exceptions.LeaseLost):
            pool.remove_leased("k", "one")
        assert not pool.lease("k", "one", 1, "host-1")
        pool.write_leased("k", "two", b"in time")
        assert pool.read_object("k") == b"in time"
        pool.remove_leased("k", "two")

    def test_renewal_makes_it_last(self, pool):
        for _ in range(5):
            assert pool.lease("k", "one", 0.5, "host-1")
            time.sleep(0.2)
            assert not pool.lease("k", "two", 1, "host-2")
        pool.remove_leased("k", "one")

    def test_the_last_owner_is_remembered(self, pool):
        assert pool.lease("k", "one", 0.1, "host-1: clone of a")
        time.sleep(0.3)
        assert pool.lease_owner("k") == "host-1: clone of a"
        with pytest.raises(exceptions.LeaseLost):
            pool.write_leased("k", "one", b"late")
        assert pool.read_object("k") == b""
        pool.remove_object("k")

    def test_without_a_lease_nothing_is_made(self, pool, raw):
        with pytest.raises(exceptions.LeaseLost, match="k in pool volumes"):
            pool.write_leased("k", "one", b"x")
        assert "k" not in raw.objects("volumes")

    def test_the_object_is_a_fresh_one_each_time(self, pool):
        assert pool.lease("k", "one", 60, "host-1")
        pool.write_leased("k", "one", b"content")
        assert pool.lease("k", "one", 60, "host-1")
        assert pool.read_object("k") == b"content"
        pool.remove_leased("k", "one")
        assert pool.lease_owner("k") is None
        assert pool.lease("k", "two", 60, "host-2")
        assert pool.read_object("k") == b""
        pool.remove_leased("k", "two")

    def test_a_takeover_finds_the_content(self, pool):
        assert pool.lease("k", "one", 0.1, "host-1")
        pool.write_leased("k", "one", b"how far it came")
        time.sleep(0.3)
        assert pool.lease("k", "two", 60, "host-2")
        assert pool.read_object("k") == b"how far it came"
        pool.remove_leased("k", "two")

    def test_among_many_threads_one_gets_it(self, pool):
        taken = scratch.together(20, lambda n: pool.lease("k", f"t{n}", 60, f"t{n}"))
        assert sum(taken) == 1
        pool.remove_leased("k", f"t{taken.index(True)}")

    def test_it_can_be_seen_with_cephs_own_tools(self, pool, raw):
        assert pool.lease("k", "one", 60, "host-1")
        with raw.ioctx("volumes") as ioctx:
            assert ioctx.get_xattr("k", "rbdstore.owner") == b"host-1"
            with pytest.raises(rados.ObjectBusy):
                ioctx.lock_exclusive("k", "rbdstore", "two")
        pool.remove_leased("k", "one")
