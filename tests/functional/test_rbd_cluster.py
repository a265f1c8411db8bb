# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of clusters: pools, namespaces, statistics, background tasks."""

import time

import filling
import pytest
import rbd
import scratch
from scratch import GiB, MiB

from rbdstore import exceptions
from rbdstore.spec import ImageSpec


class TestCluster:
    def test_what_it_is(self, sandbox, cluster):
        assert cluster.fsid == sandbox.fsid
        assert set(cluster.list_pools()) >= {"images", "volumes", "vms", "backups"}
        monitors = sandbox.ceph_json("mon", "dump")["mons"]
        assert len(monitors) == 1
        addresses = monitors[0]["public_addrs"]["addrvec"]
        assert [address["type"] for address in addresses] == ["v2", "v1"]
        assert [f"{host}:{port}" for host, port in cluster.monitors()] == [
            address["addr"] for address in addresses
        ]

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("10.0.0.1:3300", ("10.0.0.1", 3300)),
            ("[fd00::1]:6789", ("fd00::1", 6789)),
        ],
    )
    def test_addresses_of_a_monitor(self, address, expected):
        from rbdstore.drivers.rbd.cluster import _address

        assert _address({"type": "v2", "addr": address}) == expected

    def test_a_missing_pool_is_named_with_those_there_are(self, connect):
        cluster = connect("cinder", section="fast")
        started = time.monotonic()
        with pytest.raises(exceptions.PoolNotFound) as caught:
            cluster.open_pool("nope")
        assert time.monotonic() - started < 2
        for part in ("'nope'", "[fast] rbd_pool", "volumes", "ceph osd pool create nope"):
            assert part in str(caught.value)

    def test_a_pool_made_later_is_found(self, sandbox, cluster):
        with pytest.raises(exceptions.PoolNotFound):
            cluster.open_pool("later")
        sandbox.create_pool("later")
        try:
            pool = cluster.open_pool("later")
            pool.create("a", MiB)
            assert pool.list_images() == ["a"]
        finally:
            sandbox.ceph("osd", "pool", "rm", "later", "later", "--yes-i-really-really-mean-it")
        sandbox.create_pool("later")
        try:
            # Another pool, of the same name.
            assert cluster.open_pool("later").list_images() == []
        finally:
            sandbox.ceph("osd", "pool", "rm", "later", "later", "--yes-i-really-really-mean-it")

    def test_namespaces(self, cluster, raw):
        with pytest.raises(exceptions.PoolNotFound, match="rbd namespace create"):
            cluster.open_pool("volumes", "tenant")
        with raw.ioctx("volumes") as ioctx:
            rbd.RBD().namespace_create(ioctx, "tenant")
            try:
                tenant = cluster.open_pool("volumes", "tenant")
                plain = cluster.open_pool("volumes")
                with (
                    scratch.an_image(tenant, data=b"tenant") as image,
                    scratch.an_image(plain, data=b"plain"),
                ):
                    assert image.spec == ImageSpec("volumes", "a", namespace="tenant")
                    with tenant.open("a") as one, plain.open("a") as other:
                        assert (one.read(0, 6), other.read(0, 5)) == (b"tenant", b"plain")
                    snap_id = scratch.new_snap(image, "s")
                    plain.clone(tenant, "a", "s", "c")
                    assert [child.spec for child in image.children(snap_id)] == [plain.spec("c")]
                    with plain.open("c") as clone:
                        assert clone.parent().spec == tenant.spec("a", "s")
                    plain.remove("c")
                    tenant.set_keys("k", {"a": b"1"})
                    assert plain.get_keys("k") == {}
                    tenant.remove_object("k")
            finally:
                rbd.RBD().namespace_remove(ioctx, "tenant")

    def test_clone_format(self, sandbox, connect):
        assert connect(rbd_clone_format="1").clone_format == 1
        assert connect().clone_format == 2
        # Of a new cluster.
        assert connect(rbd_clone_format="auto").clone_format == 1
        release = sandbox.ceph("osd", "get-require-min-compat-client").strip()
        sandbox.ceph("osd", "set-require-min-compat-client", "mimic", "--yes-i-really-mean-it")
        try:
            # A client of its own: it is decided when it connects.
            automatic = connect("cinder", rbd_clone_format="auto")
            assert automatic.clone_format == 2
        finally:
            sandbox.ceph("osd", "set-require-min-compat-client", release, "--yes-i-really-mean-it")

    def test_stats(self, sandbox, cluster, pool):
        before = pool.stats()
        assert before.total > before.free > GiB
        with (
            scratch.an_image(pool, "a", 5 * GiB, b"x" * MiB) as image,
            scratch.an_image(pool, "b", 3 * GiB),
        ):
            scratch.new_snap(image, "s")
            after = pool.stats()
            assert (after.images, after.snapshots, after.provisioned) == (2, 1, 8 * GiB)
            with filling.quota(sandbox, "volumes", GiB):
                limited = pool.stats()
            assert limited.total == GiB
            assert limited.free == GiB - limited.used

    def test_stats_of_a_data_pool(self, sandbox, connect):
        pool = connect("admin", rbd_data_pool="vms").open_pool("volumes")
        with scratch.an_image(pool, data=b"x" * MiB) as image:
            assert "data-pool" in image.features()
            stats = pool.stats()
            assert stats.images == 1
            assert stats.free > 0

    def test_background_flatten(self, connect, pool):
        cluster = connect("cinder")
        mine = cluster.open_pool("volumes")
        with scratch.an_image(mine, data=b"parent") as image:
            scratch.new_snap(image, "s")
            mine.clone(mine, "a", "s", "c")
            task = cluster.flatten_in_background(mine.spec("c"))
            assert cluster.flatten_in_background(mine.spec("c")) == task
            deadline = time.monotonic() + 60
            while cluster.task_progress(task) is not None and time.monotonic() < deadline:
                time.sleep(0.1)
            with mine.open("c") as clone:
                assert clone.parent() is None
                assert clone.read(0, 6) == b"parent"
            mine.remove("c")
        images = connect().open_pool("images")
        with (
            scratch.an_image(images),
            # It is opened before the manager is asked.
            pytest.raises(exceptions.PermissionDenied, match="`profile rbd pool=images`"),
        ):
            cluster.flatten_in_background(ImageSpec("images", "a"))
