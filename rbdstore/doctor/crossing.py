# SPDX-License-Identifier: Apache-2.0
"""Clones from one backend's pool to another's, as services make them of images."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rbdstore import exceptions
from rbdstore.checks import Check, Outcome, passed, skipped
from rbdstore.doctor.patient import Patient
from rbdstore.doctor.probes import Trial
from rbdstore.doctor.walk import Result
from rbdstore.driver import find_snap


def between(service: Patient, source: Patient) -> Iterator[Result]:
    """Clone an image of ``source`` into the pool of ``service``, where that is its work."""
    trial = service.trial
    if trial is None or not service.walk.holds("create") or not _clones(service, source):
        return
    name = source.backend.name
    check = Check(f"clone of {name}", functools.partial(_clone, service, source, trial))
    yield service.walk.take(check)
    if source.trial is not None and service.walk.holds(check.name):
        needs = f"clones in {service.backend.name}"
        yield source.walk.take(Check(needs, functools.partial(_listed, source)))
    trial.drop_crossed()


def _clones(service: Patient, source: Patient) -> bool:
    """Whether a service clones what is in another backend's pool, as far as the table tells."""
    if service is source or not service.fsid or service.fsid != source.fsid:
        return False
    ours, theirs = service.backend.settings, source.backend.settings
    if (ours.pool, ours.namespace) == (theirs.pool, theirs.namespace):
        return False
    work = service.backend.work
    if work is None or source.backend.kind != "images" or service.backend.kind == "images":
        # Of a service by another name it is only known what the command line says.
        return not source.writes and service.writes
    return "images" in (*work.reads, *work.writes) and service.backend.kind in ("volumes", "vms")


def _clone(service: Patient, source: Patient, trial: Trial) -> Outcome:
    found = None
    if source.trial is not None and source.walk.holds("snapshot"):
        found = source.trial.parent()
    elif source.reading is not None:
        found = source.reading.parent()
    if found is None:
        return skipped(f"there is no image with a snapshot {'snap'!r} in {source.backend.name}")
    settings = source.backend.settings
    return trial.clone_from(service.pool(settings.pool, settings.namespace), *found)


def _listed(source: Patient) -> Outcome:
    """Whether the parent's user learns that there is a clone, without which it could not tell
    whether an image may be deleted."""
    assert source.trial is not None  # nosec B101: for the type checker
    name, snap = source.trial.parent()
    with source.trial.pool.open(name) as image:
        children = list(image.children(find_snap(image, snap).id))
    if not children:
        raise exceptions.ClusterError(f"a clone of {name} was made, and is not listed")
    return passed("its clone there is listed")
