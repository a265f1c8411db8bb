# SPDX-License-Identifier: Apache-2.0
"""``rbdstore doctor``: of broken set-ups it names the cause; its lines, pasted, mend them.

With ``RBDSTORE_SOAK=1`` in the environment there are some more of them.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import commands
import filling
import pasting
import pools
import pytest
import rados
import rbd

from rbdstore.drivers.rbd.diagnosis import cluster
from rbdstore.testing.sandbox import CephSandbox

MiB = 1 << 20
FAST_DIFF_INVALID = rbd.RBD_FLAG_FAST_DIFF_INVALID

_SOAK = bool(os.environ.get("RBDSTORE_SOAK"))

USERS = {"images": "glance", "volumes": "cinder", "vms": "nova", "backups": "cinder-backup"}


@pytest.fixture(scope="module")
def sandbox():
    with CephSandbox(client_watch_timeout=5) as running:
        yield running


@pytest.fixture(scope="module")
def admin(sandbox):
    with rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client:
        yield client
        # Whatever was tried in all of these tests has been undone.
        pools.assert_empty(client)


def soak(test):
    """Have a test in the soak alone: in CI none may be skipped."""
    return test if _SOAK else None


class SetUp:
    """Files of a service on a sandbox of its own, to be broken."""

    def __init__(self, sandbox, path):
        self.sandbox = sandbox
        self.conf = path / "rbdstore.conf"
        self.keyring = path / "keyring"
        self.ceph_conf = path / "ceph.conf"
        shutil.copy(sandbox.keyring_path, self.keyring)
        text = Path(sandbox.conf_path).read_text()
        self.ceph_conf.write_text(text.replace(sandbox.keyring_path, str(self.keyring)))
        self.write()

    def write(self, sections=USERS, **options):
        """Write the configuration anew, with these options in [volumes]."""
        enabled = ", ".join(f"{name}:rbd" for name in sections)
        lines = ["[rbdstore]", f"enabled_backends = {enabled}", "default_backend = volumes"]
        for pool, user in sections.items():
            values = {"rbd_pool": pool, "rbd_user": user, "rbd_ceph_conf": self.ceph_conf}
            values |= {"rbd_lease_seconds": 5} | (options if pool == "volumes" else {})
            lines += [f"[{pool}]", *(f"{key} = {each}" for key, each in values.items())]
        self.conf.write_text("\n".join([*lines, ""]))

    def replace(self, old, new, file=None):
        file = file or self.conf
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def run(self, *arguments):
        """What the doctor finds wrong with [volumes], or with others; and its exit status."""
        ended = commands.run("--config-file", str(self.conf), "doctor", "--json", *arguments)
        assert ended.err == ""
        said = json.loads(ended.out)
        found = [each for each in said["checks"] if each["result"] in ("warn", "fail")]
        assert (said["result"], ended.status) in (("pass", 0), ("warn", 3), ("fail", 1))
        assert self.no_key_in(ended.out)
        return found, said

    def no_key_in(self, text):
        keys = re.findall(r"key = (\S+)", Path(self.sandbox.keyring_path).read_text())
        return not any(key in text for key in keys)

    def finds(self, check, cause, *arguments, result="fail"):
        """See that this is found, and nothing else; return the mends."""
        found, said = self.run(*arguments)
        assert [(each["check"], each["result"]) for each in found] == [(check, result)], found
        assert re.search(cause, found[0]["seen"]), found[0]["seen"]
        if result == "fail":
            # Whatever depends on it was left out, and says so.
            for each in said["checks"]:
                assert each["result"] != "skip" or "did not pass" in each["seen"] or each["seen"]
        return found[0]["mend"]

    def mends(self, mends):
        assert mends
        pasting.paste(mends, self.sandbox.env())

    def is_well(self, *arguments):
        found, said = self.run(*arguments)
        assert (found, said["result"]) == ([], "pass")
        return said


@pytest.fixture
def setup(sandbox, tmp_path, admin):
    return SetUp(sandbox, tmp_path)


def test_a_good_one(setup):
    """Four services' pools, with the least of capabilities; every kind of operation is tried."""
    said = setup.is_well()
    done = {
        (each["backend"], each["check"]) for each in said["checks"] if each["result"] == "pass"
    }
    for backend in USERS:
        for check in (
            "create",
            "write",
            "snapshot",
            "clone",
            "flatten",
            "rename",
            "trash",
            "undo",
        ):
            assert (backend, check) in done
    for crossed in (
        *(("volumes", "clone of images"), ("images", "clones in volumes")),
        *(("vms", "clone of images"), ("images", "clones in vms")),
    ):
        assert crossed in done
    # For people: a table, and nothing to mend below it.
    ended = commands.run("--config-file", str(setup.conf), "doctor", "volumes")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["result", "backend", "check", "seen"]
    assert {line.split()[0] for line in lines[1:]} == {"pass", "skip"}


