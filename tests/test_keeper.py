# SPDX-License-Identifier: Apache-2.0
"""What a sandbox's keeper does to the programs that it keeps."""

import contextlib
import pathlib
import signal
import sys

import racers

from rbdstore.testing import keeper

MANY_THREADS = """
import threading

for _ in range(50):
    threading.Thread(target=threading.Event().wait).start()
print("ready", flush=True)
"""


def states_of_threads(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/stat")
    return {task.read_text().rpartition(")")[2].split()[0] for task in tasks}


def test_what_is_frozen_does_nothing_more(tmp_path):
    path, lock = keeper.claim(tmp_path)
    with contextlib.closing(keeper.Keeper(path, lock)) as keep:
        output = path / "output"
        pid = keep.start("program", [sys.executable, "-c", MANY_THREADS], output)
        racers.until(lambda: output.read_text() == "ready\n")
        for _ in range(20):
            keep.signal("program", signal.SIGSTOP)
            assert states_of_threads(pid) == {"T"}
            # Who is frozen already is so still.
            keep.signal("program", signal.SIGSTOP)
            keep.signal("program", signal.SIGCONT)
        assert keep.status("program") is None
        keep.signal("program", signal.SIGKILL)
        racers.until(lambda: keep.status("program") == -signal.SIGKILL)
        keep.signal("program", signal.SIGSTOP)
