# SPDX-License-Identifier: Apache-2.0
"""What the body of an image is: a disk's own bytes, or a container with a disk in it.

Nobody is believed who says so. A body is looked at by oslo.utils' inspectors, which open nothing
and need only what goes by, before any tool may have it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final, Literal

from oslo_utils import units
from oslo_utils.imageutils import format_inspector

from rbdstore import exceptions

CONTAINERS: Final[Mapping[str, str]] = {
    "qcow2": "qcow2",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vmdk": "vmdk",
}
"""The formats that have to be converted, as Glance names them, with QEMU's names."""

PLAIN: Final = ("raw", "iso")
"""The formats that are a disk's own bytes."""

# What such a disk may begin with: a partition table, or the header of an encrypted volume.
_INSIDE: Final[Mapping[str, set[str]]] = {"raw": {"gpt", "luks"}, "iso": {"gpt"}}

DISK_FORMATS: Final = (*PLAIN, *CONTAINERS)

BEGINNING: Final = 64 * units.Ki
"""How many bytes :func:`check_beginning` wants: a CD's descriptor comes after 32 KiB."""

# A vhdx image's size is found only if it comes in a later piece than what says where it is.
_PIECE: Final = 64 * units.Ki

_QCOW2_ENCRYPTION: Final = slice(32, 36)

# Wherever in its descriptor QEMU finds that, comments included, it opens what is named there, be
# it on another host; the inspector lets it pass.
_VMDK_PARENT: Final = b"parentfilenamehint"

_VHD_TYPE: Final = slice(60, 64)
_VHD_DIFFERENCING: Final = 4

# Where the data begin, how large a block of them is, and how many blocks there are.
_VDI_DATA: Final = slice(0x158, 0x15C)
_VDI_BLOCK_SIZE: Final = slice(0x178, 0x17C)
_VDI_BLOCKS: Final = slice(0x184, 0x188)


def check_disk_format(name: object) -> str:
    """:raises InvalidInput: there is no such format here"""
    if not isinstance(name, str) or name not in DISK_FORMATS:
        raise exceptions.InvalidInput(
            f"disk_format is one of {', '.join(DISK_FORMATS)}, not {exceptions.shown(name)}"
        )
    return str.__str__(name)


def check_beginning(begin: bytes, disk_format: str) -> None:
    """See that a body which begins like that is of the format that was declared, and of no other.

    :raises FormatMismatch: it is not
    :raises UnsafeImage: it is a vmdk image that has a parent
    """
    # Filled up, too, so that what was cut off is seen to be of its format all the same; not only,
    # for a vmdk image may be nothing but text.
    found = (_formats(begin) | _formats(begin.ljust(BEGINNING, b"\0"))) or {"raw"}
    allowed = {disk_format} | _INSIDE.get(disk_format, set())
    if not found <= allowed or (disk_format not in found and disk_format != "raw"):
        raise exceptions.FormatMismatch(
            f"the image was declared as {disk_format}, but looks like "
            + " and ".join(sorted(found))
        )
    if disk_format == "vmdk" and _VMDK_PARENT in begin.lower():
        raise exceptions.UnsafeImage("the vmdk image is refused: it has a parent")


def _formats(begin: bytes) -> set[str]:
    """What it looks like, other than raw."""
    wrapper = format_inspector.InspectWrapper(io.BytesIO(begin))
    wrapper.read(BEGINNING)
    wrapper.close()
    return {str(inspector) for inspector in wrapper.formats or ()} - {"raw"}


class Inspection:
    """A look at a container, from its beginning on, while it goes by.

    Refuses it as soon as enough of it was seen.
    """

    def __init__(self, disk_format: str, size: int) -> None:
        """:param size: how large the disk in it may be, in bytes"""
        self._format = disk_format
        self._size = size
        # Each inspector has a name in common with Glance's format.
        kind: Any = format_inspector.get_inspector(disk_format)
        self._inspector: Any = kind()
        self._seen = False
        self._length = 0

    def see(self, part: bytes | bytearray | memoryview) -> None:
        """Look at what comes next.

        :raises InvalidSize, UnsafeImage, BrokenImage:
        """
        self._length += len(part)
        with memoryview(part) as view:
            for start in range(0, len(view), _PIECE):
                if self._seen:
                    return
                self._see(bytes(view[start : start + _PIECE]))

    def _see(self, piece: bytes) -> None:
        try:
            self._inspector.eat_chunk(piece)
        except Exception as error:
            # Whatever a damaged header makes of the inspector.
            raise self._broken(error) from error
        # What is to be looked at next, it may know later than that all so far is complete.
        if self._check_size() and self._inspector.complete:
            self._check_safe()
            self._seen = True

    def end(self) -> None:
        """See that the body had all that must be looked at.

        :raises InvalidSize, UnsafeImage, BrokenImage:
        """
        if not self._seen:
            self._inspector.finish()
            if not self._inspector.complete:
                raise self._broken("it ends too early")
            self._check_safe()
            if not self._check_size():
                raise self._broken("it does not say how large its disk is")
        if self._format == "vdi" and self._length < self._vdi_length():
            # qemu-img does not look.
            raise self._broken("it ends too early")

    def _check_size(self) -> int:
        try:
            size = int(self._inspector.virtual_size)
        except Exception as error:
            raise self._broken(error) from error
        if size > self._size:
            raise exceptions.InvalidSize(
                f"{self._size} bytes is smaller than the {size} bytes of the disk in the image"
            )
        return size

    def _check_safe(self) -> None:
        try:
            self._inspector.safety_check()
        except format_inspector.SafetyCheckFailed as error:
            reasons = "; ".join(str(failure) for failure in error.failures.values())
            raise exceptions.UnsafeImage(
                f"the {self._format} image is refused: {reasons}"
            ) from error
        except format_inspector.ImageFormatError as error:
            raise self._broken(error) from error
        if self._format == "vhd" and self._field(_VHD_TYPE, "big") == _VHD_DIFFERENCING:
            raise exceptions.UnsafeImage("the vhd image is refused: it has a parent")
        if self._format == "qcow2" and self._field(_QCOW2_ENCRYPTION, "big"):
            raise exceptions.UnsafeImage("the qcow2 image is refused: it is encrypted")

    def _vdi_length(self) -> int:
        block_size, blocks = self._field(_VDI_BLOCK_SIZE), self._field(_VDI_BLOCKS)
        return self._field(_VDI_DATA) + block_size * blocks

    def _field(self, where: slice, order: Literal["little", "big"] = "little") -> int:
        return int.from_bytes(self._inspector.region("header").data[where], order)

    def _broken(self, why: object) -> exceptions.BrokenImage:
        return exceptions.BrokenImage(f"the {self._format} image cannot be read: {why}")
