# SPDX-License-Identifier: Apache-2.0
"""What a killed creation, removal, renaming or move to the trash leaves behind.

An image is the object ``rbd_header.<id>``. Its name is the object ``rbd_id.<name>``, which holds
the id, and a pair of entries in the map of ``rbd_directory``, from name to id and back. Its place
in the trash is an entry in the map of ``rbd_trash``. librbd writes these one after the other:

=============  ==================================================================================
creation       directory, name object, header
renaming       new name object, directory, old name object
trash_move     trash (as "moving"), name object, directory, trash (as "normal")
trash_restore  trash (as "restoring"), name object, directory, trash
removal        as trash_move, but marked as removing; then data, header, and the trash's entry
=============  ==================================================================================

A process killed between any two of them leaves one of the kinds of :data:`Kind`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import struct
import time
from collections.abc import Iterator
from typing import Final, Literal

import rados

from rbdstore.drivers.rbd import decoding, objects

DIRECTORY: Final = "rbd_directory"
TRASH: Final = "rbd_trash"

Kind = Literal["hollow", "alias", "trashed", "removing"]
"""
hollow
    no image is left of it, or none was there yet
alias
    the image has another name, by which it can be opened, and which the directory has
trashed
    the image is in the trash already
removing
    the image is half removed; removing it by name goes on with that
"""

_TRASH_KEY: Final = "id_"
_SOURCE_REMOVING: Final = 3
_NORMAL, _MOVING, _RESTORING = 0, 1, 3
# Of the name object, in bytes; ids are much shorter.
_LONGEST_ID: Final = 4096
# Longer than a creation takes between its steps.
_CREATION_SECONDS: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Remains:
    """A name of which something is left."""

    kind: Kind
    by_object: str | None
    by_directory: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class TrashMark:
    """An entry of the trash: whose removal made it, how far the move has come, until when the
    image may not be removed (in seconds since 1970).
    """

    source: int
    state: int
    name: str
    kept_until: float

    @property
    def half_moved(self) -> bool:
        return self.state in (_MOVING, _RESTORING)


def image_of(ioctx: rados.Ioctx, name: str) -> str | None:
    """The id of the image that is opened by that name; None: there is none."""
    image_id = id_object(ioctx, name)
    return image_id if has_header(ioctx, image_id) else None


def has_header(ioctx: rados.Ioctx, image_id: str | None) -> bool:
    """Whether there is an image of that id, with or without a name."""
    return bool(image_id) and objects.exists(ioctx, f"rbd_header.{image_id}")


def find(ioctx: rados.Ioctx, name: str) -> Remains | None:
    """What is left of a name; None: nothing at all, or a whole image."""
    by_object = id_object(ioctx, name)
    by_directory = _looked_up(ioctx, "dir_get_id", name)
    kind = _kind(ioctx, name, by_object, by_directory)
    return None if kind is None else Remains(kind, by_object, by_directory)


def _kind(
    ioctx: rados.Ioctx, name: str, by_object: str | None, by_directory: str | None
) -> Kind | None:
    if by_object is None and by_directory is None:
        return "removing" if _is_being_removed(ioctx, name) else None
    if by_object is None:
        mark = trash_mark(ioctx, by_directory)
        if mark is not None:
            return "removing" if mark.source == _SOURCE_REMOVING else "trashed"
    elif has_header(ioctx, by_object):
        if by_object == by_directory or has_header(ioctx, by_directory):
            return None
        other = _looked_up(ioctx, "dir_get_name", by_object)
        if other in (None, name) or id_object(ioctx, str(other)) != by_object:
            return None
        return "alias"
    return None if has_header(ioctx, by_directory) else "hollow"


def clear(ioctx: rados.Ioctx, name: str) -> bool:
    """Clear a name that is hollow, an alias, or of something trashed; no image is harmed.

    :returns: False when it is nothing of the kind, and nothing was done
    """
    found = find(ioctx, name)
    if found is None or found.kind == "removing":
        return False
    if found.kind == "hollow":
        # An image that is being created by somebody else looks the same, but not for long.
        time.sleep(_CREATION_SECONDS)
        if find(ioctx, name) != found:
            return clear(ioctx, name)
    if found.kind == "trashed":
        finish_trash_move(ioctx, str(found.by_directory))
        return True
    for image_id in {found.by_object, found.by_directory} - {None, ""}:
        _forget(ioctx, name, str(image_id))
        if not has_header(ioctx, image_id):
            objects.remove(ioctx, f"rbd_object_map.{image_id}")
    objects.remove(ioctx, f"rbd_id.{name}")
    return True


def is_live(ioctx: rados.Ioctx, name: str, image_id: str) -> bool:
    """Whether an image can be opened by its name, or by another one that the directory has."""
    other = _looked_up(ioctx, "dir_get_name", image_id)
    return any(id_object(ioctx, candidate) == image_id for candidate in (name, other) if candidate)


def is_known(ioctx: rados.Ioctx, image_id: str) -> bool:
    """Whether the directory or the trash has an image of that id."""
    named = _looked_up(ioctx, "dir_get_name", image_id) is not None
    return named or trash_mark(ioctx, image_id) is not None


def trash_mark(ioctx: rados.Ioctx, image_id: str | None) -> TrashMark | None:
    """An image's entry in the trash."""
    if not image_id:
        return None
    try:
        _, reply = ioctx.execute(TRASH, "rbd", "trash_get", text(image_id))
    except rados.ObjectNotFound:
        return None
    return _mark(reply)


