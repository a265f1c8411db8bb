# SPDX-License-Identifier: Apache-2.0
"""What is to be there: roles, pools, and where the files go; read and checked.

As a description has it, in YAML, all of it optional::

    roles: [glance, cinder, cinder-backup, nova]
    pools:
      images: images
      volumes: [ssd, {name: hdd, replicas: 2, pg_num: 64}]
      backups: []                   # none: nobody is given a right there
    replicas: 3                     # else the cluster's own default
    pg_autoscale: true              # or pg_num: 128; else the cluster's own default
    owner: {glance: "glance:glance", cinder: cinder}     # or one for all
    secret_uuid: {cinder: 457eb676-33da-42ec-9a8c-9293d545c337}
    output_dir: /etc/rbdstore
"""

from __future__ import annotations

import dataclasses
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from rbdstore import exceptions
from rbdstore.provision.owners import Owner
from rbdstore.provision.roles import ATTACHED, KINDS, WORK, Kind, Pools

USUAL_ROLES: Final = ("glance", "cinder", "cinder-backup", "nova")
USUAL_DIR: Final = "/etc/rbdstore"
"""Where ``rbdstore.conf`` is looked for, too."""

_POOL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# What neither ceph.conf nor a service's configuration reads otherwise than it stands there.
_PATH: Final = re.compile(r"[\w@%+=:./-]+")
_MOST_REPLICAS: Final = 10
_MOST_GROUPS: Final = 1 << 16
_LAYOUT: Final = ("replicas", "pg_num", "pg_autoscale")
_KEYS: Final = ("roles", "pools", *_LAYOUT, "owner", "secret_uuid", "output_dir")


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """A pool that is to be there; None: as the cluster makes them.

    :ivar replicas: how many copies of each object
    :ivar pg_num: how many placement groups
    :ivar pg_autoscale: whether the cluster is to find that number itself
    """

    name: str
    replicas: int | None = None
    pg_num: int | None = None
    pg_autoscale: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What is to be there.

    :ivar roles: the users, by the names that :data:`rbdstore.provision.roles.WORK` has for them
    :ivar owners: to whom a role's keyring is to belong; one that is missing: to who writes it
    :ivar secrets: libvirt's uuid for the key of a role, where it is not to be made up
    :ivar output_dir: where the files go, absolute
    """

    roles: tuple[str, ...]
    pools: Mapping[Kind, tuple[Pool, ...]]
    owners: Mapping[str, Owner]
    secrets: Mapping[str, str]
    output_dir: str

    @property
    def pool_names(self) -> Pools:
        return {kind: [pool.name for pool in pools] for kind, pools in self.pools.items()}

    @property
    def distinct_pools(self) -> list[Pool]:
        """Each pool once, though it may be of several kinds."""
        distinct: dict[str, Pool] = {}
        for pools in self.pools.values():
            for pool in pools:
                distinct.setdefault(pool.name, pool)
        return list(distinct.values())

    @classmethod
    def read(cls, said: object) -> Description:
        """Check what is said in the form that is shown above.

        :raises InvalidInput: naming what is wrong, and what would not be
        """
        values = _mapping(said, "the description", _KEYS)
        wanted = _roles(values.get("roles"))
        return cls(
            wanted,
            _pools(values.get("pools"), wanted, _layout(values, "the description")),
            _owners(values.get("owner"), wanted),
            _secrets(values.get("secret_uuid"), [role for role in wanted if role in ATTACHED]),
            _output_dir(values.get("output_dir")),
        )


def _roles(said: Any) -> tuple[str, ...]:
    wanted = _list(USUAL_ROLES if said is None else said)
    for name in wanted:
        if not isinstance(name, str) or name not in WORK:
            raise exceptions.InvalidInput(
                f"roles: there is no role {exceptions.shown(name)}; there are {', '.join(WORK)}"
            )
    if not wanted:
        raise exceptions.InvalidInput(f"roles: name at least one of {', '.join(WORK)}")
    return tuple(dict.fromkeys(wanted))


def _pools(
    said: Any, wanted: Iterable[str], layout: Mapping[str, Any]
) -> Mapping[Kind, tuple[Pool, ...]]:
    named = _mapping({} if said is None else said, "pools", KINDS)
    uses = {kind for role in wanted for kind in WORK[role].uses}
    found: dict[Kind, tuple[Pool, ...]] = {}
    for kind in KINDS:
        if kind in named or kind in uses:
            some = named.get(kind, kind)
            found[kind] = tuple(
                _pool(one, kind, layout) for one in _list([] if some is None else some)
            )
    for role in wanted:
        if not found[WORK[role].own]:
            raise exceptions.InvalidInput(
                f"pools: {role} works in {WORK[role].own}, and of those there is to be "
                "none; name one, or leave the role out"
            )
    return found


def _pool(said: Any, kind: Kind, layout: Mapping[str, Any]) -> Pool:
    where = f"pools: {kind}"
    values = {"name": said} if not isinstance(said, Mapping) else dict(said)
    if any("erasure" in str(word) for pair in values.items() for word in pair):
        raise exceptions.InvalidInput(
            f"{where}: a pool of images is replicated, as an erasure-coded one cannot hold their "
            "headers. Their data can be in one: make that yourself, grant it, and name it by the "
            "option rbd_data_pool"
        )
    _mapping(values, where, ("name", *_LAYOUT))
    name = values.get("name")
    if not isinstance(name, str) or not _POOL.fullmatch(name):
        raise exceptions.InvalidInput(
            f"{where}: {exceptions.shown(name)} is no name of a pool: take letters, digits, '_', "
            "'-' and '.'"
        )
    own = _layout(values, where)
    if "pg_num" in own or "pg_autoscale" in own:
        layout = {key: value for key, value in layout.items() if key == "replicas"}
    return Pool(name, **{**layout, **own})


def _layout(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is said of a pool's replicas and placement groups, and nothing else."""
    found = {key: values[key] for key in _LAYOUT if values.get(key) is not None}
    limits = {"replicas": _MOST_REPLICAS, "pg_num": _MOST_GROUPS}
    for key, most in limits.items():
        value = found.get(key, 1)
        if type(value) is not int or not 1 <= value <= most:
            raise exceptions.InvalidInput(
                f"{where}: {key} is a number from 1 to {most}, not {exceptions.shown(value)}"
            )
    if not isinstance(found.get("pg_autoscale", True), bool):
        raise exceptions.InvalidInput(
            f"{where}: pg_autoscale is true or false, not "
            f"{exceptions.shown(found['pg_autoscale'])}"
        )
    if "pg_num" in found and found.get("pg_autoscale"):
        raise exceptions.InvalidInput(
            f"{where}: pg_num and pg_autoscale exclude each other: the cluster would not leave "
            "the number as it is"
        )
    return found


