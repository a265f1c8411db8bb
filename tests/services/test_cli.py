# SPDX-License-Identifier: Apache-2.0
"""The command ``rbdstore``: which backend it works on, its help, and how it ends."""

import re
import subprocess

import commands
import pexpect
import places
import pytest
import samples
from cliff import commandmanager

MiB = samples.MiB
COMMANDS = sorted(
    name.replace("_", " ") for name in commandmanager.CommandManager("rbdstore.cli").commands
)


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


# Which backend


def test_the_default_backend_or_another(shell, volumes, images):
    volumes.create("volume-1", MiB)
    stored = images.add("image-1", b"data")
    assert commands.names(shell.json("volume", "list")) == ["volume-1"]
    assert [row["id"] for row in shell.json("--backend", "images", "image", "list")] == ["image-1"]
    # It may come after the verb as well.
    assert [row["id"] for row in shell.json("image", "list", "--backend", "images")] == ["image-1"]
    line = shell.fails("--backend", "other", "volume", "list")
    assert line == (
        "rbdstore: [rbdstore] enabled_backends: there is no backend 'other'; ask for one of "
        "volumes, images, or add it"
    )
    volumes.delete("volume-1")
    images.delete(stored.uri)


def test_a_configuration_in_the_environment(shell, monkeypatch):
    monkeypatch.setenv("RBDSTORE_CONFIG", str(shell.config_file))
    assert commands.run("volume", "list", "-f", "csv", "--quote", "none").out.startswith("name,")


@pytest.mark.parametrize("variable", [None, ""])
def test_no_configuration(place, monkeypatch, tmp_path, variable):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RBDSTORE_CONFIG", raising=False)
    if variable is not None:
        monkeypatch.setenv("RBDSTORE_CONFIG", variable)
    ended = commands.run("volume", "list")
    assert (ended.status, ended.out) == (1, "")
    assert "there is no rbdstore.conf in ~/.rbdstore, ~, /etc/rbdstore or /etc" in ended.err
    ended = commands.run("volume", "list", "--config-file", str(tmp_path / "other"))
    assert (ended.status, ended.out) == (1, "")
    assert str(tmp_path / "other") in ended.err


