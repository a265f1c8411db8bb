# SPDX-License-Identifier: Apache-2.0
"""Connecting to a cluster, and what is wrong where that fails."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Final

import rados

from rbdstore import exceptions
from rbdstore.drivers.rbd import errors
from rbdstore.drivers.rbd.options import ClientSettings

# Releases whose clients know clone format 1 only. From mimic on they know 2.
BEFORE_MIMIC: Final = (
    *("argonaut", "bobtail", "cuttlefish", "dumpling", "emperor", "firefly"),
    *("giant", "hammer", "infernalis", "jewel", "kraken", "luminous"),
)


def connect(settings: ClientSettings) -> tuple[rados.Rados, int]:
    """Try once; a connected client, and the format of the clones that it makes.

    :raises Timeout: no monitor answered
    :raises Unreachable: the key was refused
    :raises ConfigError: ceph.conf or the keyring is not what it must be
    """
    client = configured(settings)
    try:
        client.connect()
        clone_format = _clone_format(client, settings)
        client.conf_set("rbd_default_clone_format", str(clone_format))
    except (rados.Error, exceptions.RbdStoreError) as exc:
        try:
            raise _explained(exc, client, settings) from exc
        finally:
            client.shutdown()
    return client, clone_format


def configured(settings: ClientSettings) -> rados.Rados:
    """A client that is not connected yet."""
    values = {
        # A removed image must not turn up in the trash, where nobody would look for it.
        "rbd_move_to_trash_on_remove": "false",
    }
    if settings.keyring:
        values["keyring"] = settings.keyring
    if settings.connect_timeout > 0:
        values["client_mount_timeout"] = str(settings.connect_timeout)
    if settings.operation_timeout > 0:
        values["rados_mon_op_timeout"] = str(settings.operation_timeout)
        values["rados_osd_op_timeout"] = str(settings.operation_timeout)
    try:
        client = rados.Rados(
            conffile=settings.conf, rados_id=settings.user, clustername=settings.cluster_name
        )
        for name, value in values.items():
            client.conf_set(name, value)
        # Else, without a cache, librbd never tells that it refused a write (16.2.15).
        with contextlib.suppress(rados.ObjectNotFound):  # An older one has no such option.
            client.conf_set("rbd_disable_zero_copy_writes", "true")
    except rados.Error as exc:
        raise exceptions.ConfigError(
            f"rbd_ceph_conf: {settings.conf} cannot be used ({exc})"
        ) from exc
    return client


def _clone_format(client: rados.Rados, settings: ClientSettings) -> int:
    if settings.clone_format != "auto":
        return int(settings.clone_format)
    command = json.dumps({"prefix": "osd get-require-min-compat-client"})
    result, output, message = client.mon_command(command, b"")
    if result:
        raise errors.from_errno(result, message, user=settings.user, service="mon")
    return 1 if output.decode().strip() in BEFORE_MIMIC else 2


def _explained(
    exc: Exception, client: rados.Rados, settings: ClientSettings
) -> exceptions.RbdStoreError:
    """Why a client could not connect, and what mends it."""
    if isinstance(exc, exceptions.RbdStoreError):
        return exc
    user = f"client.{settings.user}"
    keyring = str(client.conf_get("keyring")).split(",")
    seen = " or ".join(f"{path} ({_state(path)})" for path in keyring)
    monitors = client.conf_get("mon_host")
    if isinstance(exc, rados.TimedOut):
        return exceptions.Timeout(
            f"no monitor answered within {client.conf_get('client_mount_timeout')} s (option "
            f"rados_connect_timeout); {settings.conf} has mon host = {monitors}"
        )
    if not monitors:
        return exceptions.ConfigError(
            f"rbd_ceph_conf: {settings.conf} names no monitors: it wants a line `mon host`"
        )
    if client.conf_get("key") or client.conf_get("keyfile"):
        seen = settings.conf
    elif not any(_has_key(path, user) for path in keyring):
        return exceptions.ConfigError(
            f"no key of {user} (option rbd_user) in {seen}: write what `ceph auth get {user}` "
            f"shows to a keyring there, readable by user id {os.geteuid()}, or name another one "
            f"by `keyring` in {settings.conf} ({exc})"
        )
    if isinstance(exc, (rados.PermissionError, rados.PermissionDeniedError)):
        return exceptions.Unreachable(
            f"the cluster refused the key of {user} (option rbd_user) in {seen}: compare it with "
            f"what `ceph auth get {user}` shows ({exc})"
        )
    return exceptions.ConfigError(
        f"cannot connect as {user} (option rbd_user) with {settings.conf} (option rbd_ceph_conf), "
        f"mon host = {monitors}, keyring {seen} ({exc})"
    )


def _has_key(path: str, user: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as keyring:
            return any(line.strip() == f"[{user}]" for line in keyring)
    except OSError:
        return False


def _state(path: str) -> str:
    if not os.path.exists(path):
        return "missing"
    return "readable" if os.access(path, os.R_OK) else "not readable"
