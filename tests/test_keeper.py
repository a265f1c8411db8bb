# SPDX-License-Identifier: Apache-2.0
"""What a sandbox's keeper does to the programs that it keeps."""

import contextlib
import os
import pathlib
import signal
import sys
import tempfile

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


def test_a_folder_that_somebody_swept_before_it_was_locked(tmp_path, monkeypatch):
    """He took it for that of one who is no more."""
    mkdtemp, made = tempfile.mkdtemp, []

    def mkdtemp_and_sweep(**how):
        made.append(mkdtemp(**how))
        if len(made) == 1:
            assert keeper.sweep(tmp_path) == [pathlib.Path(made[0])]
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp_and_sweep)
    path, lock = keeper.claim(tmp_path)
    os.close(lock)
    assert [str(path)] == made[1:]
    assert path.is_dir()
