# SPDX-License-Identifier: Apache-2.0
"""The pools: made where they are missing, and made ready for images; else left as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rbdstore import exceptions
from rbdstore.driver import Administration
from rbdstore.provision.description import Pool
from rbdstore.provision.steps import Command, Step, ceph

APPLICATION: Final = "rbd"
_ERASURE: Final = 3


def look(
    admin: Administration, osd_map: Mapping[str, Any], wanted: Iterable[Pool]
) -> tuple[list[Step], list[str]]:
    """What there is to do, and what stands in the way of it.

    :param osd_map: what ``ceph osd dump`` tells
    """
    there = {pool["pool_name"]: pool for pool in osd_map["pools"]}
    osds = sum(1 for osd in osd_map["osds"] if osd["in"])
    steps, faults = [], []
    for pool in wanted:
        found = there.get(pool.name)
        if found is not None:
            fault = _unusable(found)
        elif (pool.replicas or 1) > osds:
            fault = (
                f"there cannot be {pool.replicas} replicas on {osds} OSD{'s' * (osds != 1)}: add "
                "some, or ask for fewer"
            )
        else:
            fault = None
        if fault is not None:
            faults.append(f"pool {pool.name}: {fault}")
        elif found is None:
            commands = (_create(pool), _enable(pool.name), _make_ready(pool.name))
            steps.append(Step("pool", pool.name, "created", _layout(pool), commands))
        else:
            steps.append(_mend(admin, pool, found))
    return steps, faults


def _unusable(found: Mapping[str, Any]) -> str | None:
    others = [name for name in found["application_metadata"] if name != APPLICATION]
    if found["type"] == _ERASURE:
        return (
            "it is erasure-coded, and cannot hold the headers of images. Name a replicated pool; "
            "this one can hold their data, by the option rbd_data_pool"
        )
    if others and APPLICATION not in found["application_metadata"]:
        return f"it is used by {', '.join(others)}: name another pool"
    return None


def _mend(admin: Administration, pool: Pool, found: Mapping[str, Any]) -> Step:
    commands = []
    if APPLICATION not in found["application_metadata"]:
        commands.append(_enable(pool.name))
    with _served(pool.name):
        ready = admin.is_ready(pool.name)
    if not ready:
        commands.append(_make_ready(pool.name))
    outcome: Any = "updated" if commands else "unchanged"
    return Step("pool", pool.name, outcome, _otherwise(pool, found), tuple(commands))


def _create(pool: Pool) -> Command:
    words = [pool.name]
    asked: dict[str, Any] = {}
    if pool.pg_num is not None:
        words.append(str(pool.pg_num))
        asked["pg_num"] = pool.pg_num
    if pool.replicas is not None:
        words += ["--size", str(pool.replicas)]
        asked["size"] = pool.replicas
    if (mode := _autoscale_mode(pool)) is not None:
        words += ["--autoscale-mode", mode]
        asked["autoscale_mode"] = mode
    return ceph("osd pool create", *words, pool=pool.name, **asked)


def _enable(name: str) -> Command:
    return ceph("osd pool application enable", name, APPLICATION, pool=name, app=APPLICATION)


def _make_ready(name: str) -> Command:
    def run(admin: Administration) -> None:
        with _served(name):
            admin.make_ready(name)

    return Command(f"rbd pool init {name}", run)


@contextlib.contextmanager
def _served(name: str) -> Iterator[None]:
    """Say what it may be where the pool does not answer within the limit."""
    try:
        yield
    except exceptions.Timeout as error:
        raise exceptions.Timeout(
            f"pool {name} is not served: see in `ceph health detail` whether there are OSDs, on "
            "hosts enough, for as many replicas as it has; then run this again",
            errno=error.errno,
        ) from error


def _autoscale_mode(pool: Pool) -> str | None:
    if pool.pg_num is not None:
        return "off"
    return None if pool.pg_autoscale is None else ("on" if pool.pg_autoscale else "off")


def _layout(pool: Pool) -> tuple[str, ...]:
    return tuple(f"{what} {value}" for what, value in _asked(pool).items())


def _otherwise(pool: Pool, found: Mapping[str, Any]) -> tuple[str, ...]:
    """In what an existing pool is not as it was asked for: that may move all of its data."""
    has = {
        "replicas": found["size"],
        "pg_num": found["pg_num_target"],
        "pg_autoscale_mode": found["pg_autoscale_mode"],
    }
    return tuple(
        f"{what} is left at {has[what]}, not {value}"
        for what, value in _asked(pool).items()
        if has[what] != value
    )


def _asked(pool: Pool) -> dict[str, Any]:
    asked = {
        "replicas": pool.replicas,
        "pg_num": pool.pg_num,
        "pg_autoscale_mode": _autoscale_mode(pool),
    }
    return {what: value for what, value in asked.items() if value is not None}
