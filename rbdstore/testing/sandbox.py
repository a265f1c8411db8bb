# SPDX-License-Identifier: Apache-2.0
"""A real Ceph cluster in a folder, for tests.

``CephSandbox`` starts a monitor, OSDs and a manager as plain processes of the calling user, on
loopback, with cephx on, everything they write under one folder, and takes all of it away again,
however its owner ends (see :mod:`rbdstore.testing.keeper`). As a fixture, or with ``with``::

    with CephSandbox() as sandbox:
        cluster = rados.Rados(conffile=sandbox.conf_path, rados_id="cinder")

It is quick because nothing waits that need not: keys and users are in the keyring the monitor is
made from, so no command creates them; the monitor is asked through one client, not through the
``ceph`` command; OSDs, manager and pools come up side by side.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fixtures

from rbdstore.provision.roles import Role
from rbdstore.testing import admin, keeper, recipe
from rbdstore.testing.recipe import ROLES, SandboxError

__all__ = ["ROLES", "CephSandbox", "Role", "SandboxError"]

_SOCKET_PATH_LIMIT = 107
_PORT_TRIES = 5
_START_LIMIT = 60.0
_LOGGED_ERROR = " -1 "


class CephSandbox(fixtures.Fixture):
    """A cluster of one host that lives as long as the fixture, at most as long as its process.

    :ivar path: its folder, a :class:`pathlib.Path`
    :ivar conf_path: its ceph.conf, through which every user finds its key
    :ivar keyring_path: the keys of client.admin and of every role, by default
        ``ROLES``
    :ivar fsid: the cluster's id
    :ivar users: the names of those users, without ``client.``
    """

    def __init__(
        self,
        *,
        osds: int = 1,
        objectstore: str = "memstore",
        paxos_propose_interval: float | None = 0.05,
        client_watch_timeout: int | None = None,
        pools: Sequence[str] = ("images", "volumes", "vms", "backups"),
        pool_size: int = 1,
        roles: Sequence[Role] = ROLES,
        settings: Mapping[str, object] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Describe a sandbox; ``setUp`` starts it.

        :param osds: how many OSDs
        :param objectstore: ``memstore`` (in the OSD's memory, gone with it) or ``bluestore``
            (in files; survives the OSD)
        :param paxos_propose_interval: how long the monitor gathers changes, in seconds, and a
            snapshot waits; None is Ceph's own default of one second
        :param client_watch_timeout: seconds until a dead client's watcher is dropped
        :param pools: the pools to create and initialise for RBD
        :param pool_size: how many replicas, at most ``osds``
        :param roles: the users there are besides client.admin
        :param settings: further settings of ceph.conf's [global]; they win
        :param base_dir: where to make the folder; default: where temporary files go
        """
        super().__init__()
        if objectstore not in ("memstore", "bluestore"):
            raise ValueError(f"objectstore is memstore or bluestore, not {objectstore!r}")
        if not 1 <= pool_size <= osds:
            raise ValueError(f"pool_size is 1 to the number of OSDs, {osds}, not {pool_size}")
        self._osds = {f"osd.{i}": str(uuid.uuid4()) for i in range(osds)}
        self._daemons = ("mon.a", "mgr.x", *self._osds)
        self._pools = tuple(pools)
        self._base = pathlib.Path(base_dir or tempfile.gettempdir()).absolute()
        self._settings: dict[str, object] = {
            "osd objectstore": objectstore,
            "osd pool default size": pool_size,
        }
        if paxos_propose_interval is not None:
            self._settings["paxos propose interval"] = paxos_propose_interval
        if client_watch_timeout is not None:
            self._settings["osd client watch timeout"] = client_watch_timeout
            # A client says that it is alive at each tick, by default every 5 s.
            self._settings["objecter tick interval"] = min(5.0, client_watch_timeout / 4)
        self._settings |= settings or {}
        self._roles = tuple(roles)
        self.users = ("admin", *(role.name for role in self._roles))
        self.fsid = str(uuid.uuid4())
        self.path = pathlib.Path()
        self.conf_path = ""
        self.keyring_path = ""
        # Who has made the folder and is to remove it; 0 while there is none.
        self._owner = 0
        self._keeper: keeper.Keeper | None = None

    def setUp(self) -> None:
        """Start the cluster and wait until it is ready; raise ``SandboxError``."""
        # Not in _setUp, whose errors the base class wraps in a MultipleExceptions.
        super().setUp()
        self.addCleanup(self._end)
        try:
            self._start()
        except BaseException:
            self._end()
            raise

    def env(self, user: str = "admin") -> dict[str, str]:
        """Return this process's environment, in which ``ceph`` and ``rbd`` find this cluster."""
        return os.environ | {
            "CEPH_CONF": self.conf_path,
            "CEPH_KEYRING": self.keyring_path,
            "CEPH_ARGS": f"--id {user}",
        }

    def ceph(self, *args: str, timeout: float = 60) -> str:
        """Run the ``ceph`` command as client.admin and return what it prints."""
        command = ["ceph", *args]
        try:
            done = subprocess.run(
                # Without its cluster the command would go on for minutes after a killed caller.
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.env(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as exc:
            raise SandboxError(f"{' '.join(command)}: no answer in {timeout:g} s") from exc
        if done.returncode:
            raise SandboxError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def ceph_json(self, *args: str, timeout: float = 60) -> Any:
        """Run the ``ceph`` command as client.admin and return what it prints, decoded."""
        return json.loads(self.ceph(*args, "--format=json", timeout=timeout))

    def create_pool(self, name: str) -> None:
        """Create a pool and initialise it for RBD."""
        with admin.connect(self.conf_path, _START_LIMIT) as client:
            client.create_pools([name])
            client.init_pools([name])

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the cluster serves; raise ``SandboxError`` if it does not in time.

        That is: every daemon runs, every OSD is up, every placement group active and clean, the
        manager answers for RBD tasks, and an image can be created in each of ``pools``.
        """
        self._check_running()
        with admin.connect(self.conf_path, timeout) as client:
            if not _until(lambda: self._osds_serve() and client.is_ready(), timeout):
                raise SandboxError(f"the cluster is not ready after {timeout:g} s")
        # This client's map may still have the old address of an OSD that came back, and it would
        # try that for fifteen seconds; a new one has a new map.
        with admin.connect(self.conf_path, timeout) as client:
            client.try_pools(self._pools)

    def start_daemon(self, name: str) -> None:
        """Start a daemon (``mon.a``, ``osd.0``, ``mgr.x``), unless it runs.

        It does not serve at once: see :meth:`wait_ready`.
        """
        if not self.running(name):
            self._spawn(name, "-f")

    def stop_daemon(self, name: str, timeout: float = 20) -> None:
        """End a daemon with SIGTERM, if it runs, and wait for it."""
        # A frozen one would never see the SIGTERM.
        self._end_daemon(name, timeout, signal.SIGTERM, signal.SIGCONT)

    def kill_daemon(self, name: str, timeout: float = 20) -> None:
        """End a daemon with SIGKILL, if it runs, and wait for it."""
        self._end_daemon(name, timeout, signal.SIGKILL)

    def pause_daemon(self, name: str) -> None:
        """Freeze a daemon with SIGSTOP: it does nothing more, not even what it was at."""
        self._signal(name, signal.SIGSTOP)

    def resume_daemon(self, name: str) -> None:
        """Let a frozen daemon go on (SIGCONT)."""
        self._signal(name, signal.SIGCONT)

    def running(self, name: str) -> bool:
        """Tell whether a daemon runs; a frozen one does."""
        if name not in self._daemons:
            raise SandboxError(f"no daemon {name}: there are {', '.join(self._daemons)}")
        with self._keeping() as keep:
            return keep.status(name) is None

    def _start(self) -> None:
        recipe.check_installed()
        self._base.mkdir(parents=True, exist_ok=True)
        keeper.sweep(self._base)
        self.path, lock = keeper.claim(self._base)
        self._owner = os.getpid()
        self._keeper = keeper.Keeper(self.path, lock)
        self.conf_path = str(self.path / "ceph.conf")
        self.keyring_path = str(self.path / "keyring")
        longest = max(len(os.fsencode(self.path / "run" / f"{d}.asok")) for d in self._daemons)
        if longest > _SOCKET_PATH_LIMIT:
            raise SandboxError(
                f"{self._base} is too long: the daemons' sockets below it would have paths of"
                f" {longest} bytes, and a unix socket's has at most {_SOCKET_PATH_LIMIT}"
            )
        for folder in ("run", "log", *self._daemons):
            (self.path / folder).mkdir()
        recipe.write_keyrings(self.path, self._roles, tuple(self._osds))
        self._start_monitor()
        with admin.connect(self.conf_path, _START_LIMIT) as client:
            for osd, osd_uuid in self._osds.items():
                client.monitor("osd new", uuid=osd_uuid, id=int(osd.removeprefix("osd.")))
            for name in self._daemons:
                self.start_daemon(name)
            # It tells of the modules that the configuration leaves out.
            client.monitor("health mute", code="MGR_MODULE_ERROR", sticky=True)
            client.create_pools(self._pools)
        if not _until(self._osds_serve, _START_LIMIT):
            raise SandboxError(f"the OSDs do not serve after {_START_LIMIT:g} s")
        with admin.connect(self.conf_path, _START_LIMIT) as client:
            client.init_pools(self._pools)
        self.wait_ready(_START_LIMIT)

    def _start_monitor(self) -> None:
        for _ in range(_PORT_TRIES):
            ports = _free_ports(2)
            recipe.write_conf(self.path, self.fsid, ports, self._settings)
            self._make_stores()
            self.start_daemon("mon.a")
            if self._monitor_leads():
                return
            if "Address already in use" not in self._log_tail("mon.a"):
                break
            # Somebody took a port meanwhile. The monitor's store holds its address: make it anew.
            shutil.rmtree(self.path / "mon.a")
            (self.path / "mon.a").mkdir()
        raise self._error("mon.a", "ended while it started")

    def _monitor_leads(self) -> bool:
        # Not a look at its port: that may be the one that somebody else has taken.
        def leads() -> bool:
            return self._state("mon.a", "mon_status") == "leader"

        if not _until(lambda: leads() or not self.running("mon.a"), _START_LIMIT):
            raise self._error("mon.a", "does not lead")
        return self.running("mon.a")

    def _make_stores(self) -> None:
        options = {"mon.a": ["--keyring", str(self.path / "keyring.mon")]}
        for osd, osd_uuid in self._osds.items():
            if not (self.path / osd / "ready").exists():
                options[osd] = ["--osd-uuid", osd_uuid, "--no-mon-config"]
        for name, more in options.items():
            self._spawn(name, "--mkfs", *more, program=f"{name} --mkfs")
        with self._keeping() as keep:

            def statuses() -> list[int | None]:
                return [keep.status(f"{name} --mkfs") for name in options]

            _until(lambda: None not in statuses(), _START_LIMIT)
            for name, status in zip(options, statuses(), strict=True):
                if status != 0:
                    raise self._error(name, "could not be made")

    def _osds_serve(self) -> bool:
        # They are asked themselves: the monitor may not know yet that one was killed.
        self._check_running()
        return all(self._state(osd, "status") == "active" for osd in self._osds)

    def _check_running(self) -> None:
        for name in self._daemons:
            if not self.running(name):
                raise self._error(name, "does not run")

    def _state(self, name: str, command: str) -> str | None:
        return admin.daemon_state(self.path / "run" / f"{name}.asok", command)

    def _spawn(self, name: str, *args: str, program: str | None = None) -> None:
        kind, _, daemon_id = name.partition(".")
        argv = [f"ceph-{kind}", "-c", self.conf_path, "-i", daemon_id, *args]
        with self._keeping() as keep:
            keep.start(program or name, argv, self.path / "log" / f"{name}.out")

    def _end_daemon(self, name: str, timeout: float, *signals: signal.Signals) -> None:
        for number in signals:
            self._signal(name, number)
        if not _until(lambda: not self.running(name), timeout):
            raise self._error(name, f"still runs {timeout:g} s after {signals[0].name}")

    def _signal(self, name: str, number: signal.Signals) -> None:
        if self.running(name):
            with self._keeping() as keep:
                keep.signal(name, number)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[keeper.Keeper]:
        if self._keeper is None:
            raise SandboxError("the sandbox is not set up")
        try:
            yield self._keeper
        except OSError as exc:
            raise SandboxError(str(exc)) from exc

    def _error(self, name: str, what: str) -> SandboxError:
        return SandboxError(f"{name} {what}. The end of its log:\n{self._log_tail(name)}")

    def _log_tail(self, name: str) -> str:
        """The last errors a daemon logged, or else the log's end, and the end of its output."""
        lines: list[str] = []
        for suffix in ("log", "out"):
            with contextlib.suppress(FileNotFoundError):
                text = (self.path / "log" / f"{name}.{suffix}").read_text(errors="replace")
                everything = text.splitlines()
                # A crash leaves thousands of lines below the error that led to it.
                errors = [line for line in everything if _LOGGED_ERROR in line]
                lines += (errors if suffix == "log" and errors else everything)[-15:]
        return "\n".join(lines)

    def _end(self) -> None:
        # A child of the owner inherits this object, not the cluster.
        if self._owner != os.getpid():
            return
        if self._keeper is not None:
            self._keeper.close()
        keeper.remove(self.path)
        self._keeper = None
        self._owner = 0


def _until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
