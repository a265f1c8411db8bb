# SPDX-License-Identifier: Apache-2.0
"""The pool: that it is there, is for RBD, has room, and can be read; clones and object maps."""

from __future__ import annotations

import contextlib
import difflib
import shlex
import time
from collections.abc import Iterator
from typing import Any, Final

import rados
import rbd

from rbdstore.checks import SECTION, Mend, Outcome, failed, passed, skipped, warned
from rbdstore.drivers.rbd import connecting, errors
from rbdstore.drivers.rbd.diagnosis.case import Case
from rbdstore.spec import ImageSpec, new_probe

_ERASURE: Final = 3
_INVALID: Final = rbd.RBD_FLAG_OBJECT_MAP_INVALID | rbd.RBD_FLAG_FAST_DIFF_INVALID
# A pool may hold tens of thousands of images, each of which has to be opened.
_MAPS_SECONDS: Final = 5.0
_MOST_NAMES: Final = 10

_FULL: Final = ("OSD_FULL", "POOL_FULL")
_NEAR_FULL: Final = ("OSD_NEARFULL", "OSD_BACKFILLFULL", "POOL_NEARFULL", "POOL_NEAR_FULL")
_NEAR: Final = 0.85
# What Ceph begins with; below them, an OSD passes for full that is not.
_RATIOS: Final = {"full": 0.95, "backfillfull": 0.90, "nearfull": 0.85}


def exists(case: Case) -> Outcome:
    name = case.pool_name
    if case.connection.ioctx(name, "", look=True) is None:
        return _missing(case, name, "rbd_pool")
    ioctx = case.connection.ioctx(name, "")
    if case.namespace and not rbd.RBD().namespace_exists(ioctx, case.namespace):
        there = list(rbd.RBD().namespace_list(ioctx))
        meant = difflib.get_close_matches(case.namespace, there, 1)
        path = shlex.quote(f"{name}/{case.namespace}")
        return failed(
            f"{name} has no namespace {case.namespace!r}; it has {', '.join(there) or 'none'}",
            Mend(f"rbd_namespace = {meant[0]}", SECTION)
            if meant
            else Mend(f"rbd namespace create {path}"),
        )
    return passed(f"{name}{f', namespace {case.namespace}' if case.namespace else ''} is there")


def _missing(case: Case, name: str, option: str) -> Outcome:
    pools = list(case.connection.rados.list_pools())
    seen = f"there is no pool {name!r}; there are {', '.join(pools)}"
    if meant := difflib.get_close_matches(name, pools, 1):
        return failed(seen, Mend(f"{option} = {meant[0]}", SECTION))
    quoted = shlex.quote(name)
    return failed(seen, Mend(f"ceph osd pool create {quoted}"), Mend(f"rbd pool init {quoted}"))


def application(case: Case) -> Outcome:
    return _application(case, case.pool_name) or passed("the pool is tagged for rbd")


def _application(case: Case, name: str) -> Outcome | None:
    """What is wrong with the tag that says what a pool is for."""
    tags = list(_of(case, name)["application_metadata"])
    if "rbd" in tags:
        return None
    quoted = shlex.quote(name)
    if tags:
        return failed(
            f"pool {name} is tagged for {', '.join(tags)}, not for rbd: is it the right one?",
            Mend(f"ceph osd pool application enable {quoted} rbd --yes-i-really-mean-it"),
        )
    return warned(
        f"pool {name} is tagged for no application: the cluster warns of it, and capabilities "
        "given by the tag do not hold",
        Mend(f"ceph osd pool application enable {quoted} rbd"),
    )


def data_pool(case: Case) -> Outcome:
    name = case.options.data_pool
    if name is None:
        return passed("none is set: data is in the pool itself")
    if name not in case.connection.rados.list_pools():
        return _missing(case, name, "rbd_data_pool")
    found = _of(case, name)
    if found["type"] == _ERASURE and "ec_overwrites" not in found["flags_names"].split(","):
        return failed(
            f"pool {name} is erasure-coded, and nothing in it can be overwritten",
            Mend(f"ceph osd pool set {shlex.quote(name)} allow_ec_overwrites true"),
        )
    if case.writes:
        ioctx: Any = case.connection.ioctx(name, case.namespace)
        user = case.options.client.user
        with errors.translated(user=user, pool=name), contextlib.suppress(rados.ObjectNotFound):
            # There is none: to be told so is to be allowed to write.
            ioctx.remove_object(new_probe())
    return _application(case, name) or passed(f"{name} is there, and may be written")


