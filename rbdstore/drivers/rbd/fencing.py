# SPDX-License-Identifier: Apache-2.0
"""Cutting off the clients that have an image open for writing.

The monitors put a client's address on a list, and the OSDs refuse whatever comes from there. An
OSD has the list no later than it has a request of somebody who has it: so once this client has,
nothing of the other's lands that this client, or whoever it tells, would not see. The other's
watch ends when the OSD gets the list. Its lock does not end by itself.

The address stays there for longer than a host, or the network to it, may be gone: a client that
comes back sends again what it was not answered, and with its address off the list that would land.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterator
from typing import Any, Final

import rbd
from oslo_log import log

from rbdstore import exceptions
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import errors
from rbdstore.spec import ImageSpec

LOG = log.getLogger(__name__)

# An address has a random number in it, so nobody else is given it.
_BLOCKLISTED_SECONDS: Final = 365.0 * 24 * 60 * 60

# The OSD ends a listed client's watch when it gets the list, which takes milliseconds.
_LONGEST: Final = 30
_POLL_SECONDS: Final = 0.02


def fence(connection: clients.Connection, handle: rbd.Image, spec: ImageSpec) -> list[str]:
    """Cut them off, and return their addresses.

    :raises InUse: this process is one of them; nobody was cut off
    :raises PermissionDenied:
    """
    watchers = list(handle.watchers_list())
    own = clients.instances()
    if any(watcher["id"] in own for watcher in watchers):
        raise exceptions.InUse(
            "this process has it open itself, and does not cut itself off",
            spec=spec,
            watchers=_addresses(watchers),
        )
    addresses = _addresses(watchers)
    for address in addresses:
        _blocklist(connection, address, spec)
        # At once: what follows may fail.
        LOG.warning("cut off %s, which had %s open for writing", address, spec)
    if addresses:
        connection.rados.wait_for_latest_osdmap()
        _wait_until_gone(handle, addresses, spec)
    for address in _break_locks(handle, addresses):
        # librbd put it on the list, too, for as long as that is Ceph's default: for an hour.
        _blocklist(connection, address, spec)
    return addresses


def _blocklist(connection: clients.Connection, address: str, spec: ImageSpec) -> None:
    try:
        connection.monitor_command(
            "osd blocklist", blocklistop="add", addr=address, expire=_BLOCKLISTED_SECONDS
        )
    except exceptions.PermissionDenied as exc:
        raise errors.denied(connection.user, spec, "", service="mon") from exc


def _addresses(watchers: list[dict[str, Any]]) -> list[str]:
    return sorted({str(watcher["addr"]) for watcher in watchers})


def _wait_until_gone(handle: rbd.Image, addresses: list[str], spec: ImageSpec) -> None:
    until = time.monotonic() + _LONGEST
    while left := set(addresses).intersection(_addresses(list(handle.watchers_list()))):
        if time.monotonic() > until:
            raise exceptions.Timeout(
                f"{', '.join(sorted(left))}: blocklisted, but still there after {_LONGEST} s",
                spec=spec,
                errno=errno.ETIMEDOUT,
            )
        time.sleep(_POLL_SECONDS)


def _break_locks(handle: rbd.Image, addresses: list[str]) -> Iterator[str]:
    """Give the address of each whose lock it was."""
    # Where nobody has written there is none, nor in an image without the feature: then the binding
    # gives an empty list, and a dictionary where there is one.
    found = handle.list_lockers() or {"lockers": []}
    for client, cookie, address in found["lockers"]:
        if address in addresses:
            # Somebody else may have broken it meanwhile.
            with contextlib.suppress(rbd.ImageNotFound):
                handle.break_lock(client, cookie)
            yield address
