# SPDX-License-Identifier: Apache-2.0
"""To whom a file is to belong."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
from typing import Self

from rbdstore import exceptions


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """A user of this host, and a group.

    :ivar text: as it was told
    """

    text: str
    uid: int
    gid: int

    @classmethod
    def find(cls, said: object) -> Self:
        """Read ``USER`` or ``USER:GROUP``, names or numbers; without a group it is the user's own.

        :raises InvalidInput: there is no such user or group, or only root can give it a file
        """
        text = str(said)
        user, _, group = text.partition(":")
        try:
            account = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        except (KeyError, OverflowError, ValueError):
            raise exceptions.InvalidInput(
                f"owner: there is no user {exceptions.shown(user)} on this host"
            ) from None
        try:
            gid = account.pw_gid
            if group:
                found = grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)
                gid = found.gr_gid
        except (KeyError, OverflowError, ValueError):
            raise exceptions.InvalidInput(
                f"owner: there is no group {exceptions.shown(group)} on this host"
            ) from None
        ours = account.pw_uid == os.geteuid() and gid in (os.getegid(), *os.getgroups())
        if os.geteuid() and not ours:
            raise exceptions.InvalidInput(
                f"owner: only root can give a file to {exceptions.shown(text)}"
            )
        return cls(text, account.pw_uid, gid)