def test_a_driver_needs_no_configuration(place, volumes):
    volumes.create("volume-1", MiB)
    options = [
        argument
        for name, value in place.options("volumes").items()
        for argument in ("--option", f"{name}={value}")
    ]
    ended = commands.run(
        "--driver", place.driver, *options, "volume", "list", "-f", "value", "-c", "name"
    )
    assert ended == commands.Ended(0, "volume-1\n", "")
    ended = commands.run("--driver", place.driver, "--option", "what=ever", "volume", "list")
    assert ended.status == 1
    assert "what: there is no such option; there are" in ended.err
    volumes.delete("volume-1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a noun and a verb"),
        (("--driver", "file"), "give a noun and a verb"),
        (("volume",), "volume takes one of clone, connection, create, delete"),
        (("volumes", "list"), "there is no volumes; there are backend, "),
        (("--what", "volume", "list"), "unrecognized argument: --what"),
        (("volume", "list", "--what"), "unrecognized arguments: --what"),
        (("volume", "list", "--option", "a=b"), "--option belongs to --driver"),
        (("volume", "list", "--driver", "file", "--option", "a"), "give NAME=VALUE"),
        (("volume", "list", "--driver", "file", "--backend", "b"), "needs no configuration"),
        (("volume", "show"), "the following arguments are required: VOLUME"),
        (("volume", "list", "-f", "xml"), "invalid choice: 'xml'"),
    ],
)
def test_wrong_usage(arguments, said):
    ended = commands.run(*arguments)
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("rbdstore")
    assert said in line


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, monkeypatch):
    """Each command says what it does, and what each of its arguments is."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = commands.run(*command.split(), "--help")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: rbdstore {command} ")
    description = ended.out.split("\n\n")[1]
    assert re.fullmatch(r"[A-Z].+\S", description, re.DOTALL)
    assert max(map(len, ended.out.splitlines())) <= 80
    ours = ended.out.split("\noutput formatters:")[0]
    for option in re.findall(r"^  ([-A-Z].*\n.*)", ours, re.MULTILINE):
        # On the same line, or, after a long one, on the next.
        assert re.match(r"\S.* {2,}\w|.*\n {10,}\w", option), f"no help: {option}"


def test_help_names_every_command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = commands.run("--help")
    assert (ended.status, ended.err) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z]", ended.out, re.MULTILINE)


def test_version():
    ended = commands.run("--version")
    assert ended.status == 0
    assert re.fullmatch(r"rbdstore \d+\.\d+\S*\n", ended.out)


def test_completion_knows_every_command():
    ended = commands.run("complete")
    assert (ended.status, ended.err) == (0, "")
    assert "cmds_volume='clone connection create delete" in ended.out


def test_bash_completes():
    """Also where the package bash-completion is not there, as in a bash that has read nothing."""
    script = (
        'eval "$SCRIPT"; COMP_WORDS=(rbdstore volume cl); COMP_CWORD=2; _rbdstore; '
        'echo "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", script],
        env=commands.environment(SCRIPT=commands.run("complete").out),
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("clone\n", "")


@pytest.mark.parametrize("arguments", [("help", "other"), ("other", "--help")])
def test_help_of_what_there_is_not(arguments):
    ended = commands.run(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("rbdstore: there is no other; there are backend, ")


# How it ends


def test_debug_shows_the_trace(shell):
    ended = shell.run("volume", "show", "other", "--debug")
    assert ended.status == 1
    assert ended.err.startswith("rbdstore: volumes/other: no such image\nTraceback ")


def test_debug_shows_the_trace_once(shell, tmp_path):
    """Also of what goes wrong before the command has begun."""
    ended = shell.run("volume", "list", "--debug", "--log-file", str(tmp_path / "none" / "log"))
    assert ended.status == 1
    assert ended.err.count("Traceback ") == 1


def test_verbose_shows_the_log(shell, volumes):
    ended = shell.run("-v", "volume", "create", "volume-1", "--size", "1MiB")
    assert ended.status == 0
    (line,) = (line for line in ended.err.splitlines() if "volume-1" in line)
    said = "rbdstore: volumes.create name=volume-1 size=1048576 in volumes: ok in "
    assert line.startswith(said)
    volumes.delete("volume-1")


def test_a_log_file(shell, volumes, tmp_path):
    log = str(tmp_path / "log")
    shell.ok("volume", "create", "volume-1", "--size", "1MiB", "--log-file", log)
    said = "INFO     rbdstore.observing volumes.create name=volume-1 "
    assert said in (tmp_path / "log").read_text()
    volumes.delete("volume-1")


def test_a_log_that_cannot_be_written_is_no_reason_to_stop(shell):
    ended = shell.run("volume", "list", "-f", "json", "--log-file", "/dev/full")
    assert (ended.status, ended.out) == (0, "[]\n")
    assert ended.err == "rbdstore: /dev/full: No space left on device; the log ends here\n"


def test_without_cliff(tmp_path):
    """What a service installs has no command line; it says how to get one."""
    (tmp_path / "cliff.py").write_text("raise ModuleNotFoundError('none', name='cliff')")
    with subprocess.Popen(
        [commands.PYTHON, "-m", "rbdstore.cli", "volume", "list"],
        env=commands.environment(PYTHONPATH=f"{tmp_path}:{places.ROOT}"),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _out, err = process.communicate()
    assert process.returncode == 1
    assert err == (
        "rbdstore: the command line needs cliff; install it with the extra cli: "
        "pip install 'rbdstore[cli]'\n"
    )


# On a terminal


@pytest.fixture
def terminal(shell):
    """Start a command on a terminal of its own."""
    started = []

    def start(*arguments):
        child = pexpect.spawn(
            commands.PYTHON,
            ["-m", "rbdstore.cli", *arguments],
            env=commands.environment(RBDSTORE_CONFIG=str(shell.config_file), TERM="xterm"),
            encoding="utf-8",
            timeout=60,
            dimensions=(24, 100),
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def status_of(child):
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_several_are_deleted_after_a_yes(terminal, volumes):
    for name in ("volume-1", "volume-2"):
        volumes.create(name, MiB)
    child = terminal("volume", "delete", "volume-1", "volume-2")
    child.expect_exact("delete these 2?")
    child.expect_exact("volume-1")
    child.expect_exact("yes or no:")
    child.sendline("no")
    child.expect_exact("rbdstore: nothing was done")
    assert status_of(child) == 1
    assert len(volumes.list()) == 2
    child = terminal("volume", "delete", "volume-1", "volume-2")
    child.expect_exact("yes or no:")
    child.sendline("yes")
    assert status_of(child) == 0
    assert volumes.list() == []


def test_progress_is_drawn(terminal, images, tmp_path):
    (tmp_path / "disk.raw").write_bytes(samples.pattern("data", 20 * MiB))
    child = terminal("image", "add", str(tmp_path / "disk.raw"), "image-1", "--backend", "images")
    child.expect(r"add image-1 .*20\.0.*MiB")
    child.expect_exact("sha512")
    assert status_of(child) == 0
    images.delete(images.uri("image-1"))


def test_an_image_is_not_written_to_a_terminal(terminal, image):
    child = terminal("image", "get", "image-1", "-o", "-", "--backend", "images")
    child.expect_exact("rbdstore: an image is not for a terminal: redirect the output")
    assert status_of(child) == 1


def test_control_c(terminal, images):
    """On a terminal it goes to all of the process group; nothing is left of the upload."""
    child = terminal("image", "add", "-", "image-1", "--backend", "images")
    child.expect_exact("add image-1")
    child.sendintr()
    child.expect_exact("rbdstore: ended by SIGINT")
    assert status_of(child) == 130
    assert images.list() == []
