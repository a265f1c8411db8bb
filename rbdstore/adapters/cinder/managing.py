# SPDX-License-Identifier: Apache-2.0
"""Taking over what is in the pool already, and letting go of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from cinder import exception
from cinder.volume import volume_utils

from rbdstore.adapters.cinder.base import in_gib
from rbdstore.adapters.cinder.volumes import Volumes
from rbdstore.undo import Undo
from rbdstore.views.looking import Branch, Tree
from rbdstore.volumes import VolumeStore

_NAME: Final = "source-name"

_WHY_NOT: Final[Mapping[str, str]] = {
    "draft": "it is being made",
    "deleted": "volume marked as deleted",
    "unknown": "it cannot be opened",
    "image": "it belongs to an image",
    "clones": "used for clone snap",
    "backup": "used for volume backup",
}
"""By the kinds of images and snapshots."""


class Managing(Volumes):
    """What others made becomes Cinder's, under its name."""

    # Volumes

    def manage_existing_get_size(self, volume: Any, existing_ref: Any) -> int:
        name = _name(existing_ref)
        return self._size_of(existing_ref, lambda: self._call(VolumeStore.get, name).size)

    def manage_existing(self, volume: Any, existing_ref: Any) -> dict[str, Any]:
        self._check_type(volume)
        name = _name(existing_ref)
        self._call(VolumeStore.rename, name, volume.name)
        with Undo() as undo:
            # Who deletes what Cinder could not manage is not to delete this.
            undo.add(self._call, VolumeStore.rename, volume.name, name)
            return self._apply_type(volume)

    def unmanage(self, volume: Any) -> None:
        """It stays as it is."""

    def get_manageable_volumes(
        self,
        cinder_volumes: Iterable[Any],
        marker: Any,
        limit: int,
        offset: int,
        sort_keys: list[str],
        sort_dirs: list[str],
    ) -> list[dict[str, Any]]:
        managed = {volume.name: volume["id"] for volume in cinder_volumes}
        found = [_volume(tree, managed.get(tree.name)) for tree in self._images()]
        return _page(found, marker, limit, offset, sort_keys, sort_dirs)

    # Snapshots

    def manage_existing_snapshot_get_size(self, snapshot: Any, existing_ref: Any) -> int:
        volume, name = snapshot.volume_name, _name(existing_ref)
        return self._size_of(
            existing_ref, lambda: self._call(VolumeStore.snapshot_size, volume, name)
        )

    def manage_existing_snapshot(self, snapshot: Any, existing_ref: Any) -> None:
        name = _name(existing_ref)
        self._call(VolumeStore.rename_snapshot, snapshot.volume_name, name, snapshot.name)

    def unmanage_snapshot(self, snapshot: Any) -> None:
        self._call(VolumeStore.unprotect_snapshot, snapshot.volume_name, snapshot.name)

    def get_manageable_snapshots(
        self,
        cinder_snapshots: Iterable[Any],
        marker: Any,
        limit: int,
        offset: int,
        sort_keys: list[str],
        sort_dirs: list[str],
    ) -> list[dict[str, Any]]:
        managed = {snapshot["name"]: snapshot["id"] for snapshot in cinder_snapshots}
        found = [
            _snapshot(tree, snap, managed.get(snap.name))
            for tree in self._images()
            for snap in tree.snaps
        ]
        return _page(found, marker, limit, offset, sort_keys, sort_dirs)

    # Inside

    def _images(self) -> Iterator[Tree]:
        """Everything in the pool that has a name."""
        for tree in self._ask(self._store.forest):
            if not tree.outside and not tree.trashed:
                yield tree

    @staticmethod
    def _size_of(existing_ref: Any, size: Callable[[], int]) -> int:
        try:
            return in_gib(size())
        except (exception.NotFound, exception.InvalidInput) as error:
            raise exception.ManageExistingInvalidReference(
                existing_ref=existing_ref, reason=str(error)
            ) from error


def _name(existing_ref: Any) -> str:
    """What is to be taken over is called; of a snapshot that may be all that is said."""
    if isinstance(existing_ref, str):
        return existing_ref
    if _NAME not in existing_ref:
        raise exception.ManageExistingInvalidReference(
            existing_ref=existing_ref, reason=f"it must have a {_NAME}"
        )
    name: str = existing_ref[_NAME]
    return name


def _volume(tree: Tree, cinder_id: str | None) -> dict[str, Any]:
    why_not = None
    if cinder_id is not None:
        why_not = "already managed"
    elif tree.watchers:
        why_not = "volume in use"
    elif tree.kind != "volume":
        why_not = _WHY_NOT[tree.kind]
    return _entry(tree.name, tree.size, cinder_id, why_not)


def _snapshot(tree: Tree, snap: Branch, cinder_id: str | None) -> dict[str, Any]:
    why_not = None
    if cinder_id is not None:
        why_not = "already managed"
    elif snap.kind != "user":
        why_not = _WHY_NOT[snap.kind]
    entry = _entry(snap.name, snap.size, cinder_id, why_not)
    return entry | {"source_reference": {_NAME: tree.name}}


def _entry(
    name: str, size: int | None, cinder_id: str | None, why_not: str | None
) -> dict[str, Any]:
    return {
        "reference": {_NAME: name},
        "size": in_gib(size or 0),
        "cinder_id": cinder_id,
        "extra_info": None,
        "safe_to_manage": why_not is None,
        "reason_not_safe": why_not,
    }


def _page(found: list[dict[str, Any]], *how: Any) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = volume_utils.paginate_entries_list(found, *how)
    return page