def _owners(said: Any, wanted: Iterable[str]) -> Mapping[str, Owner]:
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        return dict.fromkeys(wanted, Owner.find(said))
    _mapping(said, "owner", wanted)
    return {role: Owner.find(text) for role, text in said.items()}


def _secrets(said: Any, wanted: Iterable[str]) -> Mapping[str, str]:
    found = {}
    for role, text in _mapping({} if said is None else said, "secret_uuid", wanted).items():
        try:
            found[role] = str(uuid.UUID(str(text)))
        except ValueError:
            raise exceptions.InvalidInput(
                f"secret_uuid: {exceptions.shown(text)}, of {role}, is no uuid"
            ) from None
    if len(set(found.values())) < len(found):
        raise exceptions.InvalidInput("secret_uuid: two keys cannot have one uuid")
    return found


def _output_dir(said: Any) -> str:
    path = os.path.abspath(said or USUAL_DIR) if isinstance(said, str | None) else ""
    if not _PATH.fullmatch(path):
        raise exceptions.InvalidInput(
            f"output_dir: {exceptions.shown(said)} would not be read as it stands in a "
            "configuration: take a path of letters, digits and '_@%+=:./-'"
        )
    return path


def _mapping(said: object, where: str, keys: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise exceptions.InvalidInput(f"{where}: {exceptions.shown(said)} is no mapping")
    known = tuple(keys)
    for key in said:
        if key not in known:
            raise exceptions.InvalidInput(
                f"{where}: there is no {exceptions.shown(key)}; there are {', '.join(known)}"
            )
    return cast(Mapping[str, Any], said)


def _list(said: Any) -> list[Any]:
    return list(said) if isinstance(said, list | tuple) else [said]
