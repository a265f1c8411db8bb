# SPDX-License-Identifier: Apache-2.0
"""A plan: all there is to do, known before anything is done.

What is in the way is told then, all of it at once. What has begun and fails can be run again: it
goes on where it ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from oslo_log import log

from rbdstore import exceptions
from rbdstore.driver import Administration
from rbdstore.provision import files, pools, roles, texts, users
from rbdstore.provision.description import Description
from rbdstore.provision.steps import Step

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each pool, each user and each file."""

    steps: tuple[Step, ...]
    _roles: tuple[str, ...]
    _keys: dict[str, str] = dataclasses.field(repr=False)

    @property
    def is_done(self) -> bool:
        """Whether all is there already, as it is to be."""
        return not any(step.commands for step in self.steps)

    def lines(self) -> Iterator[str]:
        """What would do the same in a shell; comments for the files."""
        for step in self.steps:
            for command in step.commands:
                yield command.line

    def run(self, admin: Administration) -> None:
        """Do it.

        :raises RbdStoreError: also where the cluster has changed since; what was done stays
        """
        for step in self.steps:
            if step.kind == "file" and step.commands:
                self._fetch_keys(admin)
            for command in step.commands:
                command.run(admin)
            if step.commands:
                LOG.info("%s %s: %s", step.kind, step.name, step.outcome)

    def _fetch_keys(self, admin: Administration) -> None:
        """Get the keys of the users that were made meanwhile."""
        for role in self._roles:
            if role not in self._keys:
                user = users.find(admin, role)
                if user.key is None:
                    raise exceptions.NotFound(f"{user.entity} was removed meanwhile")
                self._keys[role] = user.key


def make(
    admin: Administration, wanted: Description, *, lower_caps: bool = False, force: bool = False
) -> Plan:
    """See what is there, and what is to be done. Nothing is changed.

    :param lower_caps: take from the users what they do not need
    :param force: replace files that are there and differ
    :raises InvalidInput: naming all that is in the way
    :raises PermissionDenied: who asks is no administrator
    """
    osd_map = admin.command("osd dump")
    minimal = admin.command("config generate-minimal-conf")
    found = {role: users.find(admin, role) for role in wanted.roles}
    steps, faults = pools.look(admin, osd_map, wanted.distinct_pools)
    for role, user in found.items():
        needed = roles.role(role, wanted.pool_names)
        steps.append(users.look(user, needed, lower=lower_caps))
    keys = {role: user.key for role, user in found.items() if user.key is not None}
    if fault := files.check_folder(wanted.output_dir):
        faults.append(fault)
    made, more = _look_at_files(texts.files(wanted, osd_map["fsid"], minimal), keys, force=force)
    steps += made
    faults += more
    if faults:
        raise exceptions.InvalidInput("; ".join(faults))
    return Plan(tuple(steps), wanted.roles, keys)


def _look_at_files(
    wanted: Iterable[files.File], keys: files.Keys, *, force: bool
) -> tuple[list[Step], list[str]]:
    steps, faults, others = [], [], []
    for file in wanted:
        try:
            step, differences = files.look(file, keys)
        except OSError as error:
            faults.append(f"{file.path}: {error.strerror}")
            continue
        steps.append(step)
        if differences:
            others.append(f"{file.path} ({', '.join(differences)})")
    if others and not force:
        faults.append(
            f"there already, and not as it would be written: {', '.join(others)}; have it "
            "replaced (--force), or name another folder"
        )
    return steps, faults