# The configuration


def test_no_file(setup):
    setup.conf.unlink()
    ended = commands.run("--config-file", str(setup.conf), "doctor")
    assert ended.status == 1
    assert str(setup.conf) in ended.out


def test_a_misspelt_option(setup):
    setup.write(rbd_max_clone_dept=3)
    mends = setup.finds("spelling", "rbd_max_clone_dept", "volumes", result="warn")
    assert mends[0]["line"] == "rbd_max_clone_depth = 3"
    setup.mends(mends)
    assert "rbd_max_clone_depth = 3" in setup.conf.read_text()
    assert "rbd_max_clone_dept =" not in setup.conf.read_text()
    # What Cinder's section has beyond is no misspelling.
    setup.replace(
        "[volumes]", "[volumes]\nvolume_driver = cinder.x\nrbd_exclusive_cinder_pool = 1"
    )
    setup.is_well("volumes", "--read-only")


def test_a_section_that_is_not_enabled(setup):
    setup.replace("images:rbd, ", "")
    mends = setup.finds("unused sections", r"\[images\]", "volumes", "--read-only", result="warn")
    setup.mends(mends)
    setup.is_well("images", "--read-only")


def test_a_section_that_is_missing(setup):
    setup.replace("volumes:rbd", "volume:rbd")
    setup.replace("default_backend = volumes", "default_backend = volume")
    found, _ = setup.run("volume", "--read-only")
    assert {each["check"] for each in found} == {"section", "unused sections"}
    assert "no section [volume]" in found[1]["seen"]
    setup.mends(found[1]["mend"])
    setup.mends(setup.finds("backends", "'volume' is none", "--read-only"))
    setup.is_well("volumes", "--read-only")


def test_a_driver_that_is_not_installed(setup):
    setup.replace("volumes:rbd", "volumes:rdb")
    setup.mends(setup.finds("driver", "no driver 'rdb'", "volumes"))
    setup.is_well("volumes", "--read-only")


def test_a_wrong_value(setup):
    setup.write(rbd_max_clone_depth="many")
    setup.mends(setup.finds("options", r"\[volumes\] rbd_max_clone_depth: .*many", "volumes"))
    setup.is_well("volumes", "--read-only")


def test_several_files(setup, tmp_path):
    """As a service has them: the last one counts, and each fault is told of the right one."""
    from oslo_config import cfg

    from rbdstore import doctor

    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "10-own.conf").write_text("[volumes]\nrbd_usr = cinder\nrbd_pool = volumes\n")
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(setup.conf)], default_config_dirs=[str(folder)])
    with doctor.Examination(conf, ["volumes"], read_only=True) as examination:
        results = [*examination.look(), *examination.attempt()]
    by_name = {result.check: result for result in results}
    assert doctor.worst(results) == "warn"
    assert by_name["section"].seen.count(".conf") == 2
    assert "the last file's value counts of rbd_pool" in by_name["section"].seen
    (mend,) = by_name["spelling"].mends
    assert mend.line == "rbd_user = cinder"
    assert mend.where == f"{folder}/10-own.conf [volumes], in place of rbd_usr"


