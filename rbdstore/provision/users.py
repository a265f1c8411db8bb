# SPDX-License-Identifier: Apache-2.0
"""The users: made where they are missing; what they lack is added, what they have they keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from rbdstore import exceptions
from rbdstore.driver import Administration
from rbdstore.provision import grants
from rbdstore.provision.roles import Role
from rbdstore.provision.steps import Command, Step, ceph


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A user as the cluster has it.

    :ivar entity: its name, with ``client.``
    :ivar caps: by daemon; None: there is no such user
    :ivar key: None: as well
    """

    entity: str
    caps: Mapping[str, str] | None
    key: str | None = dataclasses.field(repr=False)


def entity(role: str) -> str:
    return f"client.{role}"


def find(admin: Administration, role: str) -> User:
    """Look up the user of a role."""
    try:
        (found,) = admin.command("auth get", entity=entity(role))
    except exceptions.NotFound:
        return User(entity(role), None, None)
    return User(entity(role), found["caps"], found["key"])


def look(user: User, role: Role, *, lower: bool) -> Step:
    """What there is to do.

    :param lower: take away what it has and does not need
    """
    compared = grants.compare(user.caps or {}, role.caps)
    if user.caps is None:
        # Not `get-or-create`, which would show the key to whoever runs the line.
        commands = (_command("auth add", user.entity, compared.least),)
        return Step("user", user.entity, "created", commands=commands)
    notes = [f"added: {daemon} `{grant}`" for daemon, grant in _each(compared.lacking)]
    does = "taken away" if lower else "not needed, and kept"
    notes += [f"{does}: {daemon} `{grant}`" for daemon, grant in _each(compared.besides)]
    if not compared.lacking and not (lower and compared.besides):
        return Step("user", user.entity, "unchanged", tuple(notes))
    wanted = compared.least if lower else compared.merged
    # It sets all that a user may do at once, so that all of it is in the line.
    command = _command("auth caps", user.entity, wanted)
    return Step("user", user.entity, "updated", tuple(notes), (command,))


def _command(prefix: str, user: str, caps: Mapping[str, str]) -> Command:
    words = [word for pair in caps.items() for word in pair]
    return ceph(prefix, user, *words, entity=user, caps=words)


def _each(by_daemon: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    return ((daemon, grant) for daemon, grants in by_daemon.items() for grant in grants)
