# SPDX-License-Identifier: Apache-2.0
"""The process that keeps a sandbox's daemons, and ends them with their owner.

Vocabulary: the *owner* is the process that made the sandbox; the *keeper* is a small process of
its own, in a session of its own, so that a signal to the owner's process group reaches neither it
nor the daemons; the *folder* holds everything the daemons write.

The keeper starts the daemons as its children and serves requests, a JSON object a line, on its
standard input. It waits for three things: a request, the end of that pipe, and the end of the
owner, which a pidfd shows even where another process still holds the pipe open. When the owner is
gone, or asks for it, the keeper kills the daemons and removes the folder. Where the keeper itself
is killed, the kernel kills the daemons (``PR_SET_PDEATHSIG``), and the owner removes the folder.
Where both are, the folder stays until the next sandbox beside it sweeps it away: the keeper alone
holds a lock on the folder, so one that can be locked is nobody's.

The file runs as a script, away from the package, and needs the standard library only: it is up
within some 30 ms.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, NoReturn, cast

PREFIX = "rbdstore-sandbox-"

_PR_SET_PDEATHSIG = 1
_END_LIMIT = 20.0
_NEVER_STARTED = 127


def claim(base: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Make a folder under ``base`` and lock it; return it with the descriptor of the lock."""
    while True:
        path = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = _lock(path)
        if lock is not None:
            return path, lock
        # A sweep came between the two steps and takes the folder for a stale one.


def sweep(base: pathlib.Path) -> list[pathlib.Path]:
    """Remove this user's folders under ``base`` that no keeper holds; return them."""
    swept = []
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            status = path.lstat()
            if status.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
                continue
            lock = _lock(path)
            if lock is not None:
                remove(path)
                os.close(lock)
                swept.append(path)
    return swept


def remove(path: pathlib.Path) -> None:
    """Remove a folder into which a client may still be writing."""
    for _ in range(20):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)


def _lock(path: pathlib.Path) -> int | None:
    """The descriptor of a lock on a folder; None: somebody else has it, or the folder is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(path)):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


class Keeper:
    """The owner's handle on its keeper.

    Raises ``ConnectionError`` when the keeper is gone, ``TimeoutError`` when it does not answer.
    """

    def __init__(self, path: pathlib.Path, lock: int) -> None:
        """Start a keeper of the folder ``path``; the descriptor ``lock`` becomes its own."""
        owner = os.pidfd_open(os.getpid())
        try:
            with (path / "keeper.log").open("ab") as log:
                self._process = subprocess.Popen(
                    # Isolated and without site: nothing of the owner's environment slows it
                    # down or breaks it.
                    [sys.executable, "-I", "-S", __file__, str(path), str(owner)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=(owner, lock),
                    start_new_session=True,
                    cwd="/",
                )
        finally:
            os.close(owner)
            os.close(lock)
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        self._buffer = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, name: str, argv: Sequence[str], output: pathlib.Path) -> int:
        """Start a program under ``name``, both its outputs appended to a file; return its pid."""
        return int(self._ask("start", name=name, argv=list(argv), output=str(output)))

    def status(self, name: str) -> int | None:
        """Return a program's exit status as subprocess gives it; None while it runs.

        A program that was never started has one too.
        """
        status: int | None = self._ask("status", name=name)
        return status

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program; nothing happens where it has ended.

        After SIGSTOP all of its threads have stopped.
        """
        self._ask("signal", name=name, number=number)

    def close(self) -> None:
        """End every program, the folder and the keeper. Never fails: what is gone is gone."""
        with contextlib.suppress(OSError, ValueError):
            # A child of the owner may hold the pipe open: do not leave it to its end.
            self._requests.write(b'{"request": "end"}\n')
            self._requests.flush()
        with contextlib.suppress(OSError):
            self._requests.close()
        try:
            self._process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_LIMIT)
        self._answers.close()

    def _ask(self, request: str, **arguments: Any) -> Any:
        line = json.dumps({"request": request, **arguments}).encode() + b"\n"
        try:
            self._requests.write(line)
            self._requests.flush()
        except (BrokenPipeError, ValueError):
            raise ConnectionError("the keeper of the sandbox is gone") from None
        answers = self._answers.fileno()
        while b"\n" not in self._buffer:
            if not select.select([answers], [], [], 10.0)[0]:
                raise TimeoutError("the keeper of the sandbox does not answer")
            data = os.read(answers, 65536)
            if not data:
                raise ConnectionError("the keeper of the sandbox is gone")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise OSError(answer["error"])
        return answer["result"]


class _Supervisor:
    """What runs in the keeper."""

    def __init__(self, path: pathlib.Path, owner: int) -> None:
        self._path = path
        self._owner = owner
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._die_with_keeper = _die_with(os.getpid())

    def serve(self) -> None:
        """Answer requests until the owner is gone, closes the pipe or asks for the end."""
        requests = sys.stdin.fileno()
        poller = select.poll()
        poller.register(requests, select.POLLIN)
        poller.register(self._owner, select.POLLIN)
        buffer = b""
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._owner in ready:
                return
            data = os.read(requests, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if request["request"] == "end":
                    return
                os.write(sys.stdout.fileno(), json.dumps(self._answer(request)).encode() + b"\n")

    def end(self) -> None:
        """Kill every program and remove the folder."""
        for program in self._programs.values():
            program.kill()
        for program in self._programs.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(5)
        remove(self._path)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        handler: Callable[..., Any] = getattr(self, f"_do_{request.pop('request')}")
        try:
            return {"result": handler(**request)}
        except OSError as exc:
            return {"error": str(exc)}

    def _do_start(self, name: str, argv: list[str], output: str) -> int:
        # An inherited CEPH_CONF or CEPH_ARGS would send the daemon elsewhere.
        environ = {k: v for k, v in os.environ.items() if not k.startswith("CEPH_")}
        with open(output, "ab") as file:
            self._programs[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd="/",
                preexec_fn=self._die_with_keeper,
            )
        return self._programs[name].pid

    def _do_status(self, name: str) -> int | None:
        program = self._programs.get(name)
        return _NEVER_STARTED if program is None else program.poll()

    def _do_signal(self, name: str, number: int) -> None:
        program = self._programs[name]
        program.send_signal(number)
        if number == signal.SIGSTOP and program.returncode is None:
            # One of its threads passes it on to the others, once it is given a processor.
            os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def _die_with(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _end_politely(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    polite = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in polite:
        signal.signal(number, _end_politely)
    # A thread of the owner may have blocked signals, and a mask is inherited, by daemons too.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    supervisor = _Supervisor(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
    try:
        supervisor.serve()
    except BrokenPipeError:
        pass
    finally:
        for number in polite:
            signal.signal(number, signal.SIG_IGN)
        supervisor.end()


if __name__ == "__main__":
    main()
