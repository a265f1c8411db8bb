# SPDX-License-Identifier: Apache-2.0
"""Images: Glance's work. Whole disks, written once, read and cloned many times."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from oslo_utils import units

from rbdstore import exceptions, leases, lineage, sizes, spec, transfer
from rbdstore.clones import flattening, releasing
from rbdstore.driver import Image, Pool, Progress, find_snap
from rbdstore.names import claims, drafts, removal
from rbdstore.settings import Settings
from rbdstore.transfer import reader

CHUNK_SIZE = 8 * units.Mi

InUsePolicy = Literal["refuse", "flatten", "defer"]


@dataclasses.dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the store.

    :ivar uri: ``rbd://<fsid>/<pool>/<image id>/snap``
    :ivar size: in bytes
    :ivar checksum: the MD5 of the data in hex; None where it was not computed just now
    :ivar os_hash_algo: the name of the other hash
    :ivar os_hash_value: its value in hex
    """

    uri: str
    size: int
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None


class ImageStore:
    """The images of one pool."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._flattener = flattening.Flattener(settings)

    def add(
        self,
        image_id: str,
        data: transfer.Body,
        size: int | None = None,
        *,
        hashing_algo: str = "sha512",
        progress: Progress | None = None,
    ) -> StoredImage:
        """Store a new image.

        :param image_id: its name in the pool
        :param data: a binary file, bytes, or an iterable of bytes
        :param size: how many bytes ``data`` has; None: unknown; 0: the image is empty
        :param hashing_algo: any hash of hashlib's; MD5 is computed as well
        :param progress: called with the bytes done and in all (None known: those done)
        :raises Duplicate: there is such an image, or somebody is uploading it right now
        :raises InvalidBody: ``data`` has another size, or gives something other than bytes
        :raises InvalidName, InvalidSize:
        :raises InvalidInput: an unknown hash, or a ``progress`` that cannot be called
        :raises StorageFull: the pool is full

        Nothing is left of an image that could not be stored whole. An error that ``data`` raises
        comes out as it is.
        """
        image_id = spec.check_new_name(image_id)
        size = sizes.check_size_or_none(size)
        hashing_algo = transfer.check_algorithm(hashing_algo)
        transfer.check_progress(progress)
        transfer.check_body(data)
        # Before the work: nothing may fail once the claim that would let it be repeated is gone.
        uri = self._uri(image_id)
        with contextlib.ExitStack() as stack:
            try:
                draft = stack.enter_context(self._draft(image_id, ["add", size, hashing_algo]))
            except exceptions.InUse as error:
                raise exceptions.Duplicate(str(error)) from error
            if draft.adopted:
                # Stored whole by somebody who could not say so any more. The same data again is
                # the same image; other data is not.
                digests = transfer.measure(
                    data,
                    size,
                    hashing_algo,
                    window=self._settings.transfer_window,
                    threads=self._settings.transfer_threads,
                )
                if dataclasses.asdict(digests) != draft.outcome:
                    raise exceptions.Duplicate(
                        "it was stored with other data", spec=self._pool.spec(image_id)
                    )
            else:
                draft.check_free()
                order = self._settings.object_order(CHUNK_SIZE)
                with draft.create(size or 0, order=order) as image:
                    image.lock()
                    digests = transfer.fill(
                        image,
                        data,
                        size,
                        hashing_algo,
                        progress,
                        window=self._settings.transfer_window,
                        threads=self._settings.transfer_threads,
                    )
                    draft.note(outcome=dataclasses.asdict(digests))
                    image.create_snap(spec.IMAGE_SNAP)
                    image.protect_snap(spec.IMAGE_SNAP)
                draft.publish()
        return StoredImage(
            uri,
            digests.size,
            digests.checksum,
            hashing_algo,
            digests.os_hash_value,
        )

    def get(self, uri: str, offset: int = 0, length: int | None = None) -> reader.Reader:
        """Read an image, or a range of it.

        :param uri: its location, in this backend's cluster and pool
        :param offset: where to begin, in bytes
        :param length: how many bytes; None: all that follow; a range may end beyond the image
        :return: an iterator of bytes, of ``.size`` bytes in all
        :raises ImageNotFound, SnapshotNotFound, InvalidLocation:
        :raises InvalidSize: ``offset`` is beyond the image's end, too
        :raises Vanished: at the end, when the image was deleted while it was read: librbd gives
            zeros for a deleted image, so nothing that was read can be trusted
        """
        offset = sizes.check_size(offset)
        length = sizes.check_size_or_none(length)
        image, snap_id = self._open(uri)
        try:
            whole = image.size()
            if offset > whole:
                raise exceptions.InvalidSize(
                    f"offset {offset} is beyond its end at {whole}", spec=image.spec
                )
            size = min(whole - offset, whole if length is None else length)
            return reader.Reader(
                image, snap_id, offset, size, window=self._settings.transfer_window
            )
        except BaseException:
            image.close()
            raise

    def uri(self, image_id: str) -> str:
        """Where an image of that id is, or would be: ``rbd://<fsid>/<pool>/<image id>/snap``.

        :raises InvalidName:
        """
        return self._uri(spec.check_new_name(image_id))

    def place(self, image_id: str) -> spec.ImageSpec:
        """The pool that an image of that id is in, or would be, and its name there.

        :raises InvalidName:
        """
        return self._pool.spec(spec.check_new_name(image_id))

    def get_size(self, uri: str) -> int:
        """How many bytes an image has.

        :raises ImageNotFound, SnapshotNotFound, InvalidLocation:
        """
        image, _snap_id = self._open(uri)
        with image:
            return image.size()

    def exists(self, uri: str) -> bool:
        """Whether there is such an image, whole.

        :raises InvalidLocation:
        """
        try:
            self._open(uri)[0].close()
        except exceptions.NotFound:
            return False
        return True

    def list(self) -> Sequence[StoredImage]:
        """All images of the pool, sorted by name. Their checksums are not known.

        What has no snapshot ``snap`` is no image: it is being made, or it is a volume.
        """
        found = []
        for name in sorted(self._pool.list_images()):
            if spec.is_unfinished_or_deleted(name):
                continue
            with contextlib.suppress(exceptions.NotFound), self._pool.open(name) as image:
                snap = find_snap(image, spec.IMAGE_SNAP)
                found.append(StoredImage(self._uri(name), snap.size))
        return found

    def delete(
        self,
        uri: str,
        *,
        in_use: InUsePolicy = "refuse",
        progress_of: releasing.ProgressOf | None = None,
    ) -> None:
        """Delete an image.

        :param in_use: what to do when volumes or disks were cloned from it: ``refuse``;
            ``flatten`` them first, which makes each a full copy; or ``defer``: the image goes to
            the trash now, and is removed when the last clone goes
        :param progress_of: called with each clone that is about to be flattened, by any thread;
            returns a ``progress`` to be told of that one, or None
        :raises ImageNotFound, InvalidLocation:
        :raises InvalidInput: ``in_use`` is none of these, or ``progress_of`` cannot be called
        :raises InUse: clones, snapshots or writers hold it, and the error names them
        :raises PermissionDenied: there may be clones in pools that this user cannot look into
        """
        name = self._deletable(uri, in_use)
        releasing.check_progress_of(progress_of)
        with claims.Claim(
            self._pool, name, ["delete"], self._settings.lease_seconds, effect="remove"
        ) as claim:
            try:
                image = self._pool.open(name)
            except exceptions.ImageNotFound:
                if not removal.clear_debris(claim) and not claim.adopted:
                    raise
                return
            with image:
                removal.check_no_snaps(image, _is_ours)
                clones = lineage.clones(image)
                if clones and in_use == "flatten":
                    clones = releasing.flatten_clones(
                        image,
                        clones,
                        self._flattener,
                        self._settings.concurrent_flatten_operations,
                        progress_of,
                    )
                if clones and in_use != "defer":
                    raise exceptions.InUse(spec=image.spec, children=_specs(clones))
                removal.check_unused(image, self._settings.lease_seconds)
                removal.take_name_away(claim, image, clones)

    def check_delete(
        self, uri: str, *, in_use: InUsePolicy = "refuse"
    ) -> Sequence[spec.ImageSpec]:
        """See that an image could be deleted now, by one who may; nothing is changed.

        :return: its clones, which :meth:`delete` would flatten, or for which its data would stay
        :raises: what :meth:`delete` does
        """
        with self._pool.open(self._deletable(uri, in_use)) as image:
            removal.check_no_snaps(image, _is_ours)
            clones = _specs(lineage.clones(image))
            if clones and in_use == "refuse":
                raise exceptions.InUse(spec=image.spec, children=clones)
            removal.check_unwatched(image, 0)
        return clones

    def _deletable(self, uri: str, in_use: InUsePolicy) -> str:
        """The name of an image that somebody wants to delete."""
        if in_use not in get_args(InUsePolicy):
            raise exceptions.InvalidInput(
                f"in_use is refuse, flatten or defer, not {exceptions.shown(in_use)}"
            )
        location = self._locate(uri)
        if location.snap not in (None, spec.IMAGE_SNAP):
            raise exceptions.InvalidLocation(
                f"{uri!r} names the snapshot {location.snap}; an image's is {spec.IMAGE_SNAP}"
            )
        return location.image

    def _draft(self, image_id: str, request: Iterable[object]) -> drafts.Draft:
        return drafts.Draft(
            self._pool,
            image_id,
            request,
            self._settings.lease_seconds,
            effect="make",
            wait=leases.LETTING_GO,
        )

    def _uri(self, image_id: str) -> str:
        pool = self._pool
        return spec.Location(image_id, pool.cluster.fsid, pool.name, spec.IMAGE_SNAP).uri

    def _locate(self, uri: str) -> spec.Location:
        """:raises InvalidLocation: it is not one of this cluster and pool"""
        location = spec.Location.parse(uri)
        if location.fsid not in (None, self._pool.cluster.fsid):
            raise exceptions.InvalidLocation(
                f"{uri!r} is in cluster {location.fsid}, not in {self._pool.cluster.fsid}"
            )
        if location.pool not in (None, self._pool.name):
            raise exceptions.InvalidLocation(
                f"{uri!r} is in pool {location.pool}, not in {self._pool.name}"
            )
        return location

    def _open(self, uri: str) -> tuple[Image, int | None]:
        """Open an image read-only at its location's snapshot, or as it is for an old location."""
        location = self._locate(uri)
        image = self._pool.open(location.image)
        try:
            if location.snap is None:
                return image, None
            snap = find_snap(image, location.snap)
            image.set_snap(snap.id)
            return image, snap.id
        except BaseException:
            image.close()
            raise


def _specs(clones: lineage.Clones) -> list[spec.ImageSpec]:
    return [child.spec for group in clones.values() for child in group]


def _is_ours(snap: str) -> bool:
    return snap == spec.IMAGE_SNAP or spec.is_reserved_snap(snap)
