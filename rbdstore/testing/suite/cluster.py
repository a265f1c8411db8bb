# SPDX-License-Identifier: Apache-2.0
"""Clusters: what they are, their pools, and what only some of them can do."""

from __future__ import annotations

import time
from collections.abc import Callable

from rbdstore import exceptions
from rbdstore.driver import Cluster, Pool
from rbdstore.spec import ImageSpec
from rbdstore.testing.suite.base import (
    DATA,
    Suite,
    filled,
    make,
    make_child,
    read,
    refused,
)


class ClusterSuite(Suite):
    def test_every_connection_tells_the_same_fsid(
        self, cluster: Cluster, connected: Callable[[], Cluster]
    ) -> None:
        assert cluster.fsid
        assert isinstance(cluster.fsid, str)
        assert connected().fsid == cluster.fsid

    def test_the_clone_format(self, cluster: Cluster) -> None:
        assert cluster.clone_format in (1, 2)

    def test_its_pools_are_listed(self, cluster: Cluster) -> None:
        assert set(self.pools) <= set(cluster.list_pools())

    def test_a_pool_knows_where_it_is(self, cluster: Cluster) -> None:
        pool = cluster.open_pool(self.pools[0])
        assert (pool.name, pool.namespace) == (self.pools[0], "")
        assert pool.cluster is cluster
        assert pool.spec("a", "s") == ImageSpec(self.pools[0], "a", "s")
        pool.close()

    def test_a_pool_that_is_not_there(self, cluster: Cluster) -> None:
        with refused(exceptions.PoolNotFound) as caught:
            cluster.open_pool("suite-no-such-pool")
        assert "suite-no-such-pool" in str(caught.value)

    def test_a_namespace_that_is_not_there(self, cluster: Cluster) -> None:
        with refused(exceptions.PoolNotFound) as caught:
            cluster.open_pool(self.pools[0], "suite-no-such-namespace")
        assert "suite-no-such-namespace" in str(caught.value)

    def test_all_connections_see_the_same_images(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a", DATA)
        assert elsewhere.list_images() == ["a"]
        assert read(elsewhere, "a") == filled(DATA)

    def test_pools_are_apart(self, pool: Pool, pool2: Pool) -> None:
        make(pool, "a")
        assert pool2.list_images() == []
        with refused(exceptions.ImageNotFound, pool2.spec("a")):
            pool2.open("a")
        make(pool2, "a")

    def test_a_closed_connection_is_of_no_use(
        self, connected: Callable[[], Cluster], pool: Pool
    ) -> None:
        closed = connected()
        same = closed.open_pool(self.pools[0])
        closed.close()
        closed.close()
        with refused(exceptions.ClusterError):
            same.list_images()
        # The other connections are not touched by it.
        assert pool.list_images() == []

    def test_monitors(self, cluster: Cluster) -> None:
        if type(cluster).monitors is Cluster.monitors:
            with refused(exceptions.NotSupported):
                cluster.monitors()
            return
        assert cluster.monitors()
        for host, port in cluster.monitors():
            assert host
            assert 0 < port < 1 << 16

    def test_background_tasks(self, cluster: Cluster, pool: Pool) -> None:
        make_child(pool)
        if type(cluster).flatten_in_background is Cluster.flatten_in_background:
            for ask in (
                lambda: cluster.flatten_in_background(pool.spec("child")),
                lambda: cluster.task_progress("1"),
                lambda: cluster.cancel_task("1"),
            ):
                with refused(exceptions.NotSupported):
                    ask()
            return
        task = cluster.flatten_in_background(pool.spec("child"))
        deadline = time.monotonic() + 120
        while (done := cluster.task_progress(task)) is not None:
            assert 0 <= done <= 1
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pool.clone(pool, "parent", "s", "other")
        other = cluster.flatten_in_background(pool.spec("other"))
        cluster.cancel_task(other)
        while cluster.task_progress(other) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pool.open("child", read_only=False) as image:
            image.flatten()
            assert image.parent() is None
        assert read(pool, "child") == filled(DATA)
        # One that has ended.
        cluster.cancel_task(task)
        assert cluster.task_progress("no-such-task") is None
        with refused(exceptions.ImageNotFound, pool.spec("nope")):
            cluster.flatten_in_background(pool.spec("nope"))