# This host


def test_no_bindings(setup, monkeypatch):
    monkeypatch.setitem(sys.modules, "rados", None)
    mends = setup.finds("bindings", "rados", "volumes")
    assert "python3-rados" in mends[0]["line"]


def test_no_ceph_conf(setup):
    setup.ceph_conf.unlink()
    mends = setup.finds("ceph.conf", f"there is no {setup.ceph_conf}", "volumes")
    setup.mends(mends)
    found, _ = setup.run("volumes")
    assert "ceph.conf" not in {each["check"] for each in found}
    assert setup.sandbox.fsid in setup.ceph_conf.read_text()


def test_a_missing_line_in_the_keyring(setup):
    text = setup.keyring.read_text()
    setup.keyring.write_text(re.sub(r"\[client\.cinder\]\n(\t.*\n)+", "", text))
    assert "[client.cinder]" not in setup.keyring.read_text()
    # The nearest name in it is another service's, whose rights are not to be taken.
    mends = setup.finds("keyring", r"no key of client\.cinder can be read", "volumes")
    assert str(setup.keyring) in mends[0]["line"]
    setup.mends(mends)
    setup.is_well("volumes", "--read-only")


def test_no_keyring(setup):
    setup.keyring.unlink()
    setup.mends(setup.finds("keyring", r"keyring \(missing\)", "volumes"))
    assert setup.keyring.stat().st_mode & 0o777 == 0o600
    setup.is_well("volumes", "--read-only")


def test_a_keyring_that_cannot_be_read(setup):
    setup.keyring.chmod(0)
    command = [sys.executable, "-m", "rbdstore.cli", "--config-file", str(setup.conf)]
    if os.geteuid() == 0:
        # As root without the right to read everything.
        drop = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *command]
    done = subprocess.run(
        [*command, "doctor", "--json", "volumes"],
        env=commands.environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "")
    (found,) = [each for each in json.loads(done.stdout)["checks"] if each["result"] == "fail"]
    assert found["check"] == "keyring"
    assert f"{setup.keyring} (cannot be read by user id {os.geteuid()}" in found["seen"]
    setup.mends(found["mend"])
    assert setup.keyring.stat().st_mode & 0o400


def test_a_wrong_user(setup):
    setup.replace("rbd_user = cinder\n", "rbd_user = cindre\n")
    mends = setup.finds("keyring", r"no key of client\.cindre can be read", "volumes")
    assert [mend["line"] for mend in mends] == ["rbd_user = cinder"]
    setup.mends(mends)
    setup.is_well("volumes", "--read-only")


# The monitors


def test_no_monitor(setup):
    text = setup.ceph_conf.read_text()
    setup.ceph_conf.write_text(re.sub("mon host = .*", "mon host = 127.0.0.1:1", text))
    began = time.monotonic()
    mends = setup.finds("monitors", "127.0.0.1:1: Connection refused", "volumes", "--timeout", "1")
    assert time.monotonic() - began < 30
    assert any("ceph-mon" in mend["line"] for mend in mends)
    # The option's own limit is the shorter one here.
    setup.write(rados_connect_timeout=1)
    setup.finds("monitors", "within 1 s", "volumes")


@soak
def test_a_ceph_conf_without_monitors(setup):
    text = setup.ceph_conf.read_text()
    setup.ceph_conf.write_text(re.sub("mon host = .*", "", text))
    setup.finds("monitors", "names no monitors", "volumes")


def test_a_key_that_is_refused(setup):
    other = re.search(r"\[client\.nova\]\n\tkey = (\S+)", setup.keyring.read_text())[1]
    text = setup.keyring.read_text()
    setup.keyring.write_text(re.sub(r"(\[client\.cinder\]\n\tkey = )\S+", rf"\g<1>{other}", text))
    setup.mends(setup.finds("key", "refused the key of client.cinder", "volumes"))
    setup.is_well("volumes", "--read-only")