def trash(ioctx: rados.Ioctx) -> Iterator[tuple[str, TrashMark]]:
    """What is in the trash, whoever put it there, but no image that is just being removed.

    The binding's own list fails where an image is there that is being migrated.
    """
    return (
        (image_id, mark)
        for image_id, mark in _trash_marks(ioctx)
        if mark.source != _SOURCE_REMOVING
    )


def trash_ids(ioctx: rados.Ioctx) -> set[str]:
    """The id of every image in the trash, those included that are just being removed."""
    return {key.removeprefix(_TRASH_KEY) for key in objects.get_keys(ioctx, TRASH)}


def finish_trash_move(ioctx: rados.Ioctx, image_id: str) -> None:
    """Put wholly into the trash an image that is half-way there, or out; it cannot be opened."""
    mark = trash_mark(ioctx, image_id)
    if mark is None:
        return
    _forget(ioctx, mark.name, image_id)
    if not mark.half_moved:
        return
    arguments = text(image_id) + struct.pack("<BB", _NORMAL, mark.state)
    try:
        ioctx.execute(TRASH, "rbd", "trash_state_set", arguments)
    except rados.Error as exc:
        # It was finished already, by somebody else.
        if getattr(exc, "errno", None) not in (errno.ESTALE, errno.ENOENT):
            raise


def half_restored(ioctx: rados.Ioctx, name: str) -> str | None:
    """The id of the image to which a killed restoration has given the name."""
    image_id = id_object(ioctx, name)
    mark = trash_mark(ioctx, image_id)
    return image_id if mark is not None and mark.state == _RESTORING else None


def _is_being_removed(ioctx: rados.Ioctx, name: str) -> bool:
    return any(
        mark.name == name and mark.source == _SOURCE_REMOVING for _, mark in _trash_marks(ioctx)
    )


def _trash_marks(ioctx: rados.Ioctx) -> Iterator[tuple[str, TrashMark]]:
    """All entries of the trash, with the ids of the images."""
    for key, entry in objects.get_keys(ioctx, TRASH).items():
        # One that nobody can read is about nothing; librbd says so wherever it matters.
        with contextlib.suppress(decoding.Unreadable):
            yield key.removeprefix(_TRASH_KEY), _mark(entry)


def _forget(ioctx: rados.Ioctx, name: str, image_id: str) -> None:
    try:
        ioctx.execute(DIRECTORY, "rbd", "dir_remove_image", text(name) + text(image_id))
    except rados.Error as exc:
        # The directory has nothing of it, or has the name for another image.
        if getattr(exc, "errno", None) not in (errno.ESTALE, errno.ENOENT):
            raise


def id_object(ioctx: rados.Ioctx, name: str) -> str | None:
    """What the name object says: an id, or nothing; None: there is no such object."""
    try:
        content = ioctx.read(f"rbd_id.{name}", _LONGEST_ID)
    except rados.ObjectNotFound:
        return None
    return decoding.text(content) if content else ""


def named_at(ioctx: rados.Ioctx, name: str) -> float | None:
    """When the name object was written, in seconds since 1970."""
    try:
        _size, changed = ioctx.stat(f"rbd_id.{name}")
    except rados.ObjectNotFound:
        return None
    return time.mktime(changed)


def _looked_up(ioctx: rados.Ioctx, method: str, key: str) -> str | None:
    try:
        _, reply = ioctx.execute(DIRECTORY, "rbd", method, text(key))
    except rados.ObjectNotFound:
        return None
    return decoding.text(reply)


def _mark(data: bytes) -> TrashMark:
    """:raises Unreadable:"""
    # Version, oldest compatible version, length (6 bytes); source; name; two times (seconds and
    # nanoseconds, 4 bytes each), of the deletion and until when it is kept; and, since version 2,
    # the state.
    version, _compatible, _length, source = decoding.numbers("<BBIB", data)
    name = decoding.text_bytes(data, 7)
    at = 7 + 4 + len(name) + 8
    seconds, nanoseconds = decoding.numbers("<II", data, at)
    (state,) = decoding.numbers("<B", data, at + 8) if version >= 2 else (_NORMAL,)
    return TrashMark(
        source, state, name.decode(errors="surrogateescape"), seconds + nanoseconds / 1e9
    )


def text(text: str) -> bytes:
    data = text.encode(errors="surrogateescape")
    return struct.pack("<I", len(data)) + data
