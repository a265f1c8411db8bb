# SPDX-License-Identifier: Apache-2.0
"""The command ``rbdstore`` in the tests: in this process, or as one of its own."""

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import places

from rbdstore.cli import app

PYTHON = sys.executable

# The backends of a configuration, the default one last, with the user of each.
BACKENDS = {"images": "glance", "volumes": "cinder"}


@dataclasses.dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def run(*arguments):
    """Run a command that needs no standard input, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = app.main(arguments)
        except SystemExit as ended:
            status = ended.code or 0
    return Ended(status, out.getvalue(), err.getvalue())


def json_of(*arguments, env):
    """What a command prints, as a process of its own."""
    done = subprocess.run(
        [PYTHON, "-m", "rbdstore.cli", *arguments, "--format", "json"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def environment(**more):
    """The environment of a command that is a process of its own."""
    return os.environ | {"PYTHONPATH": str(places.ROOT)} | more


class Shell:
    """Commands on a cluster, through a configuration with these backends, each a pool."""

    def __init__(self, place, config_file, backends=BACKENDS):
        self.config_file = config_file
        config_file.write_text(configuration(place, backends))

    def run(self, *arguments):
        return run("--config-file", str(self.config_file), *arguments)

    def ok(self, *arguments):
        """What a command prints that must succeed, and say nothing on stderr."""
        ended = self.run(*arguments)
        assert (ended.status, ended.err) == (0, "")
        return ended.out

    def json(self, *arguments):
        """The same, of one that knows formats."""
        return json.loads(self.ok(*arguments, "--format", "json"))

    def fails(self, *arguments, status=1):
        """The one line that a command says on stderr that must fail."""
        ended = self.run(*arguments)
        assert (ended.status, ended.out) == (status, "")
        assert ended.err.endswith("\n")
        (line,) = ended.err.splitlines()
        return line

    def start(self, *arguments, **streams):
        """Start a command as a process of its own."""
        return subprocess.Popen(
            [PYTHON, "-m", "rbdstore.cli", *arguments],
            env=environment(RBDSTORE_CONFIG=str(self.config_file)),
            **streams,
        )


def configuration(place, backends=BACKENDS):
    """The text of a configuration file."""
    enabled = ", ".join(f"{backend}:{place.driver}" for backend in reversed(backends))
    lines = ["[rbdstore]", f"enabled_backends = {enabled}", "default_backend = volumes"]
    for backend, user in backends.items():
        lines.append(f"[{backend}]")
        lines += [f"{name} = {value}" for name, value in place.options(backend, user).items()]
    return "\n".join(lines) + "\n"


def names(rows):
    return [row["name"] for row in rows]


def folder_of(path):
    return {entry.name for entry in Path(path).iterdir()}