@pytest.fixture
def caps(sandbox):
    """Change a user's capabilities; they are what they were after the test."""
    yield lambda user, **given: sandbox.ceph(
        "auth", "caps", f"client.{user}", *(each for pair in given.items() for each in pair)
    )
    sandbox.ceph("auth", "import", "-i", sandbox.keyring_path)


@soak
def test_a_user_that_the_cluster_does_not_know(setup, caps):
    setup.sandbox.ceph("auth", "del", "client.cinder")
    setup.mends(setup.finds("key", "there is no such user", "volumes"))
    setup.is_well("volumes")


def test_another_cluster(setup):
    other = "00000000-1111-2222-3333-444444444444"
    setup.replace(setup.sandbox.fsid, other, setup.ceph_conf)
    setup.mends(setup.finds("fsid", other, "volumes", "--read-only"))
    setup.is_well("volumes", "--read-only")


# Capabilities

READS = "profile rbd-read-only pool=images"
OWN = "profile rbd pool=volumes"


def test_no_mon_capability(setup, caps):
    caps("cinder", osd=f"{OWN}, {READS}", mgr=OWN)
    setup.mends(setup.finds("key", "lacks the mon capability", "volumes"))
    setup.is_well("volumes")


NARROW = {
    "to read": (f"profile rbd-read-only pool=volumes, {READS}", "lease"),
    "none": (READS, "objects"),
    "without classes": (f"allow rw pool=volumes, {READS}", "lease"),
}


@pytest.mark.parametrize("which", [*NARROW] if _SOAK else ["to read"])
def test_no_osd_capability(setup, caps, which):
    osd, check = NARROW[which]
    caps("cinder", mon="profile rbd", osd=osd, mgr=OWN)
    setup.mends(setup.finds(check, r"client\.cinder may not do this in pool volumes", "volumes"))
    setup.is_well("volumes")


def test_no_capability_to_clone_images(setup, caps):
    caps("cinder", mon="profile rbd", osd=OWN, mgr=OWN)
    mends = setup.finds("clone of images", "lacks the osd capability", "volumes", "images")
    assert READS in mends[0]["line"]
    setup.mends(mends)
    setup.is_well("volumes", "images")


@soak
def test_a_capability_of_old_that_refuses_clones_of_format_2(setup, caps):
    """Such a clone is entered into its parent's list of clones, which they do not allow."""
    caps("cinder", mon="profile rbd", osd=f"{OWN}, allow r class-read pool=images", mgr=OWN)
    found, _ = setup.run("volumes", "images")
    # What librbd made by then, it cannot strike from that list either.
    assert [each["check"] for each in found] == ["clone of images", "undo"]
    for each in found:
        setup.mends(each["mend"])
    setup.is_well("volumes", "images")


def test_no_capability_to_see_clones(setup, caps):
    caps("glance", mon="profile rbd", osd="profile rbd pool=images", mgr="profile rbd pool=images")
    mends = setup.finds("clones in volumes", "class-read pool=volumes", "volumes", "images")
    setup.mends(mends)
    setup.is_well("volumes", "images")


def test_no_mgr_capability(setup, caps):
    caps("cinder", mon="profile rbd", osd=f"{OWN}, {READS}")
    setup.finds(
        "manager", "no right to the manager's tasks", "volumes", "--read-only", result="warn"
    )
    setup.write(rbd_flatten_mode="task")
    setup.mends(setup.finds("manager", "rbd_flatten_mode = task", "volumes", "--read-only"))
    setup.is_well("volumes", "--read-only")


