# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows of a console, typed into a shell on a terminal, line by line."""

import contextlib
import doctest
import os
import re
import sys

import pexpect
import readme

PROMPT = "rbdstore-tour> "
# Progress that is drawn over, and taken away at last.
ERASED = re.compile(r"[^\n]*(?:\n\x1b\[1A)?\x1b\[2K")
# What else a terminal is told besides the text.
CONTROLS = re.compile(r"\x1b\[[0-9;]*m")
CURSOR = re.compile(r"\x1b\[\?[0-9]+[hl]|\r")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def steps(text):
    """The commands of a console block, each with what it is to print."""
    found = []
    for line in text.rstrip().splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line.strip(), [])
        else:
            found[-1][1].append(line)
    return [(command, "".join(f"{line}\n" for line in lines)) for command, lines in found]


@contextlib.contextmanager
def shell(folder, record, **environment):
    """Give a shell in a folder that looks like a checkout after quickstart.sh."""
    (folder / "etc").symlink_to(readme.ROOT / "etc")
    (folder / ".venv").symlink_to(sys.prefix)
    child = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile"],
        cwd=str(folder),
        env=os.environ
        | {"PS1": PROMPT, "VIRTUAL_ENV_DISABLE_PROMPT": "1", "TERM": "xterm", **environment},
        encoding="utf-8",
        timeout=120,
        # So wide that no command that is typed is broken into lines.
        dimensions=(60, 240),
    )
    with record.open("w") as file:
        child.logfile_read = file
        try:
            child.expect_exact(PROMPT)
            # What is pasted is marked otherwise, which does not belong to the text.
            run(child, "bind 'set enable-bracketed-paste off'")
            yield child
        finally:
            child.close(force=True)


def run(child, command):
    """Type a command; return what is printed until the next prompt, and the exit status."""
    child.sendline(command)
    child.expect_exact(PROMPT)
    printed = CONTROLS.sub("", ERASED.sub("", CURSOR.sub("", child.before))).partition("\n")[2]
    child.sendline("echo status $?")
    child.expect(r"\nstatus (\d+)")
    status = int(child.match[1])
    child.expect_exact(PROMPT)
    return printed, status


def succeed(child, text):
    """Type in commands, of which it does not matter what they print."""
    for command in re.sub(r"\\\n\s*", "", text).splitlines():
        printed, status = run(child, command)
        assert status == 0, f"{command}\n{printed}"


def take(child, words):
    """Type in the README's block that has these words."""
    type_in(child, readme.block("console", words))


def type_in(child, text):
    """Type in a block, and see that each command prints what is written below it."""
    checker = doctest.OutputChecker()
    for command, wanted in steps(text):
        printed, status = run(child, command)
        # No blank lines: they cannot stand in the README.
        printed = re.sub(r"\n\s*\n", "\n", printed)
        assert checker.check_output(wanted, printed, FLAGS), (
            f"{command}\nwanted:\n{wanted}\nprinted:\n{printed}"
        )
        assert status == (1 if wanted.startswith("rbdstore: ") else 0), command
