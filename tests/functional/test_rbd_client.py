# SPDX-License-Identifier: Apache-2.0
"""Connections: made late, shared, cut off and made anew, closed for good."""

import concurrent.futures
import contextlib
import re
import threading
import time

import pytest
import racers
import rados
import scratch
from scratch import MiB

from rbdstore import exceptions


@pytest.fixture
def user():
    return "cinder"


def instance(cluster):
    with cluster.calls() as connection:
        return connection.rados.get_instance_id()


def blocklist(sandbox, cluster):
    with cluster.calls() as connection:
        address = connection.rados.get_addrs()
    # As `ceph osd blocklist` wants it.
    sandbox.ceph("osd", "blocklist", "add", re.search(r"\d+\.\d+\.\d+\.\d+:\d+/\d+", address)[0])


class TestSharing:
    def test_nothing_connects_before_the_first_use(self, connect, connections):
        cluster = connect()
        assert not connections()
        assert "volumes" in cluster.list_pools()
        assert len(connections()) == 1

    def test_one_client_for_the_same_settings(self, connect, connections):
        one, two = connect(), connect(section="other", rbd_features=["layering"])
        assert instance(one) == instance(two)
        others = [
            connect("admin"),
            connect(rbd_clone_format="1"),
            connect(rbd_operation_timeout=9),
        ]
        assert len({instance(cluster) for cluster in [one, *others]}) == 4
        for cluster in others:
            cluster.close()
        assert len(connections()) == 1
        # It goes with the last of them.
        one.close()
        assert two.open_pool("volumes").list_images() == []
        two.close()
        assert not connections()

    def test_many_threads_make_one_connection(self, connect):
        cluster = connect()
        found = scratch.together(20, lambda number: instance(cluster))
        assert len(set(found)) == 1

    def test_an_open_image_outlives_the_clusters_close(self, connect):
        """What librados would crash on."""
        cluster = connect()
        pool = cluster.open_pool("volumes")
        pool.create("a", MiB)
        image = pool.open("a", read_only=False)
        cluster.close()
        image.write(0, b"data")
        image.flush()
        assert image.read(0, 4) == b"data"
        image.close()
        image.close()
        connect().open_pool("volumes").remove("a")

    def test_settings_of_the_client(self, connect):
        cluster = connect(rados_connect_timeout=7, rbd_operation_timeout=11)
        with cluster.calls() as connection:
            get = connection.rados.conf_get
            assert get("client_mount_timeout") == "7"
            assert get("rados_osd_op_timeout") == get("rados_mon_op_timeout") == "11"
            assert get("rbd_default_clone_format") == "2"
            assert get("rbd_move_to_trash_on_remove") == "false"
        unlimited = connect(rbd_operation_timeout=0, rados_connect_timeout=-1)
        with unlimited.calls() as connection:
            assert float(connection.rados.conf_get("rados_osd_op_timeout")) == 0
            assert int(connection.rados.conf_get("client_mount_timeout")) == 300


class TestCutOff:
    """A client that the cluster blocklisted is of no use; the next one is."""

    def test_it_is_made_anew(self, sandbox, connect):
        cluster = connect()
        pool = cluster.open_pool("volumes")
        pool.create("a", MiB)
        image = pool.open("a", read_only=False)
        image.write(0, b"kept")
        image.flush()
        assert pool.lease("k", "cookie", 1, "owner")
        before = instance(cluster)
        blocklist(sandbox, cluster)

        with pytest.raises(exceptions.Unreachable, match="blocklisted"):
            pool.list_images()
        # The same pool, with another client.
        assert pool.list_images() == ["a"]
        assert instance(cluster) != before

        # What is written into the cache is told of by the flush.
        with contextlib.suppress(exceptions.Unreachable):
            image.write(0, b"lost")
        with pytest.raises(exceptions.Unreachable):
            image.flush()
        with pytest.raises(exceptions.ClusterError):
            image.create_snap("s")
        image.close()
        # The lease was the old client's.
        with pytest.raises(exceptions.LeaseLost):
            pool.write_leased("k", "cookie", b"x")
        pool.remove_object("k")
        with pool.open("a") as again:
            assert again.read(0, 4) == b"kept"
            assert again.snaps() == []
        racers.until(lambda: not watchers(pool, "a"))
        pool.remove("a")

    def test_an_image_finds_it_out_first(self, sandbox, connect):
        cluster = connect()
        pool = cluster.open_pool("volumes")
        pool.create("a", MiB)
        image = pool.open("a")
        blocklist(sandbox, cluster)
        with pytest.raises(exceptions.Unreachable):
            image.read(0, 1)
        assert pool.list_images() == ["a"]
        image.close()
        pool.remove("a")

    def test_what_is_in_flight_finds_it_out(self, sandbox, connect):
        cluster = connect()
        pool = cluster.open_pool("volumes")
        pool.create("a", MiB)

        def write(image):
            image.aio_write(0, b"x").result()
            # It may have come no further than librbd's cache.
            image.flush()

        for use in (lambda image: image.aio_read(0, 1).result(), write):
            with pool.open("a", read_only=False) as image:
                blocklist(sandbox, cluster)
                with pytest.raises(exceptions.Unreachable):
                    use(image)
            assert pool.list_images() == ["a"]
        racers.until(lambda: not watchers(pool, "a"))
        pool.remove("a")

    def test_while_many_threads_use_it(self, sandbox, connect, connections):
        """None of them hangs or crashes, each sees at most one error, and all go on."""
        cluster = connect()
        pool = cluster.open_pool("volumes")
        pool.create("a", MiB)
        stop = threading.Event()

        def work():
            errors, done = 0, 0
            while not stop.is_set() or not done:
                try:
                    with pool.open("a") as image:
                        image.read(0, 100)
                    done += 1
                except exceptions.Unreachable:
                    errors += 1
                    done = 0
            return errors

        with concurrent.futures.ThreadPoolExecutor(8) as executor:
            working = [executor.submit(work) for _ in range(8)]
            try:
                time.sleep(0.3)
                blocklist(sandbox, cluster)
                time.sleep(1.5)
            finally:
                stop.set()
        assert max(one.result() for one in working) == 1
        racers.until(lambda: len(connections()) == 1)
        pool.remove("a")


def watchers(pool, name):
    with pool.open(name) as image:
        return image.watchers()


def test_rados_itself_is_not_left_behind(connect):
    """The connection's object is freed, not only shut down."""
    cluster = connect()
    with cluster.calls() as connection:
        held = connection.rados
    cluster.close()
    with pytest.raises(rados.RadosStateError):
        held.get_fsid()
