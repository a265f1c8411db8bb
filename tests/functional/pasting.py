# SPDX-License-Identifier: Apache-2.0
"""Doing what ``rbdstore doctor`` says: its lines, pasted where they belong."""

import os
import re
import subprocess
import sys
from pathlib import Path


def paste(mends, env):
    """Run what is for a shell; write into the files what is for them."""
    for mend in mends:
        if mend["where"] == "shell":
            subprocess.run(
                ["bash", "-c", f"set -e; {mend['line']}"],
                env=env | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
            )
        else:
            _write(mend)


def _write(mend):
    place = re.fullmatch(r"(\S+)(?: \[(\S+)\](?:, in place of (\S+))?)?", mend["where"])
    path, section, misspelt = Path(place[1]), place[2], place[3]
    lines = path.read_text().splitlines()
    if section is None:
        path.write_text("\n".join([*lines, mend["line"], ""]))
        return
    old = {_key(mend["line"]), misspelt}
    written, here = [], False
    for line in lines:
        if line.startswith("["):
            here = line.strip() == f"[{section}]"
        if here and _key(line) in old:
            continue
        written.append(line)
        if line.strip() == f"[{section}]":
            written.append(mend["line"])
    path.write_text("\n".join([*written, ""]))


def _key(line):
    return line.partition("=")[0].strip().replace(" ", "_")
