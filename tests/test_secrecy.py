# SPDX-License-Identifier: Apache-2.0
"""The watch over keys and passwords fails where one is told, and nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest

from rbdstore.testing import recipe

HEAD = """
import logging
import pytest
from oslo_log import log
from rbdstore import exceptions

KEY = {key!r}
"""
TELLING = {
    "a debug line of ours": 'log.getLogger("rbdstore.x").debug("the key is %s", KEY)',
    "a line of oslo's": 'log.getLogger("oslo.x").info("rabbit://openstack:secret@controller")',
    "a traceback": """
    try:
        raise ValueError(KEY)
    except ValueError:
        logging.getLogger("other").exception("it failed")
""",
    "an error that is caught": """
    with pytest.raises(exceptions.ConfigError):
        raise exceptions.ConfigError(f"no such key: {KEY}")
""",
    "an error that is not raised": "exceptions.InUse(watchers=[KEY])",
}
TELLING_NOTHING = """
    log.getLogger("rbdstore.x").debug("a key of %d bytes, %s", len(KEY), KEY[:10])
    exceptions.ConfigError("no key of client.admin")
"""


def run(folder, body):
    (folder / "test_it.py").write_text(
        HEAD.format(key=recipe._new_key()) + f"\ndef test_it():\n    {body.strip()}\n"
    )
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "secrecy", "-p", "no:cacheprovider", "-q"),
            *("-o", "log_level=DEBUG", "--rootdir", str(folder), "test_it.py"),
        ],
        cwd=folder,
        env={"PYTHONPATH": f"{Path(__file__).parent}:{':'.join(sys.path)}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("body", TELLING.values(), ids=TELLING)
def test_what_is_told_fails_the_test(tmp_path, body):
    done = run(tmp_path, body)
    assert done.returncode == 1, done.stdout
    assert "***" in done.stdout


def test_what_tells_nothing_passes(tmp_path):
    done = run(tmp_path, TELLING_NOTHING)
    assert done.returncode == 0, done.stdout
