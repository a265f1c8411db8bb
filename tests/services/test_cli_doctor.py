# SPDX-License-Identifier: Apache-2.0
"""``rbdstore doctor`` with any driver; what only Ceph can have is in tests/functional."""

import itertools
import json
import signal
import subprocess
import sys

import commands
import pytest

from rbdstore import doctor


@pytest.fixture
def shell(place, tmp_path):
    return commands.Shell(place, tmp_path / "rbdstore.conf")


def results(out):
    return {(each["backend"], each["check"]): each["result"] for each in json.loads(out)["checks"]}


def test_the_shape_stays(shell):
    said = json.loads(shell.ok("doctor", "--json"))
    assert said.keys() == {"result", "checks"}
    assert said["result"] == "pass"
    for each in said["checks"]:
        assert each.keys() == {"backend", "check", "result", "seen", "mend"}
        assert each["result"] in ("pass", "skip")
        assert each["mend"] == []
    found = [(each["backend"], each["check"]) for each in said["checks"]]
    assert len(set(found)) == len(found)
    for backend in ("images", "volumes"):
        for check in ("section", "options", "lease", "create", "clone", "trash", "undo"):
            assert (backend, check) in found


def test_read_only(shell):
    found = results(shell.ok("doctor", "--read-only", "--json", "volumes"))
    assert found["volumes", "list"] == "pass"
    assert found["volumes", "create"] == "skip"
    assert ("volumes", "write") not in found


def test_warnings_and_failures(shell):
    text = shell.config_file.read_text()
    shell.config_file.write_text(text + "rbd_max_clone_dept = 3\n")
    ended = shell.run("doctor", "--read-only")
    assert ended.status == 3
    assert ended.err == ""
    table, mends = ended.out.split("\n\n")
    assert "\x1b" not in table
    place = (
        f"{shell.config_file} [{shell.config_file.read_text().rpartition('[')[2].split(']')[0]}]"
    )
    assert mends.splitlines()[1:] == [
        f"  in {place}, in place of rbd_max_clone_dept:",
        "    rbd_max_clone_depth = 3",
    ]
    shell.config_file.write_text(text.replace("rbd_pool = volumes", "rbd_pool = nowhere"))
    ended = shell.run("doctor", "volumes", "--json")
    assert ended.status == 1
    (failed,) = [name for name, result in results(ended.out).items() if result == "fail"]
    assert failed[0] == "volumes"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("enabled_backends", "enabled_backend", "enabled_backends = {}"),
        (":{driver}", "", "enabled_backends = {}"),
        ("default_backend = volumes", "default_backend = volume", "default_backend = volumes"),
        ("default_backend", "default_backends", "default_backend = volumes"),
    ],
)
def test_what_is_enabled(shell, place, old, new, line):
    text = shell.config_file.read_text()
    old = old.format(driver=place.driver)
    assert old in text
    shell.config_file.write_text(text.replace(old, new))
    ended = shell.run("doctor", "--read-only", "--json", "volumes")
    (found,) = [each for each in json.loads(ended.out)["checks"] if each["mend"]]
    assert found["check"] == "backends"
    pairs = [
        ", ".join(f"{name}:{place.driver}" for name in order)
        for order in itertools.permutations(["images", "volumes"])
    ]
    assert found["mend"][0]["line"] in [line.format(each) for each in pairs]


def test_a_section_with_nothing_in_it(shell):
    text = shell.config_file.read_text()
    others = "[glance_store]\nrbd_store_pool = images\n[ceph]\nvolume_driver = x\nrbd_pool = x\n"
    shell.config_file.write_text(text.replace("[volumes]", f"[volumes]\n{others}[spare]"))
    ended = shell.run("doctor", "--read-only", "--json", "volumes")
    # The section is there; what the driver then lacks is another matter.
    found = results(ended.out)
    assert found["volumes", "section"] == "pass"
    # Those of other services' own drivers are none of rbdstore's.
    said = json.loads(ended.out)["checks"]
    (unused,) = [each for each in said if each["check"] == "unused sections"]
    assert unused["seen"].startswith("[spare] has")


def test_colours_are_for_a_terminal(shell, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[32mpass" in shell.run("doctor", "--read-only", "volumes").out


def test_a_backend_that_is_not_there(shell):
    for arguments in (("other",), ("--reads", "other"), ("--backend", "other")):
        ended = shell.run("doctor", "--read-only", "--json", *arguments)
        assert ended.status == 1
        assert results(ended.out)["other", "section"] == "fail"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "3601"])
def test_a_time_limit_that_is_none(shell, seconds):
    assert "is no number of seconds" in shell.fails("doctor", "--timeout", seconds, status=2)


def test_from_python(shell):
    with doctor.Examination(shell.config_file, ["volumes"]) as examination:
        looked = [*examination.look()]
        tried = [*examination.attempt()]
    assert doctor.worst(looked + tried) == "pass"
    assert {each.backend for each in tried} == {"volumes"}
    assert doctor.worst([]) == "pass"


def test_cut_off_it_undoes_what_it_began(shell):
    """Whoever stops asking for more, closes it: nothing is left (see the fixture)."""
    with doctor.Examination(shell.config_file, ["volumes"]) as examination:
        for _ in examination.look():
            """To its end."""
        for result in examination.attempt():
            if result.check == "clone":
                break


KILLED = """
import os, signal, sys
from rbdstore.cli import app
from rbdstore.doctor import probes

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

# With an image, a snapshot of it and a clone; or with the clone in the trash.
where, conf = sys.argv[1:]
if where == "flatten":
    probes.Trial._flatten = die
else:
    probes.reclaim.purge = die
app.main(["--config-file", conf, "doctor", "volumes"])
"""


def test_killed_it_leaves_what_gc_reclaims(shell):
    text = shell.config_file.read_text()
    shell.config_file.write_text(text.replace("rbd_lease_seconds = 10", "rbd_lease_seconds = 5"))
    killed = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, where, str(shell.config_file)],
            env=commands.environment(),
            stdout=subprocess.DEVNULL,
        )
        for where in ("flatten", "purge")
    ]
    assert [each.wait(60) for each in killed] == [-signal.SIGKILL] * 2
    found = json.loads(shell.ok("gc", "--apply", "--json"))
    assert {each["outcome"] for each in found} == {"reclaimed"}
    assert {each["kind"] for each in found} >= {"journal", "draft"}
