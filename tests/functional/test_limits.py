# SPDX-License-Identifier: Apache-2.0
"""Limits that are the cluster's or librbd's, seen through the services."""

import filling
import pytest
from samples import GiB, MiB

from rbdstore import exceptions


def test_stats_know_a_quota(volumes, sandbox):
    with filling.quota(sandbox, "volumes", GiB):
        stats = volumes.stats()
        assert stats.total == GiB
        assert stats.free <= GiB
    assert volumes.stats().total > GiB


def test_a_size_beyond_what_librbd_counts_is_refused(volumes, raw):
    volumes.create("source", MiB)
    before = raw.state()
    for refused in (
        lambda: volumes.create("volume-1", 1 << 52),
        lambda: volumes.extend("source", 1 << 52),
        lambda: volumes.create_cloned_volume("clone", "source", 1 << 52),
    ):
        with pytest.raises(exceptions.InvalidSize, match="beyond the"):
            refused()
    assert raw.state() == before
    volumes.delete("source")
