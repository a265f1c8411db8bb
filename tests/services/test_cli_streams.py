# SPDX-License-Identifier: Apache-2.0
"""The command ``rbdstore`` with streams that are closed, full, or not made for every character."""

import subprocess

import commands
import pytest
import samples


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


def run(shell, script, *arguments, **variables):
    """Run a command in a shell's line, where "$@" stands for it."""
    done = subprocess.run(
        ["bash", "-c", script, "bash", commands.PYTHON, "-m", "rbdstore.cli", *arguments],
        env=commands.environment(RBDSTORE_CONFIG=str(shell.config_file), **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return commands.Ended(done.returncode, done.stdout, done.stderr)


PRINTING = [("volume", "list"), ("tree",), ("--version",), ("volume", "list", "--help")]


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
@pytest.mark.parametrize(
    ("where", "said"), [("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")]
)
def test_output_that_cannot_be_written_is_an_error(shell, arguments, where, said):
    assert run(shell, f'"$@" >{where}', *arguments) == commands.Ended(1, "", f"rbdstore: {said}\n")


def test_without_standard_input_no_image_is_added(shell, images):
    ended = run(shell, '"$@" <&-', "--backend", "images", "image", "add", "-", "image-1")
    assert ended == commands.Ended(1, "", "rbdstore: Bad file descriptor\n")
    assert images.list() == []


def test_what_is_closed_is_not_taken_by_what_is_opened():
    """Else it is a database, or a connection to Ceph, that errors are written into."""
    program = (
        "import os; from rbdstore.cli import streams; streams.repair(); "
        "print([os.readlink(f'/proc/self/fd/{number}') for number in (0, 2)])"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- 2>&-', "bash", commands.PYTHON, "-c", program],
        env=commands.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout == "['/dev/null', '/dev/null']\n"


def test_without_a_terminal_nobody_is_asked(shell, unchanged):
    ended = run(shell, '"$@" <&-', "volume", "delete", "volume-1", "volume-2")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.endswith("Nobody is there to ask: add --yes\n")


@pytest.mark.parametrize(
    "arguments", [("volume", "list"), ("tree",), ("--version",)], ids=" ".join
)
def test_whoever_reads_may_stop(shell, arguments):
    # By the time that the command runs there is no reader.
    script = 'exec 3> >(:); wait $!; "$@" >&3'
    assert run(shell, script, *arguments) == commands.Ended(141, "", "")


def test_a_locale_without_the_characters(shell, volumes):
    volumes.create("größe", samples.MiB)
    ended = run(
        shell, '"$@"', "volume", "list", "-f", "value", "-c", "name", PYTHONIOENCODING="ascii"
    )
    assert ended == commands.Ended(0, "gr\\xf6\\xdfe\n", "")
    volumes.delete("größe")
