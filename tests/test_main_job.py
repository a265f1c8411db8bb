# SPDX-License-Identifier: Apache-2.0
"""The main job on the embedded driver, and that it would notice what it is there to notice."""

import os
import subprocess
import sys

import pytest
import readme

JOB = readme.ROOT / "examples" / "main_job.py"


def run(*args, **env):
    return subprocess.run(
        [sys.executable, str(JOB), "--driver", "file", "--size", "16", *args],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_main_job_without_ceph(tmp_path):
    """Neither Ceph's modules nor its commands, nor a tool of e2fsprogs, is needed."""
    for name in ("rados", "rbd"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('Ceph is imported')\n")
    done = run("--seed", "1", PYTHONPATH=str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "All as it should be" in done.stdout


