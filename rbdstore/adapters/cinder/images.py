# SPDX-License-Identifier: Apache-2.0
"""Volumes from Glance's images, and images from volumes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from cinder.image import image_utils
from cinder.volume import volume_utils
from oslo_log import log

from rbdstore import exceptions
from rbdstore.adapters.cinder import errors, native
from rbdstore.adapters.cinder.base import in_bytes
from rbdstore.adapters.cinder.volumes import Volumes, refuse_encryption
from rbdstore.transfer.reader import Reader
from rbdstore.volumes import VolumeStore

LOG = log.getLogger(__name__)

_COMPRESSED: Final = "compressed"


class Images(Volumes):
    """What passes between Glance and the pool."""

    # To volumes

    def clone_image(
        self,
        context: Any,
        volume: Any,
        image_location: tuple[str | None, list[dict[str, Any]] | None] | None,
        image_meta: dict[str, Any],
        image_service: Any,
    ) -> tuple[dict[str, Any], bool]:
        """Make a volume copy-on-write; ``({}, False)``: it cannot be, and is to be copied."""
        if image_meta.get("container_format") == _COMPRESSED:
            return {}, False
        self._check_type(volume)
        disk_format = image_meta["disk_format"]
        with errors.translated():
            try:
                self._create_from_image(volume, _urls(image_location), disk_format=disk_format)
            except (exceptions.NotCloneable, exceptions.InvalidInput) as error:
                LOG.info("image %s is copied to %s: %s", image_meta["id"], volume.name, error)
                return {}, False
        with self._deleted_on_error(volume):
            return self._apply_type(volume), True

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Fill a volume that Cinder has made; one with snapshots is refused."""
        image = image_service.show(context, image_id)
        with self._fetched(context, volume, image_service, image) as (path, disk_format):
            # A new one, for which holes of the image need not be written.
            self._call(VolumeStore.delete, volume.name)

            def body() -> BinaryIO:
                return open(path, "rb")

            with errors.translated():
                self._create_from_image(volume, [], disk_format=disk_format, open_image=body)
        self._apply_type(volume)

    def copy_image_to_encrypted_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        refuse_encryption(volume, "made from images")

    @contextlib.contextmanager
    def _fetched(
        self, context: Any, volume: Any, image_service: Any, image: dict[str, Any]
    ) -> Iterator[tuple[str, str]]:
        """A file with the image, as a rule the one in which Cinder has looked at it before."""
        image_id = image["id"]
        if image.get("container_format") == _COMPRESSED:
            with image_utils.temporary_file() as path:
                block_size = self.configuration.volume_dd_blocksize
                image_utils.fetch_to_raw(
                    context, image_service, image_id, path, block_size, size=volume.size
                )
                yield path, "raw"
            return
        fetched = image_utils.TemporaryImages.for_image_service(image_service)
        if path := fetched.get(context, image_id):
            yield path, image["disk_format"]
            return
        with image_utils.TemporaryImages.fetch(image_service, context, image_id) as path:
            yield path, image["disk_format"]

    def _create_from_image(self, volume: Any, locations: list[str], **how: Any) -> None:
        size = in_bytes(volume.size)
        native.call(
            lambda: self._store.volumes.create_from_image(volume.name, locations, size, **how)
        )

    # From volumes

    def copy_volume_to_image(
        self, context: Any, volume: Any, image_service: Any, image_meta: dict[str, Any]
    ) -> None:
        """Upload a volume as it is now, in use or not."""
        is_plain = image_meta["disk_format"] == "raw"
        with self._reading(volume) as data:
            if is_plain and image_meta.get("container_format") != _COMPRESSED:
                # Not by way of volume_utils.upload_volume(), in which each read of 64 KiB is a
                # call into another thread.
                image_service.update(
                    context, image_meta["id"], {}, io.BufferedReader(_File(data)), **_where(volume)
                )
                return
            with image_utils.temporary_file() as path:
                native.call(_write, data, path)
                volume_utils.upload_volume(context, image_service, image_meta, path, volume)

    @contextlib.contextmanager
    def _reading(self, volume: Any) -> Iterator[Reader]:
        reading = self._call(VolumeStore.reading, volume.name)
        with errors.translated(), contextlib.ExitStack() as stack:
            data = native.call(reading.__enter__)
            stack.push(lambda *error: native.call(reading.__exit__, *error))
            yield data


class _File(io.RawIOBase):
    """The data as a file, which is read once from its beginning to its end."""

    def __init__(self, data: Reader) -> None:
        self._data = data
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(native.call(next, self._data, b""))
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length


def _where(volume: Any) -> dict[str, str | None]:
    """Into which of Glance's stores a volume's image belongs."""
    from_image = volume.glance_metadata or {}
    return {
        "store_id": volume.volume_type.extra_specs.get("image_service:store_id"),
        "base_image_ref": from_image.get("image_id"),
    }


def _write(data: Reader, path: str) -> None:
    """Write the data to a file, but for what is all zeros."""
    with open(path, "wb") as file:
        for piece in data:
            if piece.count(0) == len(piece):
                file.seek(len(piece), io.SEEK_CUR)
            else:
                file.write(piece)
        file.truncate(data.size)


def _urls(image_location: tuple[str | None, list[dict[str, Any]] | None] | None) -> list[str]:
    """Where Glance says that an image is: all of its locations, or, if it tells but one, that."""
    direct_url, locations = image_location or (None, None)
    urls = [location["url"] for location in locations] if locations else [direct_url]
    return [url for url in urls if url]
