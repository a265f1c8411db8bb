# SPDX-License-Identifier: Apache-2.0
"""The main job on a Ceph of its own, as quickstart.sh runs it, with a small image."""

import subprocess
import sys

import readme


def test_main_job():
    done = subprocess.run(
        [sys.executable, readme.ROOT / "examples" / "main_job.py", "--size", "16"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "All as it should be" in done.stdout
    assert "e2fsck finds its file system clean" in done.stdout
