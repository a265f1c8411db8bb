# SPDX-License-Identifier: Apache-2.0
"""The sandbox on real daemons: what it starts, how its daemons fail, and that nothing stays."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest
import rados

from rbdstore.testing import recipe
from rbdstore.testing import sandbox as sandbox_module
from rbdstore.testing.sandbox import ROLES, CephSandbox, SandboxError

OWNER = """
import json, os, sys, time
from rbdstore.testing.sandbox import CephSandbox

with CephSandbox(pools=["images"], base_dir=sys.argv[1]) as sandbox:
    tell = {"path": str(sandbox.path), "child": None}
    if sys.argv[2] == "fork":
        tell["child"] = os.fork()
        if not tell["child"]:
            time.sleep(60)
            os._exit(0)
    try:
        print(json.dumps(tell), flush=True)
        sys.stdin.readline()
    except KeyboardInterrupt:
        print(sandbox.ceph("fsid").strip() == sandbox.fsid, flush=True)
    if sys.argv[2] == "raise":
        raise LookupError
"""


@pytest.fixture(scope="module")
def base_dir():
    with tempfile.TemporaryDirectory(prefix="sandboxes-") as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="module")
def sandbox(base_dir):
    started = time.monotonic()
    with CephSandbox(base_dir=base_dir) as running:
        running.took = time.monotonic() - started
        yield running
    assert_gone(running.path)


@pytest.fixture
def owner(base_dir):
    """Start processes that own a sandbox in the folder of everybody's sandboxes."""
    with contextlib.ExitStack() as stack:

        def start(what="wait"):
            process = subprocess.Popen(
                [sys.executable, "-c", OWNER, str(base_dir), what],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            process.told = json.loads(process.stdout.readline())
            process.path = pathlib.Path(process.told["path"])
            assert daemons_of(process.path) == {"ceph-mon", "ceph-mgr", "ceph-osd"}
            return process

        yield start


def processes_of(path):
    """The command line of every process that names the folder, by process id."""
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if any(word.startswith(str(path)) for word in words):
                found[int(entry.parent.name)] = words
    return found


def daemons_of(path):
    return {words[0] for words in processes_of(path).values() if words[0].startswith("ceph-")}


def keeper_of(path):
    (pid,) = [p for p, words in processes_of(path).items() if "keeper.py" in " ".join(words)]
    return pid


def assert_gone(path, folder=True):
    """Nothing of a sandbox is left, at the latest after ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end and (processes_of(path) or (folder and path.exists())):
        time.sleep(0.05)
    assert processes_of(path) == {}
    assert not (folder and path.exists())


@contextlib.contextmanager
def images_of(sandbox):
    with (
        rados.Rados(conffile=sandbox.conf_path, rados_id="glance") as cluster,
        cluster.open_ioctx("images") as images,
    ):
        yield images


# The cluster


def test_it_is_ready_soon_and_healthy(sandbox):
    assert sandbox.took < 15
    status = sandbox.ceph_json("status")
    assert status["fsid"] == sandbox.fsid
    assert status["health"]["status"] == "HEALTH_OK"
    assert status["pgmap"]["pgs_by_state"] == [{"state_name": "active+clean", "count": 32}]
    pools = [pool["poolname"] for pool in sandbox.ceph_json("osd", "lspools")]
    assert pools == ["images", "volumes", "vms", "backups"]


def test_everything_listens_on_loopback_only(sandbox):
    daemons = sandbox.ceph_json("mon", "dump")["mons"] + sandbox.ceph_json("osd", "dump")["osds"]
    addresses = [
        address["addr"]
        for daemon in daemons
        for key, value in daemon.items()
        if key.endswith("addrs")
        for address in value["addrvec"]
    ]
    assert len(addresses) >= 10
    assert all(address.startswith("127.0.0.1:") for address in addresses)


def test_every_user_connects_through_the_conf_file_alone(sandbox):
    assert sandbox.users == ("admin", *(role.name for role in ROLES))
    for user in sandbox.users:
        with rados.Rados(conffile=sandbox.conf_path, rados_id=user) as cluster:
            assert cluster.get_fsid() == sandbox.fsid


def test_commands_find_the_cluster_whatever_is_in_the_environment(sandbox, monkeypatch):
    for name in ("CEPH_CONF", "CEPH_KEYRING", "CEPH_ARGS"):
        monkeypatch.setenv(name, "/nowhere")
    assert sandbox.ceph("fsid").strip() == sandbox.fsid
    for arguments in (["ls", "volumes"], ["--id", "cinder", "ls", "volumes"]):
        done = subprocess.run(
            ["rbd", *arguments], env=sandbox.env(), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, "")
    explicit = ["rbd", "-c", sandbox.conf_path, "--keyring", sandbox.keyring_path, "ls", "images"]
    monkeypatch.delenv("CEPH_ARGS")
    monkeypatch.delenv("CEPH_KEYRING")
    assert subprocess.run(explicit, timeout=60).returncode == 0


def test_a_pool_can_be_added(sandbox):
    sandbox.create_pool("more")
    rbd_create = ["rbd", "create", "--size", "1M", "more/image"]
    assert subprocess.run(rbd_create, env=sandbox.env(), timeout=60).returncode == 0
    sandbox.ceph("osd", "pool", "rm", "more", "more", "--yes-i-really-really-mean-it")
    with pytest.raises(SandboxError, match="unrecognized pool 'more'"):
        sandbox.ceph("osd", "pool", "get", "more", "size")


def test_settings_reach_the_daemons(base_dir):
    settings = {"osd_pool_default_pg_num": 4, "osd op queue": "wpq"}
    with CephSandbox(
        osds=3,
        pool_size=3,
        pools=["one"],
        paxos_propose_interval=None,
        client_watch_timeout=7,
        settings=settings,
        base_dir=base_dir,
    ) as sandbox:
        pool = sandbox.ceph_json("osd", "pool", "get", "one", "all")
        assert (pool["size"], pool["pg_num"]) == (3, 4)

        def value(daemon, option):
            return sandbox.ceph("config", "show", daemon, option).strip()

        assert float(value("mon.a", "paxos_propose_interval")) == 1
        assert int(value("osd.2", "osd_client_watch_timeout")) == 7
        assert value("osd.0", "osd_op_queue") == "wpq"
        # What two of them do at a time, an OSD in memory does not count right.
        threads = ("osd_op_num_shards", "osd_op_num_threads_per_shard")
        assert [value("osd.1", option) for option in threads] == ["1", "1"]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="objectstore"):
        CephSandbox(objectstore="filestore")
    with pytest.raises(ValueError, match="pool_size"):
        CephSandbox(osds=2, pool_size=3)


# Daemons


def test_daemons_end_and_start_again(base_dir):
    with CephSandbox(objectstore="bluestore", pools=["images"], base_dir=base_dir) as sandbox:
        with images_of(sandbox) as images:
            images.write_full("kept", b"bytes that outlive their OSD")
        for end in (sandbox.kill_daemon, sandbox.stop_daemon):
            for name in ("osd.0", "mgr.x", "mon.a"):
                end(name)
                assert not sandbox.running(name)
                end(name)
            assert daemons_of(sandbox.path) == set()
            with pytest.raises(SandboxError, match=r"mon\.a does not run"):
                sandbox.wait_ready(5)
            for name in ("mon.a", "mgr.x", "osd.0"):
                sandbox.start_daemon(name)
                assert sandbox.running(name)
            sandbox.wait_ready()
            with images_of(sandbox) as images:
                assert images.read("kept") == b"bytes that outlive their OSD"


def test_a_frozen_daemon_does_not_answer_until_it_is_resumed_and_can_be_stopped(sandbox):
    sandbox.pause_daemon("mon.a")
    assert sandbox.running("mon.a")
    with pytest.raises(SandboxError, match="no answer in 1 s"):
        sandbox.ceph("osd", "pool", "ls", timeout=1)
    started = time.monotonic()
    with pytest.raises(SandboxError, match="does not do its work"):
        sandbox.wait_ready(2)
    assert time.monotonic() - started < 10
    sandbox.resume_daemon("mon.a")
    sandbox.wait_ready()
    sandbox.pause_daemon("mgr.x")
    sandbox.stop_daemon("mgr.x")
    sandbox.start_daemon("mgr.x")
    sandbox.wait_ready()
    with pytest.raises(SandboxError, match=r"osd\.7: there are mon\.a, mgr\.x, osd\.0"):
        sandbox.kill_daemon("osd.7")


# Failures while it starts


def test_missing_packages_are_named(base_dir, monkeypatch):
    monkeypatch.setenv("PATH", str(base_dir))
    before = set(base_dir.iterdir())
    with pytest.raises(SandboxError, match=r"ceph-common ceph-mgr ceph-mon ceph-osd util-linux$"):
        CephSandbox(base_dir=base_dir).setUp()
    assert set(base_dir.iterdir()) == before


def test_an_interpreter_without_bindings_is_told_so(base_dir):
    code = (
        "import sys; sys.modules['rados'] = sys.modules['rbd'] = None\n"
        "from rbdstore.testing.recipe import SandboxError, check_installed\n"
        "try: check_installed()\n"
        "except SandboxError as exc: print(exc)\n"
    )
    here = pathlib.Path(recipe.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=here
    )
    assert done.stdout.strip().endswith("system's: python3-rados python3-rbd"), done.stderr


@pytest.mark.parametrize(
    ("settings", "says", "because"),
    [
        ({"bluestore block size": 4096}, r"osd\.0 could not be made", "BlueStore::mkfs"),
        # The last words of these may be lost: they exit without flushing their logs.
        ({"mon data avail crit": 100}, r"mon\.a ended while it started", "created monfs|space"),
        ({"ms bind port max": 6799}, r"(mgr\.x|osd\.0) does not run", r"unable to bind|\n\d{4}-"),
    ],
)
def test_a_daemon_that_dies_shows_its_log_and_leaves_nothing(base_dir, settings, says, because):
    before = set(base_dir.iterdir())
    sandbox = CephSandbox(objectstore="bluestore", settings=settings, base_dir=base_dir)
    with pytest.raises(SandboxError, match=f"(?s){says}. The end of its log:.*{because}"):
        sandbox.setUp()
    assert_gone(sandbox.path)
    assert set(base_dir.iterdir()) == before


def test_a_port_that_somebody_takes_first_is_replaced(base_dir, monkeypatch):
    free = sandbox_module._free_ports
    with socket.create_server(("127.0.0.1", 0)) as thief:
        ports = iter([[thief.getsockname()[1], *free(1)]])
        monkeypatch.setattr(sandbox_module, "_free_ports", lambda n: next(ports, None) or free(n))
        with CephSandbox(pools=["images"], base_dir=base_dir) as sandbox:
            assert sandbox.ceph("fsid").strip() == sandbox.fsid
    assert_gone(sandbox.path)


def test_a_keeper_that_cannot_start_leaves_no_folder(base_dir, monkeypatch):
    before = set(base_dir.iterdir())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        CephSandbox(base_dir=base_dir).setUp()
    assert set(base_dir.iterdir()) == before


def test_a_path_too_long_for_sockets_is_refused(base_dir):
    with pytest.raises(SandboxError, match="is too long"):
        CephSandbox(base_dir=base_dir / ("x" * 80)).setUp()
    assert list((base_dir / ("x" * 80)).iterdir()) == []


# Gone with its owner


@pytest.mark.parametrize(("what", "status"), [("wait", 0), ("raise", 1)])
def test_an_owner_that_ends_by_itself_leaves_nothing(owner, what, status):
    process = owner(what)
    process.communicate("\n", timeout=30)
    assert process.returncode == status
    assert_gone(process.path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_leaves_nothing(owner, sandbox, number):
    process = owner()
    process.send_signal(number)
    assert_gone(process.path)
    assert daemons_of(sandbox.path) == {"ceph-mon", "ceph-mgr", "ceph-osd"}


@pytest.mark.parametrize("number", [signal.SIGKILL, None])
def test_a_child_of_the_owner_does_not_keep_the_cluster(owner, number):
    process = owner("fork")
    try:
        if number:
            process.send_signal(number)
        else:
            process.stdin.write("\n")
            process.stdin.flush()
        assert_gone(process.path)
    finally:
        os.kill(process.told["child"], signal.SIGKILL)


def test_an_interrupt_of_the_process_group_reaches_the_owner_first(owner):
    process = owner()
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == "True\n"
    assert process.wait(30) == 0
    assert_gone(process.path)


def test_daemons_end_with_their_keeper_and_the_folder_with_the_owner(owner):
    process = owner()
    os.kill(keeper_of(process.path), signal.SIGKILL)
    assert_gone(process.path, folder=False)
    assert process.path.is_dir()
    process.communicate("\n", timeout=30)
    assert_gone(process.path)


def test_a_keeper_asked_to_end_takes_everything_along(owner):
    process = owner()
    os.kill(keeper_of(process.path), signal.SIGTERM)
    assert_gone(process.path)


def test_the_next_sandbox_sweeps_what_nobody_could_remove(owner, base_dir, sandbox):
    process = owner()
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(keeper_of(process.path), signal.SIGKILL)
    process.kill()
    assert_gone(process.path, folder=False)
    assert process.path.is_dir()
    with CephSandbox(pools=["images"], base_dir=base_dir) as swept:
        assert not process.path.exists()
        assert sandbox.path.is_dir()
    assert_gone(swept.path)


def test_a_sandbox_that_lost_its_keeper_says_so_and_can_be_set_up_again(base_dir):
    sandbox = CephSandbox(pools=["images"], base_dir=base_dir)
    with pytest.raises(SandboxError, match="not set up"):
        sandbox.start_daemon("osd.0")
    with sandbox:
        first = sandbox.path
        os.kill(keeper_of(first), signal.SIGKILL)
        assert_gone(first, folder=False)
        with pytest.raises(SandboxError, match="keeper of the sandbox is gone"):
            sandbox.start_daemon("osd.0")
    assert_gone(first)
    with sandbox:
        assert sandbox.path != first
        assert sandbox.ceph("fsid").strip() == sandbox.fsid
    assert_gone(sandbox.path)
