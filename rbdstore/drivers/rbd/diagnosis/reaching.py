# SPDX-License-Identifier: Apache-2.0
"""Reaching the cluster: the monitors, whether they let this client in, and which cluster it is."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterator
from typing import Final

from rbdstore import caps, exceptions
from rbdstore.checks import Mend, Outcome, failed, passed
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import connecting
from rbdstore.drivers.rbd.diagnosis import files
from rbdstore.drivers.rbd.diagnosis.case import Case

_ADDRESS: Final = re.compile(r"(?:v[12]:)?(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+):(?P<port>\d+)")
_NO_FSID: Final = "00000000-0000-0000-0000-000000000000"
# Whoever answers does so in milliseconds; and there may be several.
_KNOCK_SECONDS: Final = 1.0


def monitors(case: Case) -> Outcome:
    """Connect, once. What a monitor says to that is the next check's."""
    settings = case.options.client
    named = str(connecting.configured(settings).conf_get("mon_host"))
    try:
        client, clone_format = connecting.connect(settings)
    except exceptions.Timeout as error:
        states = "; ".join(_knocks(named))
        return failed(
            f"{error}{f' ({states})' if states else ''}",
            Mend("systemctl start ceph-mon.target  # on the monitors' hosts"),
            Mend(f"ceph mon dump  # what it shows belongs into 'mon host' of {settings.conf}"),
        )
    except exceptions.ConfigError as error:
        if named:
            return failed(str(error))
        conf = shlex.quote(settings.conf)
        return failed(
            str(error), Mend(f"ceph config generate-minimal-conf | grep 'mon.host' >>{conf}")
        )
    except exceptions.RbdStoreError as error:
        case.refused = error
        return passed(f"one of {named} answers")
    case.connection = clients.Connection(client, settings.user, clone_format)
    quorum = case.ask("quorum_status")
    known = [each["name"] for each in quorum["monmap"]["mons"]]
    return passed(f"{len(quorum['quorum_names'])} of {len(known)} are in the quorum, at {named}")


def key(case: Case) -> Outcome:
    if case.refused is None:
        return passed(f"client.{case.options.client.user} was let in")
    user = case.options.client.user
    client = shlex.quote(f"client.{user}")
    path = files.path_of_key(case)
    keyring, new = shlex.quote(path), shlex.quote(f"{path}.new")
    conf = case.options.client.conf
    return failed(
        f"{case.refused}; or there is no such user, or it lacks the mon capability "
        f"`{caps.MONITORS}`: the monitors do not tell which",
        Mend(f"ceph auth get {client} >/dev/null || {files.new_user(case)} >/dev/null"),
        Mend(
            f"ceph auth get {client} | grep -q 'caps mon' || "
            + caps.line(user, "mon", caps.MONITORS)
        ),
        Mend(
            # It does not read from a pipe.
            f"(umask 077; ceph auth get {client} >{new}); "
            f"ceph-authtool {keyring} --import-keyring {new}; rm {new}"
            if path
            else f"ceph auth print-key {client}  # it is another one than {conf} names"
        ),
    )


def fsid(case: Case) -> Outcome:
    """Whether it is the cluster that ceph.conf is about. The client itself does not look."""
    conf = case.options.client.conf
    said = str(connecting.configured(case.options.client).conf_get("fsid") or _NO_FSID)
    found = str(case.connection.rados.get_fsid())
    if said == _NO_FSID:
        return passed(f"{found}; {conf} does not say which it should be")
    if said != found:
        return failed(
            f"{conf} is about the cluster {said}, and its monitors are those of {found}",
            Mend(f"fsid = {found}", f"{conf} [global]"),
        )
    return passed(found)


def _knocks(named: str) -> Iterator[str]:
    """What becomes of a connection to each of the monitors' addresses."""
    for found in _ADDRESS.finditer(named):
        host, port = found["host"].strip("[]"), int(found["port"])
        try:
            socket.create_connection((host, port), _KNOCK_SECONDS).close()
        except TimeoutError:
            yield f"{found[0]}: no answer"
        except OSError as error:
            yield f"{found[0]}: {error.strerror or error}"
        else:
            yield f"{found[0]}: somebody listens, and says nothing"
