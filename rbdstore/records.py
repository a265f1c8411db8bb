# SPDX-License-Identifier: Apache-2.0
"""What this library keeps in the cluster about an image: its clones, and that it is deleted.

One small object beside the image, named after the image's id, with a map: an entry
``child/<snap id>/<pool>/<namespace>/<child id>`` for each clone made from it, and an entry
``deleted`` once it only exists for its clones, or until it is purged. It is not image metadata,
because librbd copies that to every clone, and a clone of a deleted volume is not deleted.

An entry ``kept-until`` says which stay in the trash the mark is about. An operator may bring the
image back, and put it there again for reasons of his own: then the mark is void.
"""

from __future__ import annotations

from collections.abc import Mapping

from oslo_log import log

from rbdstore import exceptions, spec
from rbdstore.driver import Child, Image, Pool, TrashEntry

LOG = log.getLogger(__name__)

_DELETED = "deleted"
_KEPT_UNTIL = "kept-until"


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
    _forget(parent, [_entry(snap_id, child_pool, child_id)])


def forget_children(parent: Image, snap_id: int) -> None:
    """Take back all notes of clones of a snap that is gone, and so needs none of them."""
    entries = parent.pool.get_keys(spec.record_object(parent.id))
    if noted := [entry for entry in entries if entry.startswith(f"child/{snap_id}/")]:
        _forget(parent, noted)


def _forget(parent: Image, entries: list[str]) -> None:
    try:
        parent.pool.remove_keys(spec.record_object(parent.id), entries)
    except exceptions.PermissionDenied:
        LOG.debug("no right to forget a clone of %s", parent.spec)


def children(parent: Image, snap_id: int) -> list[Child]:
    """Every image that was noted as cloned from a snap, there still or not."""
    found = []
    for entry in parent.pool.get_keys(spec.record_object(parent.id)):
        match entry.split("/"):
            case ["child", snap, child_pool, namespace, child_id] if snap == str(snap_id):
                found.append(Child(child_pool, namespace, child_id, child_id))
    return found


def has_had_clones(pool: Pool, image_id: str, snap_id: int) -> bool:
    """Whether any image was noted as cloned from a snap, there still or not."""
    entries = pool.get_keys(spec.record_object(image_id))
    return any(entry.startswith(f"child/{snap_id}/") for entry in entries)


def recorded(entries: Mapping[str, bytes]) -> list[tuple[Child, str]]:
    """The clones that a record names, of whatever snap, each with its entry."""
    found = []
    for entry in entries:
        kind, *rest = entry.split("/")
        if kind == "child" and len(rest) == 4:
            _snap_id, child_pool, namespace, child_id = rest
            found.append((Child(child_pool, namespace, child_id, child_id), entry))
    return found


def is_marked(entries: Mapping[str, bytes]) -> bool:
    """Whether a record says that its image is deleted, rightly or not."""
    return _DELETED in entries


def mark_deleted(pool: Pool, image_id: str, name: str) -> None:
    """Note that ``image_id``, called ``name`` until now, is about to go to the trash."""
    pool.set_keys(spec.record_object(image_id), {_DELETED: name.encode(), _KEPT_UNTIL: b""})


def bind_mark(pool: Pool, entry: TrashEntry) -> None:
    """Note that the mark is about this entry of the trash, and no later one."""
    pool.set_keys(spec.record_object(entry.image_id), {_KEPT_UNTIL: _stay(entry)})


def is_deleted(pool: Pool, image_id: str, entry: TrashEntry | None = None) -> bool:
    """Whether it was noted that the image is deleted.

    :param entry: what the trash has of it now, if it has
    """
    found = pool.get_keys(spec.record_object(image_id))
    bound = found.get(_KEPT_UNTIL, b"")
    return _DELETED in found and (entry is None or bound in (b"", _stay(entry)))


def unmark_deleted(pool: Pool, image_id: str) -> None:
    """Take the mark back: the image is somebody's after all."""
    pool.remove_keys(spec.record_object(image_id), [_DELETED, _KEPT_UNTIL])


def drop(pool: Pool, image_id: str) -> None:
    """Remove all that is kept about an image that is gone."""
    pool.remove_object(spec.record_object(image_id))
    # Of a flatten that was killed and not repeated.
    for name in (spec.flatten_lease(image_id), spec.thinning_lease(image_id)):
        pool.remove_object(spec.lease_object(name))


def _entry(snap_id: int, child_pool: Pool, child_id: str) -> str:
    return f"child/{snap_id}/{child_pool.name}/{child_pool.namespace}/{child_id}"


def _stay(entry: TrashEntry) -> bytes:
    return f"{entry.kept_until:.6f}".encode()