def test_a_backend_that_is_only_read(setup, admin):
    """Cinder's configuration, where Glance's pool is one of its backends."""
    setup.write(USERS | {"images": "cinder"})
    said = setup.is_well("images", "volumes")
    (create,) = [
        each for each in said["checks"] if (each["backend"], each["check"]) == ("images", "create")
    ]
    assert create["seen"] == "its user only reads there"
    # By another name, the command line says so.
    setup.sandbox.ceph(
        "auth",
        "add",
        "client.c",
        "mon",
        "profile rbd",
        "osd",
        f"{OWN}, {READS}",
        "mgr",
        "profile rbd",
    )
    key = setup.sandbox.ceph("auth", "get", "client.c")
    setup.keyring.write_text(setup.keyring.read_text() + key)
    try:
        setup.write(USERS | {"images": "c", "volumes": "c"})
        setup.finds("lease", "in pool images: .*`--reads images` tells", "images", "volumes")
        setup.is_well("images", "volumes", "--reads", "images")
    finally:
        setup.sandbox.ceph("auth", "del", "client.c")


# The pool


def test_a_wrong_pool(setup):
    setup.replace("rbd_pool = volumes", "rbd_pool = volume")
    mends = setup.finds("pool", "there is no pool 'volume'", "volumes")
    assert [mend["line"] for mend in mends] == ["rbd_pool = volumes"]
    setup.mends(mends)
    setup.is_well("volumes", "--read-only")


@soak
def test_a_pool_that_was_not_made(setup, caps):
    caps("cinder", mon="profile rbd", osd="profile rbd", mgr="profile rbd")
    setup.replace("rbd_pool = volumes", "rbd_pool = ssd")
    setup.mends(setup.finds("pool", "there is no pool 'ssd'", "volumes"))
    try:
        setup.is_well("volumes")
    finally:
        setup.sandbox.ceph("osd", "pool", "rm", "ssd", "ssd", "--yes-i-really-really-mean-it")


@soak
def test_a_namespace_that_was_not_made(setup):
    setup.write(rbd_namespace="tenant")
    setup.mends(setup.finds("pool", "no namespace 'tenant'", "volumes"))
    setup.is_well("volumes")
    subprocess.run(
        ["rbd", "namespace", "rm", "volumes/tenant"], env=setup.sandbox.env(), check=True
    )


def test_no_application_tag(setup):
    setup.sandbox.ceph(
        "osd", "pool", "application", "disable", "volumes", "rbd", "--yes-i-really-mean-it"
    )
    mends = setup.finds(
        "application", "tagged for no application", "volumes", "--read-only", result="warn"
    )
    setup.mends(mends)
    setup.is_well("volumes", "--read-only")


def test_a_wrong_data_pool(setup, caps):
    setup.write(rbd_data_pool="backup")
    mends = setup.finds("data pool", "there is no pool 'backup'", "volumes", "--read-only")
    assert [mend["line"] for mend in mends] == ["rbd_data_pool = backups"]
    setup.mends(mends)
    # And there, this user has no rights.
    mends = setup.finds("data pool", r"client\.cinder may not do this in pool backups", "volumes")
    setup.mends(mends)
    setup.is_well("volumes")


def test_clones_of_format_1_for_clients_that_are_not_there(setup):
    setup.write(rbd_clone_format="auto")
    mends = setup.finds(
        "clone format", "1, as clients of luminous", "volumes", "--read-only", result="warn"
    )
    setup.mends(mends)
    try:
        setup.is_well("volumes", "--read-only")
        setup.write(rbd_clone_format="1")
        mends = setup.finds("clone format", "though", "volumes", "--read-only", result="warn")
        setup.mends(mends)
        setup.is_well("volumes", "--read-only")
    finally:
        setup.sandbox.ceph("osd", "set-require-min-compat-client", "luminous")


@soak
def test_clones_of_format_1_are_tried_as_well(setup):
    setup.write(rbd_clone_format="1")
    setup.is_well("volumes", "images")


def test_a_quota_that_is_nearly_used_up(setup, admin):
    with admin.open_ioctx("volumes") as ioctx:
        ioctx.write_full("ballast", bytes(MiB))
        try:
            with filling.quota(setup.sandbox, "volumes", MiB + 99999):
                mends = _eventually(setup, "space", "of its quota")
                setup.mends(mends)
                setup.is_well("volumes", "--read-only")
        finally:
            ioctx.remove_object("ballast")


