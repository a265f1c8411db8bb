# SPDX-License-Identifier: Apache-2.0
"""Records (:mod:`rbdstore.records`) of images that are gone, of clones that are, and of deletions
that did not happen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from rbdstore import exceptions, lineage, parallel, records, spec
from rbdstore.driver import Child
from rbdstore.names import claims
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Scan, key_of, why_not


class Records(Sweeper):
    def look(self, scan: Scan) -> Iterable[Leftover]:
        prefix = spec.RECORD_PREFIX
        ids = [
            key.removeprefix(prefix) for key in scan.inventory.objects if key.startswith(prefix)
        ]
        found = parallel.each(functools.partial(_look, scan), ids)
        clones = [clone for _leftovers, clones in found for clone in clones]
        stale = parallel.each(functools.partial(_of_clone, scan), clones)
        return [
            *(leftover for leftovers, _clones in found for leftover in leftovers),
            *(leftover for leftover in stale if leftover is not None),
        ]


_Clone = tuple[str, Child, str]
"""The id of the image that a record is about, a clone that it names, and the entry that does."""


def _look(scan: Scan, image_id: str) -> tuple[list[Leftover], list[_Clone]]:
    """What a record's image tells of it; and the clones to be looked at, which may be many."""
    try:
        return _of_image(scan, image_id)
    except exceptions.RbdStoreError as error:
        # Anybody may have written there.
        item = str(scan.pool.spec(spec.record_object(image_id)))
        return [Leftover(item, "record", why_not(error), image_id=image_id)], []


def _of_image(scan: Scan, image_id: str) -> tuple[list[Leftover], list[_Clone]]:
    pool = scan.pool
    key = spec.record_object(image_id)
    if _is_gone(scan, image_id):
        gone = Leftover(
            str(pool.spec(key)),
            "record",
            "the image that it is about is gone",
            bytes=0,
            image_id=image_id,
            take_back=functools.partial(records.drop, pool, image_id),
            is_gone=lambda: not pool.get_keys(key),
        )
        return [gone], []
    entries = pool.get_keys(key)
    found = []
    if records.is_marked(entries) and (name := _live_name(scan, image_id)):
        found.append(_unbound(scan, image_id, name))
    return found, [(image_id, child, entry) for child, entry in records.recorded(entries)]


def _of_clone(scan: Scan, clone: _Clone) -> Leftover | None:
    image_id, child, entry = clone
    key = spec.record_object(image_id)
    found = functools.partial(Leftover, f"{scan.pool.spec(key)}: {entry}", "record", bytes=0)
    try:
        if not _is_stale(scan, image_id, child):
            return None
    except exceptions.RbdStoreError as error:
        return found(why_not(error))
    return found(
        "the clone that it is about is gone, or needs the image no more",
        take_back=functools.partial(scan.pool.remove_keys, key, [entry]),
        is_gone=functools.partial(_has_no_entry, scan, key, entry),
    )


def _is_gone(scan: Scan, image_id: str) -> bool:
    # In this order: what is removed leaves the trash last.
    return not scan.pool.has_image(image_id) and scan.pool.trash_get(image_id) is None


def _has_no_entry(scan: Scan, key: str, entry: str) -> bool:
    return entry not in scan.pool.get_keys(key)


def _live_name(scan: Scan, image_id: str) -> str | None:
    """The name of an image that is not deleted, whatever the record says."""
    if scan.pool.trash_get(image_id) is not None:
        return None
    try:
        with scan.pool.open(image_id=image_id) as image:
            name = image.name
    except exceptions.ImageNotFound:
        return None
    return None if spec.is_deleted(name) or scan.pool.id_of(name) != image_id else name


def _unbound(scan: Scan, image_id: str, name: str) -> Leftover:
    pool = scan.pool
    key = spec.record_object(image_id)
    item = f"{pool.spec(key)}: deleted"
    if holder := scan.is_held(name):
        return Leftover(item, "record", f"{holder.owner} is at work on {name}", bytes=0)

    def unmark() -> None:
        # Who deletes an image has its name claimed.
        seconds = scan.settings.lease_seconds
        with claims.Claim(pool, name, ["gc"], seconds, effect="none", wait=0):
            if _live_name(scan, image_id) == name:
                records.unmark_deleted(pool, image_id)

    return Leftover(
        item,
        "record",
        f"{name} was to be deleted, and was not: it has its name",
        bytes=0,
        take_back=unmark,
        is_gone=lambda: not records.is_marked(pool.get_keys(key)),
    )


def _is_stale(scan: Scan, image_id: str, child: Child) -> bool:
    """Whether a clone is gone, or has the image for its parent no more."""
    try:
        pool = scan.pool
        if (child.pool, child.namespace) != (pool.name, pool.namespace):
            pool = pool.cluster.open_pool(child.pool, child.namespace)
        # To open it costs many times as much. A flatten takes it off the list before it cuts it
        # off, so what is listed needs the image.
        if key_of(child) in scan.listed(image_id) and pool.has_image(child.image_id):
            return False
        with pool.open(image_id=child.image_id) as image:
            return all(link.image_id != image_id for link in lineage.parents(image))
    except exceptions.PoolNotFound:
        return True
    except exceptions.ImageNotFound:
        # One that is there but cannot be opened may be mended.
        return not pool.has_image(child.image_id)
