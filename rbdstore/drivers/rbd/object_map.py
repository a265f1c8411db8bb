# SPDX-License-Identifier: Apache-2.0
"""Object maps that librbd would leave wrong: after a flatten, and after a rollback.

They are switched off while an image is flattened, so that no data is lost.

librbd's flatten takes an object for copied when the object map says that it exists, and librbd
writes the map before the object. So where a client was killed while it wrote to a clone, or while
it flattened it, the next flatten passes over some objects that are not there, lets go of the
parent, and their data is lost. (Ceph issue 68998; reproduced on 16.2.15, where 18 of 25 flattens
that were killed and repeated lost data. Rebuilding the map does not help: what is marked as
existing is never taken back.) So the map is switched off for the time of a flatten, which then
looks at the objects themselves.

A rollback gives an image the map of the snap, in which what had not changed since the snap before
counts as unchanged. A fast diff since a later snap then passes over all that the rollback changed.
(Seen on 16.2.15.) So the map is marked as one that fast diffs are not to be made from, until it
has been rebuilt from the objects.
"""

from __future__ import annotations

import contextlib
import re
import struct
from typing import Final

import rados
import rbd

from rbdstore.drivers.rbd import options

# Metadata of the image: its id, and the features to be switched on again. A clone of the image
# is given it too, but has another id.
MARK: Final = "rbdstore.object-map"

_MAPS: Final = options.FEATURES["object-map"] | options.FEATURES["fast-diff"]

# Arguments of the class rbd's method set_flags: the flags, and which of them are meant.
_FLAGS: Final = struct.Struct("<QQ")


def of_head(image_id: str) -> str:
    """The object with the map of an image, as it is now."""
    return f"rbd_object_map.{image_id}"


def of_snap(image_id: str, snap_id: int) -> str:
    """The object with the map of a snap, which every snap has where the feature is on."""
    return f"rbd_object_map.{image_id}.{snap_id:016x}"


def switch_off(handle: rbd.Image) -> None:
    """Switch the object map off, leaving a note of it."""
    on = handle.features() & _MAPS
    if on:
        handle.metadata_set(MARK, f"{handle.id()} {on}")
        handle.update_features(on, False)


def features_off(mark: str, image_id: str) -> int | None:
    """The features that were switched off; None: the mark is another image's, or nobody's."""
    found = re.fullmatch(r"(\S+) ([0-9]{1,19})", mark)
    return int(found[2]) & _MAPS if found and found[1] == image_id else None


def switch_on(ioctx: rados.Ioctx, handle: rbd.Image) -> None:
    """Switch on again what was switched off, be it by one who was killed, and make it right."""
    try:
        noted = features_off(handle.metadata_get(MARK), handle.id())
    except KeyError:
        return
    if noted is not None:
        off = noted & ~handle.features()
        if off:
            handle.update_features(off, True)
        rebuild(ioctx, handle)
    handle.metadata_remove(MARK)


def rebuild(ioctx: rados.Ioctx, handle: rbd.Image) -> None:
    """Make the object maps of an image and its snaps right: switched on, they are not yet."""
    handle.rebuild_object_map()
    for snap in handle.list_snaps():
        # It may have been removed since it was listed.
        with (
            contextlib.suppress(rbd.ImageNotFound),
            rbd.Image(ioctx, image_id=handle.id(), snapshot=snap["name"]) as earlier,
        ):
            earlier.rebuild_object_map()


def rollback(ioctx: rados.Ioctx, handle: rbd.Image, snap: str) -> None:
    """Roll an image back, so that fast diffs find what that changed.

    Killed, it leaves a map from which there are none; to repeat it makes that right.
    """
    if not handle.features() & options.FEATURES["fast-diff"]:
        handle.rollback_to_snap(snap)
        return
    handle.snap_get_id(snap)
    flag = rbd.RBD_FLAG_FAST_DIFF_INVALID
    ioctx.execute(f"rbd_header.{handle.id()}", "rbd", "set_flags", _FLAGS.pack(flag, flag))
    handle.rollback_to_snap(snap)
    handle.rebuild_object_map()
