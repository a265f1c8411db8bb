# SPDX-License-Identifier: Apache-2.0
"""A service as a plain process on loopback: started, waited for, stopped or killed by its pid.

::

    with processes.Service("glance-api", [...], folder, ready=client.answers) as service:
        service.kill()
        service.start()

It is in a session of its own, so that a signal reaches it with all that it has started, and it
dies with who started it. Both its outputs go to ``<folder>/<name>.out``, beside its logs.
"""

import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

START_LIMIT = 300.0
STOP_LIMIT = 30.0
# Below those that the kernel hands out: no client's connection can take one between two starts.
PORTS = range(20000, 30000)
_claims = []

running = []
"""The services that were started and not yet stopped."""


class ServiceError(Exception):
    """A service does not start, or does not stop; with the end of its logs."""


def program(name):
    """The path of a program that came with one of this environment's packages."""
    return str(pathlib.Path(sys.prefix, "bin", name))


def data_file(*parts):
    """The path of a data file that came with one of them: ``data_file("etc", "glance", ...)``."""
    return pathlib.Path(sys.prefix, *parts)


def free_port():
    """A port of 127.0.0.1 for whoever is given it, to listen there again and again."""
    while True:
        port = random.choice(PORTS)
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, contextlib.suppress(OSError):
            # Other runs of these tests see by this that it is taken, also between two starts.
            claim.bind(f"\0rbdstore-e2e-{port}")
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()


def run(*argv, env=None, limit=START_LIMIT):
    """Run a command to its end and return what it prints; the error has both its outputs."""
    done = subprocess.run(
        list(map(str, argv)),
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
    )
    if done.returncode:
        raise ServiceError(f"{' '.join(map(str, argv))}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Service:
    """One service.

    :ivar folder: where its logs are
    :ivar pid: of its first process, while it runs
    """

    def __init__(self, name, argv, folder, *, ready, env=None):
        """Describe it; :meth:`start` starts it.

        :param ready: called until it returns something true; what it raises counts as false
        :param env: beside this process's environment
        """
        self.name = name
        self.folder = pathlib.Path(folder)
        self._argv = list(map(str, argv))
        self._ready = ready
        self._env = os.environ | (env or {})
        self._process = None

    @property
    def pid(self):
        return self._process.pid

    def start(self):
        """Start it and wait until it is ready."""
        self.spawn()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def spawn(self):
        """Start it; whether it comes up is for :meth:`wait_ready` to see."""
        with (self.folder / f"{self.name}.out").open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._argv],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(self)

    def wait_ready(self, limit=START_LIMIT):
        end = time.monotonic() + limit
        while not self._is_ready():
            if self._process.poll() is not None:
                raise self._error(f"ended with status {self._process.returncode}")
            if time.monotonic() > end:
                raise self._error(f"is not ready after {limit:g} s")
            time.sleep(0.05)

    def stop(self):
        """Have it end in its own way, and wait for that."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            raise self._error(f"still runs {STOP_LIMIT:g} s after SIGTERM") from None
        finally:
            self.kill()

    def kill(self):
        """Kill it, with all that it has started, wherever they are."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_LIMIT)
        self._process = None
        running.remove(self)

    def logs(self, lines=40):
        """The end of each file that it writes."""
        paths = sorted({*self.folder.glob("*.out"), *self.folder.glob("*.log")})
        text = ""
        for path in paths:
            end = path.read_text(errors="replace").splitlines()[-lines:]
            text += "\n".join([f"--- {path.name}", *end, ""])
        return text

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_error):
        self.stop()

    def _is_ready(self):
        try:
            return self._ready()
        except Exception:
            return False

    def _error(self, what):
        return ServiceError(f"{self.name} {what}\n{self.logs()}")
