# SPDX-License-Identifier: Apache-2.0
"""What is asked for when a volume or a disk is to become an image, and what comes of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from rbdstore import exceptions, spec, transfer
from rbdstore.driver import Progress

Method = Literal["auto", "cow", "copy"]
FlattenMode = Literal["inline", "task"]


@runtime_checkable
class Images(Protocol):
    """What this needs of ``store.images``."""

    def uri(self, image_id: str) -> str: ...

    def place(self, image_id: str) -> spec.ImageSpec: ...

    def exists(self, uri: str) -> bool: ...

    def add(
        self,
        image_id: str,
        data: transfer.Body,
        size: int | None = None,
        *,
        hashing_algo: str = "sha512",
        progress: Progress | None = None,
    ) -> Any: ...


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedImage:
    """The image that a volume or a disk has become.

    :ivar uri: ``rbd://<fsid>/<pool>/<image id>/snap``
    :ivar size: in bytes
    :ivar method: ``cow``, or ``copy``: the data passed through this process
    :ivar reason: why it could not be ``cow``; empty where it was, or was not tried
    :ivar checksum: the MD5 of the data in hex; None where nobody read the data
    :ivar os_hash_algo: the name of the other hash
    :ivar os_hash_value: its value in hex
    """

    uri: str
    size: int
    method: Literal["cow", "copy"]
    reason: str = ""
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class How:
    """How an image is to be made, as it was asked for."""

    method: Method = "auto"
    flatten: FlattenMode = "inline"
    hashing_algo: str | None = None
    progress: Progress | None = None

    def check(self) -> None:
        """:raises InvalidInput: one of them is none of those there are"""
        for argument, value, known in (
            ("method", self.method, get_args(Method)),
            ("flatten", self.flatten, get_args(FlattenMode)),
        ):
            if value not in known:
                raise exceptions.InvalidInput(
                    f"{argument} is one of {', '.join(known)}, not {exceptions.shown(value)}"
                )
        if self.hashing_algo is not None:
            transfer.check_algorithm(self.hashing_algo)
        transfer.check_progress(self.progress)


def check_images(images: object) -> None:
    """:raises InvalidInput: these are not the images of a store"""
    if isinstance(images, type) or not isinstance(images, Images):
        raise exceptions.InvalidInput(
            f"images is the images of a store, store.images, not {exceptions.shown(images)}"
        )
