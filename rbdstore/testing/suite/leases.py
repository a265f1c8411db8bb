# SPDX-License-Identifier: Apache-2.0
"""Leases: locks that end by themselves."""

from __future__ import annotations

import hashlib
import time

from rbdstore import exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import KEYS, Suite, refused

KEY, OTHER = KEYS
LONG = 3600.0


def wait_for_the_end(pool: Pool, cookie: str) -> None:
    """Wait until the lease under another cookie ran out; have it under this one then."""
    deadline = time.monotonic() + 60
    while not pool.lease(KEY, cookie, LONG, cookie):
        assert time.monotonic() < deadline
        time.sleep(0.02)


class LeaseSuite(Suite):
    def test_one_has_it(self, pool: Pool, elsewhere: Pool) -> None:
        assert pool.lease(KEY, "one", LONG, "host-1")
        assert not pool.lease(KEY, "two", LONG, "host-2")
        assert not elsewhere.lease(KEY, "two", LONG, "host-2")
        assert pool.lease(OTHER, "two", LONG, "host-2")

    def test_who_has_it_may_take_it_again(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", 0.3, "host-1")
        assert pool.lease(KEY, "one", LONG, "host-1")
        time.sleep(0.4)
        assert not pool.lease(KEY, "two", LONG, "host-2")

    def test_renewal(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", LONG, "host-1")
        assert not pool.lease(KEY, "two", LONG, "host-2", renew=True)
        assert pool.lease(KEY, "one", LONG, "host-1", renew=True)
        # From now on, whatever it was before.
        assert pool.lease(KEY, "one", 0.1, "host-1", renew=True)
        wait_for_the_end(pool, "two")

    def test_a_renewal_is_no_new_lease(self, pool: Pool) -> None:
        assert not pool.lease(KEY, "one", LONG, "host-1", renew=True)
        assert pool.lease_owner(KEY) is None
        assert pool.lease(KEY, "one", 0.1, "host-1")
        wait_for_the_end(pool, "two")
        assert not pool.lease(KEY, "one", LONG, "host-1", renew=True)
        assert pool.lease_owner(KEY) == "two"

    def test_what_ran_out_is_not_renewed(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", 0.1, "host-1")
        time.sleep(0.3)
        assert not pool.lease(KEY, "one", LONG, "host-1", renew=True)
        assert pool.lease(KEY, "one", LONG, "host-1")

    def test_it_ends(self, pool: Pool, elsewhere: Pool) -> None:
        began = time.monotonic()
        assert pool.lease(KEY, "one", 0.3, "host-1")
        wait_for_the_end(elsewhere, "two")
        # Less a little: the clocks are two.
        assert time.monotonic() - began > 0.2
        for late in (pool.write_leased, lambda key, cookie, _: pool.remove_leased(key, cookie)):
            with refused(exceptions.LeaseLost):
                late(KEY, "one", b"late")
        assert not pool.lease(KEY, "one", LONG, "host-1")
        assert pool.read_object(KEY) == b""
        elsewhere.write_leased(KEY, "two", b"in time")

    def test_nothing_is_written_after_its_end(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", LONG, "host-1")
        pool.write_leased(KEY, "one", b"in time")
        assert pool.lease(KEY, "one", 0.1, "host-1")
        time.sleep(0.3)
        with refused(exceptions.LeaseLost):
            pool.write_leased(KEY, "one", b"late")
        with refused(exceptions.LeaseLost):
            pool.remove_leased(KEY, "one")
        assert pool.read_object(KEY) == b"in time"

    def test_the_owner_is_known_to_everybody(self, pool: Pool, elsewhere: Pool) -> None:
        assert pool.lease_owner(KEY) is None
        assert pool.lease(KEY, "one", LONG, "host-1: cloning ü")
        assert elsewhere.lease_owner(KEY) == "host-1: cloning ü"
        assert not elsewhere.lease(KEY, "two", LONG, "host-2")
        assert pool.lease_owner(KEY) == "host-1: cloning ü"
        assert pool.lease(KEY, "one", LONG, "host-1 again")
        assert pool.lease_owner(KEY) == "host-1 again"

    def test_the_last_owner_is_remembered(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", 0.1, "host-1")
        time.sleep(0.3)
        assert pool.lease_owner(KEY) == "host-1"

    def test_who_has_it_is_told_to_have_it(self, pool: Pool, elsewhere: Pool) -> None:
        assert pool.lease_state(KEY) is None
        assert pool.lease(KEY, "one", LONG, "host-1")
        state = elsewhere.lease_state(KEY)
        assert state is not None
        assert (state.owner, state.held) == ("host-1", True)
        assert pool.lease(KEY, "one", LONG, "host-2", renew=True)
        renewed = elsewhere.lease_state(KEY)
        assert renewed is not None
        assert (renewed.owner, renewed.held) == ("host-2", True)
        assert state is not None
        assert renewed.since >= state.since
        pool.remove_leased(KEY, "one")
        assert pool.lease_state(KEY) is None

    def test_who_has_none_writes_nothing(self, pool: Pool) -> None:
        with refused(exceptions.LeaseLost) as caught:
            pool.write_leased(KEY, "one", b"x")
        assert KEY in str(caught.value)
        with refused(exceptions.LeaseLost):
            pool.remove_leased(KEY, "one")
        assert pool.read_object(KEY) == b""
        assert pool.lease(KEY, "one", LONG, "host-1")
        pool.write_leased(KEY, "one", b"mine")
        with refused(exceptions.LeaseLost):
            pool.write_leased(KEY, "two", b"x")
        with refused(exceptions.LeaseLost):
            pool.remove_leased(KEY, "two")
        assert pool.read_object(KEY) == b"mine"

    def test_content_is_replaced(self, pool: Pool, elsewhere: Pool) -> None:
        assert pool.lease(KEY, "one", LONG, "host-1")
        assert pool.read_object(KEY) == b""
        for content in (hashlib.shake_128().digest(2_500_000), b"short", b""):
            pool.write_leased(KEY, "one", content)
            assert elsewhere.read_object(KEY) == content

    def test_content_outlives_the_lease(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", LONG, "host-1")
        pool.write_leased(KEY, "one", b"how far it came")
        assert pool.lease(KEY, "one", 0.1, "host-1")
        wait_for_the_end(pool, "two")
        assert pool.read_object(KEY) == b"how far it came"

    def test_removal_ends_it(self, pool: Pool) -> None:
        assert pool.lease(KEY, "one", LONG, "host-1")
        pool.write_leased(KEY, "one", b"content")
        pool.set_keys(KEY, {"a": b"1"})
        pool.remove_leased(KEY, "one")
        assert pool.lease_owner(KEY) is None
        assert pool.read_object(KEY) == b""
        assert pool.get_keys(KEY) == {}
        with refused(exceptions.LeaseLost):
            pool.remove_leased(KEY, "one")
        assert pool.lease(KEY, "two", LONG, "host-2")
