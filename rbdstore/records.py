# SPDX-License-Identifier: Apache-2.0
"""What this library keeps in the cluster about an image: its clones, and that it is deleted.

One small object beside the image, named after the image's id, with a map: an entry
``child/<snap id>/<pool>/<namespace>/<child id>`` for each clone made from it, and an entry
``deleted`` once it only exists for its clones. It is not image metadata, because librbd copies
that to every clone, and a clone of a deleted volume is not deleted.
"""

from __future__ import annotations

from oslo_log import log

from rbdstore import exceptions, spec
from rbdstore.driver import Child, Image, Pool

LOG = log.getLogger(__name__)

_DELETED = "deleted"


def add_child(parent: Image, snap_id: int, child: Image) -> None:
    """Note that ``child`` was cloned from a snap of ``parent``.

    A user who may only read the parent's pool, as Cinder's may Glance's, cannot write there. Then
    only the parent's own list of children speaks for the child.
    """
    try:
        parent.pool.set_keys(
            spec.record_object(parent.id), {_entry(snap_id, child.pool, child.id): b""}
        )
    except exceptions.PermissionDenied:
        LOG.debug("no right to note %s as a clone of %s", child.spec, parent.spec)
        return
    if not parent.pool.has_image(parent.id):
        # Whoever deleted it flattened the child first, and has removed this object already.
        drop(parent.pool, parent.id)


def forget_child(parent: Image, snap_id: int, child_pool: Pool, child_id: str) -> None:
    """Take the note back once the child is gone, or is a clone no more."""
    try:
        parent.pool.remove_keys(
            spec.record_object(parent.id), [_entry(snap_id, child_pool, child_id)]
        )
    except exceptions.PermissionDenied:
        LOG.debug("no right to forget a clone of %s", parent.spec)


def children(parent: Image, snap_id: int) -> list[Child]:
    """Every image that was noted as cloned from a snap, there still or not."""
    found = []
    for entry in parent.pool.get_keys(spec.record_object(parent.id)):
        kind, *rest = entry.split("/")
        if kind == "child" and rest[0] == str(snap_id):
            _snap_id, child_pool, namespace, child_id = rest
            found.append(Child(child_pool, namespace, child_id, child_id))
    return found


def mark_deleted(pool: Pool, image_id: str, name: str) -> None:
    """Note that ``image_id``, called ``name`` until now, exists for its clones only."""
    pool.set_keys(spec.record_object(image_id), {_DELETED: name.encode()})


def is_deleted(pool: Pool, image_id: str) -> bool:
    """Whether it was noted that the image exists for its clones only."""
    return _DELETED in pool.get_keys(spec.record_object(image_id))


def unmark_deleted(pool: Pool, image_id: str) -> None:
    """Take the mark back: the image is somebody's after all."""
    pool.remove_keys(spec.record_object(image_id), [_DELETED])


def drop(pool: Pool, image_id: str) -> None:
    """Remove all that is kept about an image that is gone."""
    pool.remove_object(spec.record_object(image_id))
    # Of a flatten that was killed and not repeated.
    for name in (spec.flatten_lease(image_id), spec.thinning_lease(image_id)):
        pool.remove_object(spec.lease_object(name))


def _entry(snap_id: int, child_pool: Pool, child_id: str) -> str:
    return f"child/{snap_id}/{child_pool.name}/{child_pool.namespace}/{child_id}"
