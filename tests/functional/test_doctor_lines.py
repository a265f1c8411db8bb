# SPDX-License-Identifier: Apache-2.0
"""Lines of the doctor, seen without a cluster: whom they give what, and who may see it."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from rbdstore import exceptions
from rbdstore.drivers.rbd.diagnosis import cluster, files, reaching
from rbdstore.drivers.rbd.diagnosis.case import Case

UUID = "457eb676-33da-42ec-9a8c-9293d545c337"
# What a shell, or XML, would read otherwise.
USER = "client.o'ne $(touch obeyed) & <two>"


def lines(outcome):
    return [mend.line for mend in outcome.mends]


@pytest.fixture
def case(tmp_path):
    """A case with a ceph.conf of these lines, whose settings have been looked at."""

    def make(*said):
        conf = tmp_path / "ceph.conf"
        conf.write_text("\n".join(["[global]", "mon host = 127.0.0.1:1", *said, ""]))
        made = Case({"rbd_ceph_conf": str(conf), "rbd_user": "cinder"}, writes=True)
        files.settings(made)
        return made

    return make


def test_a_secret_is_defined_and_its_key_is_no_argument(tmp_path):
    for name, does in (("ceph", "printf a2V5"), ("virsh", "cat")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{name}.$1.said\n{does}\n')
        program.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    define, value = (
        subprocess.run(
            ["bash", "-c", mend.line], env=env, cwd=tmp_path, check=True, stdout=subprocess.PIPE
        ).stdout
        for mend in cluster.secret_lines(UUID, USER)
    )
    secret = ElementTree.fromstring(define)
    assert (secret.findtext("uuid"), secret.findtext("usage/name")) == (UUID, f"{USER} secret")
    assert value == b"a2V5"
    said = (tmp_path / "virsh.secret-set-value.said").read_text().splitlines()
    assert said == ["secret-set-value", UUID, "--file", "/dev/stdin"]
    assert (tmp_path / "ceph.auth.said").read_text() == f"auth\nget-key\n{USER}\n"
    assert not (tmp_path / "obeyed").exists()


def test_a_keyring_of_others_is_not_given_away(case, tmp_path):
    """It may be the administrator's, and is only looked into where there is no other."""
    own, others = tmp_path / "own", tmp_path / "others"
    # What nobody can read, root neither.
    others.mkdir()
    found = files.keyring(case(f"keyring = {own},{others}"))
    assert found.verdict == "fail"
    assert f"{own} (missing); {others} (cannot be read" in found.seen
    (line,) = lines(found)
    assert str(own) in line
    assert str(others) not in line
    (line,) = lines(files.keyring(case(f"keyring = {others},{own}")))
    assert line == f"chown {os.geteuid()} {others} && chmod u+r {others}"


def test_a_key_that_ceph_conf_names_is_in_no_keyring(case):
    found = case("key = AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==")
    found.refused = exceptions.Unreachable("refused")
    told = lines(reaching.key(found))
    assert not any("authtool" in line for line in told)
    assert told[-1].startswith("ceph auth print-key client.cinder  # ")
    assert not any("AQAA" in line for line in told)