def test_a_cluster_that_is_nearly_full(setup, admin):
    with admin.open_ioctx("volumes") as ioctx:
        ioctx.write_full("ballast", bytes(MiB))
        try:
            setup.sandbox.ceph("osd", "set-nearfull-ratio", "0.00001")
            mends = _eventually(setup, "space", "nearly full: .*nearfull")
            assert [mend["line"] for mend in mends] == ["ceph osd set-nearfull-ratio 0.85"]
            setup.mends(mends)
            _eventually_well(setup)
        finally:
            ioctx.remove_object("ballast")


def test_an_object_map_that_is_invalid(setup, admin):
    import struct

    with admin.open_ioctx("volumes") as ioctx:
        rbd.RBD().create(ioctx, "volume 1", MiB)
        try:
            with rbd.Image(ioctx, "volume 1") as image:
                header = f"rbd_header.{image.id()}"
            ioctx.execute(
                header,
                "rbd",
                "set_flags",
                struct.pack("<QQ", FAST_DIFF_INVALID, FAST_DIFF_INVALID),
            )
            mends = setup.finds(
                "object maps", "of 1 of 1", "volumes", "--read-only", result="warn"
            )
            setup.mends(mends)
            setup.is_well("volumes", "--read-only")
        finally:
            rbd.RBD().remove(ioctx, "volume 1")


# What only shows later


def test_another_secret(setup):
    setup.write(rbd_secret_uuid="457eb676-33da-42ec-9a8c-9293d545c337")
    mends = setup.finds(
        "secret", "457eb676.*not the cluster's", "volumes", "--read-only", result="warn"
    )
    setup.mends(mends)
    setup.is_well("volumes", "--read-only")


def test_no_manager(setup):
    setup.sandbox.kill_daemon("mgr.x")
    try:
        mends = setup.finds(
            "manager", "did not answer within 1 s", "volumes", "--read-only", "--timeout", "1"
        )
        assert "ceph-mgr" in mends[0]["line"]
    finally:
        setup.sandbox.start_daemon("mgr.x")
        setup.sandbox.wait_ready()
    setup.is_well("volumes", "--read-only")


def test_osds_that_do_not_answer(setup):
    setup.sandbox.pause_daemon("osd.0")
    try:
        setup.finds("objects", "no answer in time", "volumes", "--timeout", "1")
    finally:
        setup.sandbox.resume_daemon("osd.0")
        setup.sandbox.wait_ready()


def test_clocks():
    """There is but one monitor here; this is what those of a larger cluster say."""
    status = {
        "time_skew_status": {
            "a": {"skew": 0, "latency": 0, "health": "HEALTH_OK"},
            "b": {"skew": 0.81, "latency": 0.001, "health": "HEALTH_WARN", "details": "..."},
        },
        "timechecks": {"epoch": 4, "round": 2, "round_status": "finished"},
    }
    outcome = cluster.clocks_of({}, status)
    assert (outcome.verdict, outcome.seen) == ("warn", "mon.b is 0.810 s off")
    ailments = {"MON_CLOCK_SKEW": {"summary": {"message": "clock skew detected on mon.b"}}}
    assert cluster.clocks_of(ailments, {}).seen == "clock skew detected on mon.b"


def test_a_clock_of_this_host_that_is_wrong(setup, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 60)
    # What the cluster notes is in whole seconds.
    mends = setup.finds("own clock", "is (59|60|61) s ahead", "volumes", result="warn")
    assert "chronyc" in mends[0]["line"]


def _eventually(setup, check, cause):
    """The mends of what the cluster takes a moment to notice."""
    deadline = time.monotonic() + 30
    while True:
        found, _ = setup.run("volumes", "--read-only")
        with contextlib.suppress(StopIteration):
            each = next(each for each in found if each["check"] == check)
            assert re.search(cause, each["seen"]), each["seen"]
            return each["mend"]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _eventually_well(setup):
    deadline = time.monotonic() + 30
    while setup.run("volumes", "--read-only")[0]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
