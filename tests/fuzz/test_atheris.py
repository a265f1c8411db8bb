# SPDX-License-Identifier: Apache-2.0
"""Every parser under atheris, for a while each (``tox run -e fuzz``, RBDSTORE_FUZZ_SECONDS)."""

import os
import re
import subprocess
import sys

import pytest

from fuzz.parsers import PARSERS

SECONDS = int(os.environ.get("RBDSTORE_FUZZ_SECONDS", "0"))


@pytest.mark.skipif(not SECONDS, reason="only where atheris is: tox run -e fuzz")
@pytest.mark.parametrize("name", PARSERS)
def test_only_documented_errors(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.fly", name, str(SECONDS), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    print(f"{name}: {runs[1]} inputs")
    assert int(runs[1]) > 100
