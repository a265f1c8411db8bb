# SPDX-License-Identifier: Apache-2.0
"""What is in a pool that neither the directory of images nor the trash leads to.

All objects of the pool are listed once, of which no more is kept than a few names for each image.
Directory and trash are read after: an image is in one of them before it has any other object, and
until it has none.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

import rados
import rbd

from rbdstore import parallel
from rbdstore.drivers.rbd import objects, remains
from rbdstore.shapes import Inventory, Stray

_ID_PREFIX: Final = "rbd_id."
# An image with a data pool has the number of its own pool in the names of its data, and these in
# another pool: there they match nothing.
_OF_IMAGE: Final = re.compile(
    r"rbd_(?:header\.([0-9a-f]+)|object_map\.([0-9a-f]+)(?:\.[0-9a-f]{16})?|"
    r"data\.([0-9a-f]+)\.[0-9a-f]{16})"
)


@dataclasses.dataclass(slots=True)
class _Seen:
    """Objects that belong to one image."""

    others: list[str] = dataclasses.field(default_factory=list)
    data: int = 0
    sample: str = ""


def take(ioctx: rados.Ioctx, prefix: str) -> Inventory:
    """See :meth:`rbdstore.driver.Pool.inventory`."""
    small, names = [], []
    images: dict[str, _Seen] = {}
    for listed in ioctx.list_objects():
        key = listed.key
        if key.startswith(prefix):
            small.append(key)
        elif key.startswith(_ID_PREFIX):
            names.append(key.removeprefix(_ID_PREFIX))
        elif found := _OF_IMAGE.fullmatch(key):
            header, object_map, data = found.groups()
            seen = images.setdefault(header or object_map or data, _Seen())
            if data:
                seen.data += 1
                seen.sample = key
            else:
                seen.others.append(key)
    directory = {entry["name"]: entry["id"] for entry in rbd.RBD().list2(ioctx)}
    known = {*directory.values(), *remains.trash_ids(ioctx)}
    unknown = sorted(images.keys() - known)
    strays = parallel.each(lambda image_id: _stray(ioctx, image_id, images[image_id]), unknown)
    return Inventory(
        tuple(sorted(small)),
        tuple(sorted(set(names) - directory.keys())),
        tuple(stray for stray in strays if stray is not None),
    )


def clear(ioctx: rados.Ioctx, stray: Stray) -> bool:
    """See :meth:`rbdstore.driver.Pool.clear_stray`."""
    if stray.data_objects or not _is_empty(ioctx, stray.image_id):
        return False
    # What describes nothing goes last: were this cut off, there would be something to find.
    for key in sorted(stray.objects, key=lambda key: key == _header(stray.image_id)):
        objects.remove(ioctx, key)
    return True


def _stray(ioctx: rados.Ioctx, image_id: str, seen: _Seen) -> Stray | None:
    """None: it was removed meanwhile, or is on its way."""
    if remains.is_known(ioctx, image_id):
        return None
    there = tuple(sorted(key for key in seen.others if objects.exists(ioctx, key)))
    data = seen.data if seen.data and objects.exists(ioctx, seen.sample) else 0
    if not there and not data:
        return None
    return Stray(image_id, there, data, not data and _is_empty(ioctx, image_id))


def _is_empty(ioctx: rados.Ioctx, image_id: str) -> bool:
    """Whether the header says nothing, and nothing leads to the image.

    A lock or a watch makes a header anew that a removal was just done with.
    """
    if remains.is_known(ioctx, image_id):
        return False
    header = _header(image_id)
    return not objects.get_keys(ioctx, header) and not objects.read(ioctx, header)


def _header(image_id: str) -> str:
    return f"rbd_header.{image_id}"
