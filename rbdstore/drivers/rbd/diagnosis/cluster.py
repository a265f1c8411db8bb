# SPDX-License-Identifier: Apache-2.0
"""The cluster as a whole, and the hosts that its volumes are attached to."""

from __future__ import annotations

import shlex
import shutil
import subprocess  # nosec B404: virsh is given no text of others
from typing import Any, Final
from xml.sax import saxutils  # nosec B406: nothing is parsed

from rbdstore import exceptions
from rbdstore.checks import SECTION, Mend, Outcome, failed, passed, warned
from rbdstore.drivers.rbd import manager as manager_commands
from rbdstore.drivers.rbd.diagnosis.case import Case
from rbdstore.spec import ImageSpec, new_probe, secret_uuid

# What the cluster says of itself that a service notices; full ones are told elsewhere.
_SERIOUS: Final = (
    *("MON_DOWN", "MON_DISK_CRIT", "MGR_DOWN", "OSD_DOWN", "OSD_HOST_DOWN", "OSDMAP_FLAGS"),
    *("PG_AVAILABILITY", "PG_DAMAGED", "PG_DEGRADED", "OBJECT_UNFOUND", "SLOW_OPS"),
)
_SKEW: Final = "MON_CLOCK_SKEW"
_VIRSH_SECONDS: Final = 10


def health(case: Case) -> Outcome:
    said = {code: case.ailments[code] for code in _SERIOUS if code in case.ailments}
    if not said:
        return passed("nothing that a service would notice")
    is_error = any(each["severity"] == "HEALTH_ERR" for each in said.values())
    text = "; ".join(f"{code}: {each['summary']['message']}" for code, each in said.items())
    return (failed if is_error else warned)(text, Mend("ceph health detail"))


def clocks(case: Case) -> Outcome:
    return clocks_of(case.ailments, case.ask("time-sync-status"))


def clocks_of(ailments: dict[str, Any], status: dict[str, Any]) -> Outcome:
    """By what the monitors say: leases, and keys, run out by their clocks."""
    skewed = {
        name: each["skew"]
        for name, each in status.get("time_skew_status", {}).items()
        if each.get("health", "HEALTH_OK") != "HEALTH_OK"
    }
    if not skewed and _SKEW not in ailments:
        return passed("the monitors' clocks agree")
    told = ", ".join(f"mon.{name} is {skew:.3f} s off" for name, skew in skewed.items())
    message = ailments.get(_SKEW, {}).get("summary", {}).get("message", "")
    return warned(
        told or message,
        Mend("chronyc makestep  # on those monitors' hosts; else set up NTP there"),
    )


def manager(case: Case) -> Outcome:
    """Whether the manager does tasks for this user, by asking for one that cannot be done."""
    if not case.writes:
        return passed("not asked: whoever only reads has no tasks for it")
    needs_it = case.given.get("rbd_flatten_mode") == "task"
    if not case.ask("status")["mgrmap"]["available"]:
        return _no_manager("the monitors know of no manager that is up")
    spec = ImageSpec(case.pool_name, new_probe(), namespace=case.namespace)
    try:
        manager_commands.command(
            case.options.client, "rbd task add flatten", spec=spec, image_spec=str(spec)
        )
    except exceptions.NotFound:
        return passed("it does tasks for this user")
    except exceptions.PermissionDenied as error:
        return (failed if needs_it else warned)(
            f"client.{case.options.client.user} has no right to the manager's tasks, which "
            + ("rbd_flatten_mode = task needs" if needs_it else "`rbd task` and --fence need"),
            Mend(error.mend),
        )
    except exceptions.Timeout as error:
        return _no_manager(str(error))
    return passed("it does tasks for this user")


def _no_manager(text: str) -> Outcome:
    return failed(text, Mend("systemctl start ceph-mgr.target  # on the managers' hosts"))


def secret(case: Case) -> Outcome:
    """By which name libvirt is told to look for the key, and whether it has it, if it is here."""
    fsid = str(case.connection.rados.get_fsid())
    uuid = (case.options.secret_uuid or fsid).lower()
    user = case.options.client.user
    usual = {fsid: "the cluster's id", secret_uuid(fsid, user): "as provision makes it up"}
    told = f"{uuid}, " + usual.get(uuid, f"not the cluster's id {fsid}")
    told += "" if case.options.secret_uuid else ", as rbd_secret_uuid is not set"
    known = _known_to_libvirt()
    if known is not None and uuid not in known:
        return warned(
            f"{told}; libvirt on this host has no secret of that UUID",
            *secret_lines(uuid, f"client.{user}"),
        )
    if known is not None:
        return passed(f"{told}; libvirt on this host has a secret of that UUID")
    if uuid not in usual:
        return warned(
            f"{told}: every host that volumes are attached to must know the key by it",
            Mend(f"rbd_secret_uuid = {fsid}", SECTION),
        )
    return passed(f"{told}; there is no libvirt here to ask")


def secret_lines(uuid: str, client: str) -> tuple[Mend, Mend]:
    name = saxutils.escape(f"{client} secret")
    secret = shlex.quote(
        f'<secret ephemeral="no" private="yes"><uuid>{uuid}</uuid><usage type="ceph">'
        f"<name>{name}</name></usage></secret>"
    )
    return (
        Mend(f"printf %s {secret} | virsh secret-define /dev/stdin"),
        # Not as an argument, which every user of the host could read.
        Mend(
            f"ceph auth get-key {shlex.quote(client)} | "
            f"virsh secret-set-value {uuid} --file /dev/stdin"
        ),
    )


def _known_to_libvirt() -> set[str] | None:
    """The UUIDs of its secrets; None: there is no libvirt here, or it does not tell."""
    virsh = shutil.which("virsh")
    if virsh is None:
        return None
    try:
        done = subprocess.run(  # nosec B603: no shell, and nothing of others
            [virsh, "--quiet", "secret-list"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VIRSH_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return {line.split()[0].lower() for line in done.stdout.splitlines() if line.split()}
