# SPDX-License-Identifier: Apache-2.0
"""Connecting: what is wrong is named, and nothing hangs on a cluster that is silent."""

import contextlib
import os
import re
import threading
import time

import pytest
import racers
import scratch
import tenacity
from scratch import MiB

from rbdstore import exceptions

# Ceph's own limits are minutes or none; ours here are a second or two, and a machine may be slow.
SOON = 30

# Once a daemon goes on, it may take a slow machine longer than such a limit to answer.
answered = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(exceptions.Timeout),
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.2),
    reraise=True,
)


@pytest.fixture
def user():
    return "cinder"


@pytest.fixture
def conf(sandbox, tmp_path):
    """Write a ceph.conf that differs from the sandbox's in some of its lines."""

    def changed(**lines):
        with open(sandbox.conf_path, encoding="utf-8") as original:
            text = original.read()
        for name, value in lines.items():
            key = name.replace("_", " ")
            new = "" if value is None else f"{key} = {value}\n"
            # The last one is [client]'s.
            head, old, tail = text.rpartition(re.findall(rf"(?m)^{key} = .*\n", text)[-1])
            assert old
            text = head + new + tail
        path = tmp_path / f"ceph-{len(os.listdir(tmp_path))}.conf"
        path.write_text(text)
        return str(path)

    return changed


@contextlib.contextmanager
def frozen(sandbox, daemon):
    """Freeze a daemon, and wait after until the cluster serves again."""
    sandbox.pause_daemon(daemon)
    try:
        yield
    finally:
        sandbox.resume_daemon(daemon)
        sandbox.wait_ready()


@contextlib.contextmanager
def soon(least=0.0):
    """See that the block takes no longer than a limit of a few seconds lets it."""
    started = time.monotonic()
    yield
    assert least <= time.monotonic() - started < SOON


class TestRefusals:
    """Each error of connecting names the section, the option and the mend."""

    @pytest.fixture
    def keyring(self, tmp_path):
        """Write a keyring with a key that is nobody's."""

        def written(user, key="AQAGYQFrAAAAABAAbfdS/8WIjIeFW3s1+kJigg=="):
            path = tmp_path / "keyring"
            path.write_text(f"[client.{user}]\n\tkey = {key}\n")
            return str(path)

        return written

    def refused(self, connect, error, user="cinder", **options):
        cluster = connect(user, section="fast", rados_connect_timeout=2 * SOON, **options)
        with soon(), pytest.raises(error) as caught:
            cluster.open_pool("volumes")
        text = str(caught.value)
        assert text.startswith("[fast] ")
        return text

    def test_a_wrong_key(self, connect, conf, keyring):
        path = keyring("cinder")
        text = self.refused(connect, exceptions.Unreachable, rbd_ceph_conf=conf(keyring=path))
        for part in ("refused the key", "option rbd_user", path, "auth get client.cinder"):
            assert part in text

    def test_a_user_the_cluster_does_not_know(self, connect, conf, keyring):
        path = conf(keyring=keyring("ghost"))
        text = self.refused(connect, exceptions.Unreachable, "ghost", rbd_ceph_conf=path)
        assert "ceph auth get client.ghost" in text

    def test_a_user_without_a_key(self, connect):
        text = self.refused(connect, exceptions.ConfigError, "nobody")
        for part in ("no key of client.nobody", "rbd_user", "readable", "auth get client.nobody"):
            assert part in text

    def test_a_missing_keyring(self, connect, conf):
        text = self.refused(
            connect, exceptions.ConfigError, rbd_ceph_conf=conf(keyring="/nowhere/keyring")
        )
        for part in ("no key of client.cinder", "/nowhere/keyring (missing)", "`keyring` in"):
            assert part in text

    def test_a_keyring_that_is_none(self, connect, conf, keyring):
        path = keyring("cinder", key="x")
        text = self.refused(connect, exceptions.ConfigError, rbd_ceph_conf=conf(keyring=path))
        assert path in text

    def test_no_monitors(self, connect, conf):
        text = self.refused(connect, exceptions.ConfigError, rbd_ceph_conf=conf(mon_host=None))
        assert "mon host" in text

    def test_an_unknown_host(self, connect, conf):
        text = self.refused(
            connect, exceptions.ConfigError, rbd_ceph_conf=conf(mon_host="mon.invalid")
        )
        assert "mon.invalid" in text

    def test_a_ceph_conf_that_is_none(self, connect, tmp_path):
        path = tmp_path / "ceph.conf"
        path.write_text("mon host = [not\n]]]")
        text = self.refused(connect, exceptions.ConfigError, rbd_ceph_conf=str(path))
        assert f"rbd_ceph_conf: {path}" in text

    def test_the_next_use_tries_again(self, connect, conf, tmp_path, sandbox):
        keyring = tmp_path / "keyring"
        cluster = connect(rbd_ceph_conf=conf(keyring=str(keyring)))
        with pytest.raises(exceptions.ConfigError):
            cluster.list_pools()
        with open(sandbox.keyring_path, encoding="utf-8") as original:
            keyring.write_text(original.read())
        assert "volumes" in cluster.list_pools()


