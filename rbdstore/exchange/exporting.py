# SPDX-License-Identifier: Apache-2.0
"""A volume or a disk becomes an image: as a clone that is flattened in the cluster, or as a copy.

A snapshot, ``rbdstore.export.<random>.<image id>``, is cloned into the pool of the images, by the
volume's user, and flattened: that is librbd's work, and nothing is read or written here. Where
it cannot work (another cluster, no right to write in that pool) what was begun is taken back, and
the snapshot's data is uploaded by the images' own user.

Until the image has let go of it, the snapshot stays. With a flatten in the background it outlives
the call: a thread of the store removes it when the flatten has ended or, if that is no more by
then, whoever next exports or deletes the volume. So do these with a snapshot whose maker died
before the image was whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from oslo_log import log

from rbdstore import exceptions, leases, lineage, reclaim, records, spec, transfer
from rbdstore.clones.cloning import Cloner
from rbdstore.driver import Child, Image, Parent, Pool, Snap, find_snap
from rbdstore.exchange import afterwards
from rbdstore.exchange.exports import ExportedImage, How, Images
from rbdstore.names import claims, drafts
from rbdstore.settings import Settings
from rbdstore.transfer.hashing import Digests
from rbdstore.transfer.reader import Reader

LOG = log.getLogger(__name__)

# A copy would fail in the same way.
_FINAL: Final = (
    exceptions.Duplicate,
    exceptions.InvalidInput,
    exceptions.StorageFull,
    exceptions.NotFound,
)


class Exporter:
    """Makes images of what is in one pool."""

    def __init__(self, pool: Pool, settings: Settings, cloner: Cloner) -> None:
        self._pool = pool
        self._settings = settings
        self._cloner = cloner
        self._afterwards = afterwards.Afterwards()

    def close(self) -> None:
        """End what goes on in the background."""
        self._afterwards.close()

    def export(self, name: str, images: Images, image_id: str, how: How) -> ExportedImage:
        """Make an image of ``name`` as it is now, in use or not. All arguments are checked.

        :raises Duplicate: there is such an image, or somebody is making it right now
        """
        if how.flatten == "task" and how.method != "copy":
            # To be told before anything is made, where there are no tasks. Who may not ask for
            # one, or gets no answer, has it flattened here.
            with contextlib.suppress(exceptions.ClusterError, exceptions.PermissionDenied):
                self._pool.cluster.task_progress("any")
        # The journal of the snapshots. That of the image is beside the image, for its own user.
        claim = self._claim(image_id)
        with contextlib.ExitStack() as stack:
            _enter(stack, claim)
            image = stack.enter_context(self._pool.open(name))
            self._take_back_earlier(claim, image)
            return self._make(claim, image, images, image_id, how)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Reader]:
        """Read ``name`` as it is now, in use or not, while the block lasts.

        The data is a snapshot's, which goes at the end of the block, or, where this process dies
        in it, with the next export.

        :raises ImageNotFound:
        """
        # As if an image of this id were being made, which nobody else can be at.
        image_id = str(uuid.uuid4())
        with self._claim(image_id) as claim, self._pool.open(name) as image:
            self._take_back_earlier(claim, image)
            snap = self._snapshot(claim, image, image_id)
            with self._read(image.pool.open(image_id=image.id), snap) as data:
                yield data
            claim.take_back_unused()

    def _claim(self, image_id: str, *, wait: float | None = None) -> claims.Claim:
        return claims.Claim(
            self._pool,
            spec.export_lease(image_id),
            ["export"],
            self._settings.lease_seconds,
            effect="none",
            wait=wait,
        )

    def _make(
        self, claim: claims.Claim, image: Image, images: Images, image_id: str, how: How
    ) -> ExportedImage:
        if how.method == "copy":
            return self._copy(claim, image, images, image_id, how)
        try:
            return self._clone(claim, image, images, image_id, how)
        except _FINAL:
            raise
        except exceptions.RbdStoreError as error:
            if isinstance(error, exceptions.ClusterError) and images.exists(images.uri(image_id)):
                # It had its name when that failed. To ask for the same once more adopts it.
                return self._clone(claim, image, images, image_id, how, wait=leases.LETTING_GO)
            if how.method == "cow":
                raise
            reason = str(error)
        LOG.warning("%s cannot become an image without a copy: %s", image.spec, reason)
        try:
            made = self._copy(claim, image, images, image_id, how)
        except exceptions.RbdStoreError as error:
            error.add_note(f"it is copied because a clone failed: {reason}")
            raise
        return dataclasses.replace(made, reason=reason)

    # As a clone

    def _clone(
        self,
        claim: claims.Claim,
        image: Image,
        images: Images,
        image_id: str,
        how: How,
        *,
        wait: float = 0,
    ) -> ExportedImage:
        uri = images.uri(image_id)
        cluster = image.pool.cluster
        if (fsid := spec.Location.parse(uri).fsid) != cluster.fsid:
            raise exceptions.NotCloneable(
                f"the image is to be in cluster {fsid}, and this one is {cluster.fsid}"
            )
        place = images.place(image_id)
        target = cluster.open_pool(place.pool, place.namespace)
        draft = drafts.Draft(
            target,
            image_id,
            ["export", str(image.spec), how.hashing_algo],
            self._settings.lease_seconds,
            effect="make",
            wait=wait,
        )
        with contextlib.ExitStack() as stack:
            _enter(stack, draft)
            if not draft.adopted:
                draft.check_free()
                self._fill(draft, claim, image, how)
                draft.publish()
            if how.flatten == "task":
                self._flatten_later(draft, image_id)
            # While the name is claimed: were this to fail after, the call could not be repeated.
            claim.take_back_unused()
            digests = Digests(**draft.outcome["digests"])
        return _exported(uri, "cow", how.hashing_algo, digests)

    def _fill(self, draft: drafts.Draft, claim: claims.Claim, image: Image, how: How) -> None:
        snap = self._snapshot(claim, image, draft.name)
        draft.clone(image, snap, None)
        with draft.open() as made:
            # Without it, a snapshot of the image would need the volume for ever.
            later = how.flatten == "task" and "deep-flatten" in made.features()
        if not later:
            self._cloner.flatten(draft, draft.draft, progress=how.progress)
        with draft.open() as made:
            made.create_snap(spec.IMAGE_SNAP)
            made.protect_snap(spec.IMAGE_SNAP)
        digests = Digests(snap.size, "", "")
        if how.hashing_algo is not None:
            digests = self._measure(draft, how.hashing_algo)
        draft.note(outcome={"digests": dataclasses.asdict(digests)})

    def _measure(self, draft: drafts.Draft, hashing_algo: str) -> Digests:
        with draft.pool.open(draft.draft) as image:
            snap = find_snap(image, spec.IMAGE_SNAP)
        with self._read(draft.pool.open(draft.draft), snap) as body:
            return transfer.measure(
                body,
                body.size,
                hashing_algo,
                window=self._settings.transfer_window,
                threads=self._settings.transfer_threads,
            )

    def _flatten_later(self, draft: drafts.Draft, image_id: str) -> None:
        """Have the image, which has its name, flattened while it is in use."""
        with draft.pool.open(draft.name) as made:
            parent = made.parent()
            child = Child(draft.pool.name, draft.pool.namespace, made.name, made.id)
        if parent is None:
            return
        cluster = draft.pool.cluster

        def let_go() -> None:
            with self._claim(image_id) as claim:
                claim.note(parents=[parent])
                self._complete(child)
                claim.take_back_unused()

        try:
            task = cluster.flatten_in_background(draft.pool.spec(draft.name))
            self._afterwards.do(cluster, task, let_go)
        except (exceptions.PermissionDenied, exceptions.ClusterError) as error:
            LOG.warning(
                "%s is flattened here and not by the cluster: %s",
                draft.pool.spec(draft.name),
                error,
            )
            self._cloner.flatten(draft, draft.name)

    # As a copy

    def _copy(
        self, claim: claims.Claim, image: Image, images: Images, image_id: str, how: How
    ) -> ExportedImage:
        snap = self._snapshot(claim, image, image_id)
        algorithm = how.hashing_algo or "sha512"
        with self._read(image.pool.open(image_id=image.id), snap) as data:
            body = _and_then(data, claim.take_back_unused)
            stored = images.add(
                image_id, body, snap.size, hashing_algo=algorithm, progress=how.progress
            )
        digests = Digests(stored.size, stored.checksum, stored.os_hash_value)
        return _exported(stored.uri, "copy", algorithm, digests)

    def _read(self, image: Image, snap: Snap) -> Reader:
        """Read a snapshot of ``image``, which is closed with the reader."""
        with contextlib.ExitStack() as failed:
            failed.callback(image.close)
            image.set_snap(snap.id)
            failed.pop_all()
        return Reader(image, snap.id, 0, snap.size, window=self._settings.transfer_window)

    # Snapshots

    def _snapshot(self, claim: claims.Claim, image: Image, image_id: str) -> Snap:
        """Make a snapshot that goes as soon as nothing needs it any more."""
        name = spec.new_export_snap(image_id)
        claim.note(parents=[lineage.link(image, name)])
        with self._pool.open_live(image_id=image.id) as source:
            source.create_snap(name)
            if self._pool.cluster.clone_format == 1:
                source.protect_snap(name)
            return find_snap(source, name)

    def _take_back_earlier(self, claim: claims.Claim, image: Image) -> None:
        """Remove the snapshots of earlier exports whose images have been flattened since.

        Those go, too, that a dead maker left, with what it was making of them.
        """
        for snap in image.snaps():
            if not spec.is_export_snap(snap.name):
                continue
            link = lineage.link(image, snap.name)
            with contextlib.suppress(exceptions.NotFound, exceptions.PermissionDenied):
                if children := image.children(snap.id):
                    self._take_back_drafts(children)
                    continue
                recorded = records.children(image, snap.id)
                if not recorded:
                    self._take_back_abandoned(link, spec.exported_as(snap.name))
                    continue
                for child in recorded:
                    self._complete(child)
                reclaim.unused_snap(self._pool, link, self._settings.lease_seconds, claim.remember)

    def _take_back_abandoned(self, link: Parent, image_id: str) -> None:
        """Remove a snapshot that nothing was cloned from, if who made it is no more."""
        with contextlib.suppress(exceptions.InUse), self._claim(image_id, wait=0) as claim:
            claim.note(parents=[link])
            claim.take_back_unused()

    def _take_back_drafts(self, children: Iterable[Child]) -> None:
        """Remove those that are no images yet, and their snapshot, if who made them is no more."""
        for child in children:
            if spec.is_draft(child.image):
                pool = self._pool.cluster.open_pool(child.pool, child.namespace)
                name, seconds = spec.made_as(child.image), self._settings.lease_seconds
                with (
                    contextlib.suppress(exceptions.InUse),
                    claims.Claim(pool, name, ["export"], seconds, effect="none", wait=0),
                ):
                    """To claim the name is to finish what a dead holder was at."""

    def _complete(self, child: Child) -> None:
        """Do what a flatten in the background leaves to a client; of one that failed, all."""
        pool = self._pool.cluster.open_pool(child.pool, child.namespace)
        with contextlib.suppress(exceptions.ImageNotFound):
            self._cloner.complete_flatten(pool, child.image_id)


def _enter(stack: contextlib.ExitStack, claim: claims.Claim) -> None:
    """:raises Duplicate: somebody is making that image"""
    try:
        stack.enter_context(claim)
    except exceptions.InUse as error:
        raise exceptions.Duplicate(str(error)) from error


def _and_then(data: Iterable[bytes], last: Callable[[], None]) -> Iterator[bytes]:
    """Give the data, and do the last thing there is to do before whoever takes them is done.

    What fails then fails before an image has its name.
    """
    yield from data
    last()


def _exported(
    uri: str, method: Literal["cow", "copy"], hashing_algo: str | None, digests: Digests
) -> ExportedImage:
    if hashing_algo is None:
        return ExportedImage(uri, digests.size, method)
    return ExportedImage(
        uri,
        digests.size,
        method,
        checksum=digests.checksum,
        os_hash_algo=hashing_algo,
        os_hash_value=digests.os_hash_value,
    )
