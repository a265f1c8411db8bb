# SPDX-License-Identifier: Apache-2.0
"""What is on this host: ceph.conf, what a section says, and the user's keyring."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import shlex

from rbdstore import caps, exceptions
from rbdstore.checks import SECTION, Mend, Outcome, failed, passed
from rbdstore.drivers.rbd import connecting
from rbdstore.drivers.rbd import options as rbd_options
from rbdstore.drivers.rbd.diagnosis.case import Case


def ceph_conf(case: Case) -> Outcome:
    said = str(case.given.get("rbd_ceph_conf") or "")
    cluster = str(case.given.get("rbd_cluster_name") or "ceph")
    try:
        return passed(rbd_options.find_conf(said, cluster, case.section))
    except exceptions.ConfigError as error:
        path = os.path.expanduser(
            said or os.environ.get("CEPH_CONF") or f"/etc/ceph/{cluster}.conf"
        )
        quoted = shlex.quote(path)
        if os.path.exists(path):
            return failed(str(error), Mend(f"chmod a+r {quoted}"))
        return failed(str(error), Mend(f"ceph config generate-minimal-conf >{quoted}"))


def settings(case: Case) -> Outcome:
    case.options = rbd_options.read(case.given)
    client = case.options.client
    return passed(
        f"client.{client.user}, pool {case.pool_name}"
        + (f", namespace {case.namespace}" if case.namespace else "")
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Keyring:
    """A file, and whose keys are in it; ``problem``: why that cannot be known."""

    path: str
    users: tuple[str, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.problem or ', '.join(self.users) or 'nobody'})"


def keyring(case: Case) -> Outcome:
    settings = case.options.client
    user = f"client.{settings.user}"
    client = connecting.configured(settings)
    if client.conf_get("key") or client.conf_get("keyfile"):
        return passed(f"{settings.conf} names the key itself")
    paths = str(client.conf_get("keyring")).split(",")
    keyrings = [_look_into(path.strip()) for path in paths if path.strip()]
    for each in keyrings:
        if user in each.users:
            return passed(f"{each.path} has a key of {user}")
    seen = (
        f"no key of {user} can be read: {'; '.join(map(str, keyrings)) or 'no keyring is named'}"
    )
    # Of the first alone: those after it are not of this user's name, and may be another's.
    if keyrings and keyrings[0].problem not in ("", "missing"):
        path = shlex.quote(keyrings[0].path)
        return failed(seen, Mend(f"chown {os.geteuid()} {path} && chmod u+r {path}"))
    there = next((each for each in keyrings if not each.problem), None)
    if there is not None:
        names = [each.removeprefix("client.") for each in there.users]
        if meant := difflib.get_close_matches(settings.user, names, 1, 0.75):
            return failed(seen, Mend(f"rbd_user = {meant[0]}", SECTION))
        return failed(seen, Mend(f"{_key(case)} >>{shlex.quote(there.path)}"))
    path = shlex.quote(keyrings[0].path) if keyrings else "KEYRING"
    return failed(
        seen,
        Mend(f"(umask 077; {_key(case)} >{path}) && chown {os.geteuid()} {path}"),
    )


def _key(case: Case) -> str:
    """What writes out the user's key, making the user where there is none."""
    client = shlex.quote(f"client.{case.options.client.user}")
    return f"{{ ceph auth get {client} || {new_user(case)}; }}"


def new_user(case: Case) -> str:
    """What makes the user, and writes out its key; it fails where there is one."""
    client = shlex.quote(f"client.{case.options.client.user}")
    pool = case.pool_name
    osd = caps.writing(pool) if case.writes else caps.reading(pool)
    grants = {"mon": caps.MONITORS, "osd": osd} | ({"mgr": osd} if case.writes else {})
    given = " ".join(f"{service} {shlex.quote(cap)}" for service, cap in grants.items())
    return f"ceph auth get-or-create {client} {given}"


def _look_into(path: str) -> _Keyring:
    try:
        with open(path, encoding="utf-8", errors="replace") as keyring:
            # The names of the sections, and nothing else of it.
            users = re.findall(r"^\s*\[([^\]\n]+)\]", keyring.read(), re.MULTILINE)
            return _Keyring(path, tuple(users))
    except FileNotFoundError:
        return _Keyring(path, problem="missing")
    except OSError as error:
        return _Keyring(
            path, problem=f"cannot be read by user id {os.geteuid()}: {error.strerror}"
        )


def path_of_key(case: Case) -> str:
    """The keyring that has the user's key; empty: none has, or ceph.conf names the key itself."""
    user = f"client.{case.options.client.user}"
    client = connecting.configured(case.options.client)
    if client.conf_get("key") or client.conf_get("keyfile"):
        return ""
    keyrings = (_look_into(path.strip()) for path in str(client.conf_get("keyring")).split(","))
    return next((each.path for each in keyrings if user in each.users), "")
