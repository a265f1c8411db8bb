# SPDX-License-Identifier: Apache-2.0
"""Renaming an image without opening it.

librbd opens an image for it, and its parents, and takes a watch: 30 to 45 RADOS operations, of
which three change anything. These are done here, in librbd's order, so that what a kill leaves
between them is known to :mod:`~rbdstore.drivers.rbd.remains`: the new name's object is made; the
directory has the image under the new name instead of the old one, if it has it under that and the
new one is free; the old name's object is removed.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from typing import Final

import rados

from rbdstore.drivers.rbd import decoding, full, remains
from rbdstore.drivers.rbd.options import FEATURES

# With these there is more to do: a journal is written, or another cluster is told. What is not
# known here is left to librbd, too.
_MORE: Final = ("journaling", "migrating", "non-primary", "dirty-cache")
_PLAIN: Final = sum(bit for name, bit in FEATURES.items() if name not in _MORE)
_HEAD: Final = (1 << 64) - 2


def rename(ioctx: rados.Ioctx, name: str, new_name: str) -> bool:
    """Give a whole image a free name.

    :returns: False when it is not as simple as that, and nothing was done
    """
    image_id = remains.id_object(ioctx, name)
    if not image_id or not _is_plain(ioctx, image_id):
        return False
    with rados.WriteOpCtx() as op:
        op.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        op.write_full(remains.text(image_id))
        try:
            ioctx.operate_write_op(op, f"rbd_id.{new_name}", flags=full.PAST_THE_LIMIT)
        except rados.ObjectExists:
            return False
    arguments = b"".join(map(remains.text, (name, new_name, image_id)))
    try:
        ioctx.execute(remains.DIRECTORY, "rbd", "dir_rename_image", arguments)
    except rados.Error as exc:
        if getattr(exc, "errno", None) not in (errno.ENOENT, errno.ESTALE, errno.EEXIST):
            raise
        _unname(ioctx, new_name, image_id)
        return False
    _unname(ioctx, name, image_id)
    return True


def _is_plain(ioctx: rados.Ioctx, image_id: str) -> bool:
    try:
        _, reply = ioctx.execute(
            f"rbd_header.{image_id}", "rbd", "get_features", struct.pack("<Q", _HEAD)
        )
    except rados.ObjectNotFound:
        return False
    (features,) = decoding.numbers("<Q", reply)
    return not features & ~_PLAIN


def _unname(ioctx: rados.Ioctx, name: str, image_id: str) -> None:
    """Remove a name's object, unless it has been another image's since."""
    with rados.WriteOpCtx() as op, contextlib.suppress(rados.ObjectNotFound, rados.ExtendMismatch):
        op.cmpext(remains.text(image_id))
        op.remove()
        ioctx.operate_write_op(op, f"rbd_id.{name}")