def space(case: Case) -> Outcome:
    """Whether there is room, by what the cluster says and by the pool's quota."""
    name = case.options.data_pool or case.pool_name
    found = _of(case, name)
    figures = [each["stats"] for each in case.ask("df")["pools"] if each["name"] == name]
    if not figures:
        return skipped("the manager has no figures of the pool yet")
    stats = figures[0]
    flags = set(found["flags_names"].split(","))
    said = [code for code in (*_FULL, *_NEAR_FULL) if code in case.ailments]
    messages = [case.ailments[code]["summary"]["message"] for code in said]
    if quota := int(found["quota_max_bytes"]):
        share = stats["stored"] / quota
        if share >= _NEAR or "full_quota" in flags:
            outcome = failed if "full_quota" in flags or share >= 1 else warned
            return outcome(
                f"pool {name} has {share:.0%} of its quota of {quota} bytes in it",
                Mend(f"ceph osd pool set-quota {shlex.quote(name)} max_bytes {2 * quota}"),
            )
    if "full" in flags or any(code in _FULL for code in said):
        return failed(f"the cluster is full: {'; '.join(messages)}", *_room(case))
    if "nearfull" in flags or said:
        return warned(f"the cluster is nearly full: {'; '.join(messages)}", *_room(case))
    return passed(f"{stats['stored']} bytes are stored, {stats['max_avail']} are free")


def _room(case: Case) -> Iterator[Mend]:
    low = [
        Mend(f"ceph osd set-{which}-ratio {usual}")
        for which, usual in _RATIOS.items()
        if case.osd_map[f"{which}_ratio"] < usual - 0.001
    ]
    yield from low or (
        Mend("rbdstore trash purge"),
        Mend("rbdstore gc --apply"),
        Mend("ceph osd df tree  # which OSDs; then add some, or ceph osd reweight-by-utilization"),
    )


def clone_format(case: Case) -> Outcome:
    said = case.options.client.clone_format
    least = str(case.osd_map["require_min_compat_client"])
    if case.connection.clone_format == 2:
        old = least in connecting.BEFORE_MIMIC
        return passed(
            "2" + (f"; clients of {least} may connect, and cannot open such clones" if old else "")
        )
    if said == "auto":
        return warned(
            f"1, as clients of {least} may connect: the parents of clones have to be protected, "
            "and stay as long as there are clones",
            Mend("ceph osd set-require-min-compat-client mimic"),
        )
    if least in connecting.BEFORE_MIMIC:
        return passed(f"1, as the configuration says, for clients of {least}")
    return warned(
        f"1, as the configuration says, though all clients are of {least} or newer",
        Mend("rbd_clone_format = 2", SECTION),
    )


def objects(case: Case) -> Outcome:
    """Whether an OSD answers, and lets this user read."""
    try:
        case.ioctx.stat("rbd_directory")
    except rados.ObjectNotFound:
        return passed("the OSDs answer; the pool holds no images yet")
    return passed("the OSDs answer")


def object_maps(case: Case) -> Outcome:
    """Whether librbd has marked the object map of an image as one not to be believed."""
    try:
        names = list(rbd.RBD().list(case.ioctx))
    except rbd.PermissionError:
        return skipped("the images cannot be listed")
    deadline = time.monotonic() + _MAPS_SECONDS
    invalid, seen = [], 0
    for name in names:
        if time.monotonic() > deadline:
            break
        seen += 1
        try:
            with rbd.Image(case.ioctx, name, read_only=True) as image:
                if image.flags() & _INVALID:
                    invalid.append(name)
        except rbd.Error:
            # Debris, or a clone of what this user may not read.
            continue
    looked_at = f"{seen} of {len(names)} images" if seen < len(names) else f"{seen} images"
    if not invalid:
        return passed(f"valid, of {looked_at}")
    specs = [str(ImageSpec(case.pool_name, each, namespace=case.namespace)) for each in invalid]
    return warned(
        f"invalid, of {len(invalid)} of {looked_at}: what is used, and what an increment of a "
        "backup holds, takes long to find out",
        *(Mend(f"rbd object-map rebuild {shlex.quote(each)}") for each in specs[:_MOST_NAMES]),
    )


def _of(case: Case, name: str) -> dict[str, Any]:
    """What the map of the OSDs says about a pool."""
    return next(each for each in case.osd_map["pools"] if each["pool_name"] == name)