class TestSilence:
    """A dead cluster gives an error inside the limit."""

    def test_no_monitor(self, connect, conf):
        path = conf(mon_host="127.0.0.1:1")
        cluster = connect(
            rbd_ceph_conf=path, rados_connect_timeout=1, rados_connection_retries=1, section="fast"
        )
        with soon(least=1), pytest.raises(exceptions.Unreachable) as caught:
            cluster.list_pools()
        for part in ("[fast]", "within 1 s", "rados_connect_timeout", path, "127.0.0.1:1"):
            assert part in str(caught.value)

    def test_retries(self, connect, conf):
        cluster = connect(
            rbd_ceph_conf=conf(mon_host="127.0.0.1:1"),
            rados_connect_timeout=1,
            rados_connection_retries=2,
            rados_connection_interval=1,
        )
        with soon(least=3), pytest.raises(exceptions.Unreachable):
            cluster.list_pools()

    def test_threads_wait_together(self, connect, conf):
        cluster = connect(
            rbd_ceph_conf=conf(mon_host="127.0.0.1:1"),
            rados_connect_timeout=2,
            rados_connection_retries=1,
        )

        def use(number):
            with pytest.raises(exceptions.Unreachable):
                cluster.list_pools()

        # One after the other they would take longer.
        with soon():
            scratch.together(SOON, use)

    def test_a_frozen_monitor(self, sandbox, connect):
        cluster = connect(rados_connect_timeout=1, rados_connection_retries=1)
        with frozen(sandbox, "mon.a"), soon(), pytest.raises(exceptions.Unreachable):
            cluster.list_pools()
        assert "volumes" in cluster.list_pools()

    def test_a_monitor_that_comes_back_while_it_is_tried(self, sandbox, connect):
        cluster = connect(rados_connect_timeout=1, rados_connection_interval=1)
        sandbox.pause_daemon("mon.a")
        timer = threading.Timer(1.5, sandbox.resume_daemon, ["mon.a"])
        timer.start()
        try:
            assert "volumes" in cluster.list_pools()
        finally:
            timer.join()

    def test_a_frozen_osd(self, sandbox, connect):
        unlimited = connect().open_pool("volumes")
        unlimited.create("a", MiB)
        pool = answered(connect(rbd_operation_timeout=2).open_pool, "volumes")
        image = answered(pool.open, "a")
        calls = [
            lambda: pool.read_object("k"),
            lambda: pool.lease("k", "cookie", 30, "owner"),
            lambda: image.read(0, 100),
            lambda: pool.open("a"),
        ]

        def limited(number):
            with soon(), pytest.raises(exceptions.Timeout):
                calls[number]()

        with frozen(sandbox, "osd.0"):
            scratch.together(len(calls), limited)
        # The client is none the worse.
        assert answered(image.read, 0, 3) == b"\0\0\0"
        assert answered(pool.list_images) == ["a"]
        image.close()
        unlimited.remove("a")
        # It was told that nobody knows whether it was done: it was, or was not.
        unlimited.remove_object("k")

    def test_the_limit_of_connecting_is_none_of_operations(self, sandbox, connect):
        cluster = connect(rados_connect_timeout=1)
        pool = cluster.open_pool("volumes")
        sandbox.pause_daemon("osd.0")
        timer = threading.Timer(3, sandbox.resume_daemon, ["osd.0"])
        timer.start()
        try:
            with soon(least=2.5):
                assert pool.read_object("k") == b""
        finally:
            timer.join()
            sandbox.wait_ready()

    def test_a_monitor_frozen_later(self, sandbox, connect):
        pool = answered(connect(rbd_operation_timeout=2).open_pool, "volumes")
        with frozen(sandbox, "mon.a"), soon(), pytest.raises(exceptions.Timeout):
            pool.stats()
        assert answered(pool.stats).images == 0

    def test_no_manager(self, sandbox, connect):
        cluster = connect(rbd_operation_timeout=2)
        pool = connect().open_pool("volumes")
        pool.create("a", MiB)
        spec = pool.spec("a")
        sandbox.pause_daemon("mgr.x")
        try:
            with soon(), pytest.raises(exceptions.Timeout):
                cluster.flatten_in_background(spec)
        finally:
            sandbox.resume_daemon("mgr.x")
            sandbox.wait_ready()
        with pytest.raises(exceptions.ImageNotFound):
            answered(cluster.flatten_in_background, pool.spec("nope"))
        pool.remove("a")
        # The answer that came too late ends the thread that waited for it.
        racers.until(lambda: "rbdstore-manager" not in [one.name for one in threading.enumerate()])
