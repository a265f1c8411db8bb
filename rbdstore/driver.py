# SPDX-License-Identifier: Apache-2.0
"""The seam: what a driver gives, and all that the services above it use.

The vocabulary is Ceph's. A **cluster** holds **pools**; a pool (of one **namespace**) holds
**images**. An image has a *name*, which may change, and an *id*, which does not and is never used
again. A **snap** is a read-only state of an image; like an image it has a name and an id. An image
made from a snap shares its data until it overwrites them: the snap's image is its **parent**, it
is a **child** (a *clone*), and **flatten** copies what is still shared and lets go of the parent.
The **trash** keeps images that have no name any more but that children may still need. A
client that has an image open for writing is a **watcher** of it. An **object** is the unit that an
image is stored in, of a power of two bytes.

Rules for every driver:

* Sizes and offsets are bytes. Names arrive checked (:mod:`rbdstore.spec`).
* Only exceptions of :mod:`rbdstore.exceptions` leave a driver, with the image they are about. What
  is named and not there is an ``ImageNotFound``, a snap or its image a ``SnapshotNotFound``.
* A method that raises has done nothing, or, for :class:`~rbdstore.exceptions.ClusterError`, may
  have done it.
* Everything may be called from several threads; one :class:`Image` belongs to one thread.
* Clones are of format 2: a parent needs no protected snap, and may be in the trash. A driver whose
  cluster only knows format 1 says so in :attr:`Cluster.clone_format`.

A third party's driver is a class with ``OPTIONS``, ``API_VERSION`` and ``open()``
(:class:`Driver`), named by an entry point in ``rbdstore.drivers``.
"""

from __future__ import annotations

import abc
import contextlib
import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from oslo_config import cfg

from rbdstore import exceptions
from rbdstore.checks import Check
from rbdstore.closing import Closing
from rbdstore.completions import Completion, Ended, Postponed
from rbdstore.shapes import (
    Access,
    Child,
    Extent,
    Inventory,
    LeaseState,
    Parent,
    PoolStats,
    ReservedSnap,
    Snap,
    Stray,
    Torn,
    TrashEntry,
)
from rbdstore.spec import ImageSpec

__all__ = [
    "API_VERSION",
    "Access",
    "Administration",
    "Check",
    "Child",
    "Cluster",
    "Completion",
    "Driver",
    "Extent",
    "Image",
    "Inventory",
    "LeaseState",
    "Parent",
    "Pool",
    "PoolStats",
    "Progress",
    "ReservedSnap",
    "Snap",
    "Stray",
    "Torn",
    "TrashEntry",
    "find_snap",
]

API_VERSION = 1

Progress = Callable[[int, int], object]
"""Called as ``progress(done, total)``, in bytes, or in steps where the work has no bytes.

What it raises ends the work, and comes out of the call.
"""


class Driver(abc.ABC):
    """How a backend's section of a configuration file becomes a cluster."""

    OPTIONS: ClassVar[Sequence[cfg.Opt]] = ()
    API_VERSION: ClassVar[int] = API_VERSION
    """Which version of this file it was written for; best a number, so that it stays."""

    @abc.abstractmethod
    def open(self, options: Mapping[str, Any]) -> Cluster:
        """Return the cluster that ``options`` (the driver's own and the common ones) describe.

        May connect later, at the first use.

        :raises ConfigError: an option is wrong, or a file it names cannot be used
        """

    def checks(self, options: Mapping[str, Any], *, writes: bool) -> Iterator[Check]:
        """What ``rbdstore doctor`` is to look at before it opens the backend, in that order.

        Each check is looked at before the next one is asked for; what they share is kept until
        the iterator is closed. Nothing may be changed by them. A driver may leave it at none:
        what the services need of any driver, the doctor tries itself.

        :param options: those of :meth:`open`, which may be wrong
        :param writes: whether the backend's user is to write in its pool
        """
        return iter(())

    def limited(self, options: Mapping[str, Any], seconds: int) -> Mapping[str, Any]:
        """The options with which no request to the cluster is waited for any longer than that.

        For whoever would rather be told that there is no answer. A driver that does not wait for
        others may leave it at this.
        """
        return options

    def administer(self, options: Mapping[str, Any], *, keyring: str = "") -> Administration:
        """Connect to the cluster that ``options`` describe, as whoever sets it up.

        :param keyring: the path of the file with the user's key; empty: one that is found without
        :raises ConfigError: an option is wrong, or a file it names cannot be used
        :raises Unreachable: no monitor answers, or the key is refused
        """
        raise exceptions.NotSupported("this driver has no cluster that would want to be set up")


class Administration(Closing):
    """What is done once, by an administrator, so that there are pools and users to work with."""

    @abc.abstractmethod
    def command(self, prefix: str, **arguments: Any) -> Any:
        """Do what ``ceph PREFIX`` does; return the answer, decoded if it is JSON, else as text.

        What is answered may be a key: it is not to be logged.

        :raises PermissionDenied: the user is no administrator
        :raises NotFound: there is no such thing as the arguments name
        """

    @abc.abstractmethod
    def is_ready(self, pool: str) -> bool:
        """Whether a pool is prepared for images.

        :raises PoolNotFound:
        """

    @abc.abstractmethod
    def make_ready(self, pool: str) -> None:
        """Prepare a pool for images, as ``rbd pool init`` does. One that is prepared is no error.

        :raises PoolNotFound:
        """


class Cluster(Closing):
    """A storage cluster, as one user sees it."""

    @property
    def clone_format(self) -> int:
        """2, or 1 where the cluster's clients know nothing newer."""
        return 2

    @property
    @abc.abstractmethod
    def fsid(self) -> str:
        """The cluster's own id, the first part of a location."""

    @abc.abstractmethod
    def open_pool(self, name: str, namespace: str = "") -> Pool:
        """:raises PoolNotFound:"""

    @abc.abstractmethod
    def list_pools(self) -> list[str]:
        """The names of all pools, also those that this user may not read."""

    def list_namespaces(self, pool: str) -> list[str]:
        """The namespaces of a pool but the one without a name; none where there cannot be any."""
        return []

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the connection. Pools and images of it must be closed before.

        Closing it again is no error; using it is a ``ClusterError``.
        """

    def monitors(self) -> list[tuple[str, int]]:
        """Host and port of each monitor, for a client that connects by itself.

        Those of every protocol that a monitor speaks; IPv6 addresses without brackets.
        """
        raise exceptions.NotSupported("this driver has no monitors")

    def access(self) -> Access:
        """As whom a client that connects by itself is to do so, without the key."""
        raise exceptions.NotSupported(
            "this driver's images are for this library alone: no other client can open them"
        )

    def flatten_in_background(self, spec: ImageSpec) -> str:
        """Ask the cluster to flatten an image on its own; return the id of the task.

        When it has ended, :meth:`Image.flatten` completes what only a client can do.
        """
        raise exceptions.NotSupported("this driver has no background tasks")

    def task_progress(self, task_id: str) -> float | None:
        """How much of it is done, from 0 to 1; 0 as well while others are before it.

        None when it has ended, well or not: look at the image for the outcome.

        :raises ClusterError: also for a task that failed and is going to be tried again
        """
        raise exceptions.NotSupported("this driver has no background tasks")

    def cancel_task(self, task_id: str) -> None:
        """Stop a task. One that has ended is no error."""
        raise exceptions.NotSupported("this driver has no background tasks")


class Pool(Closing):
    """A namespace of a pool."""

    name: str
    namespace: str
    cluster: Cluster

    def spec(self, image: str, snap: str | None = None) -> ImageSpec:
        return ImageSpec(self.name, image, snap, self.namespace)

    # Images

    @abc.abstractmethod
    def stats(self) -> PoolStats:
        """What the pool holds. No image is to be opened for it."""

    @abc.abstractmethod
    def list_images(self) -> list[str]:
        """The names of all images, half-made ones too, the trash excluded."""

    @abc.abstractmethod
    def create(self, name: str, size: int, *, order: int | None = None) -> None:
        """Make an image of zeros, in objects of ``2 ** order`` bytes (None: the driver's default).

        :raises InvalidSize: larger than an image can be
        :raises Duplicate: the name is taken, be it by debris (:meth:`clear_debris`)
        """

    @abc.abstractmethod
    def clone(self, parent: Pool, image: str, snap: str, name: str) -> None:
        """Make an image that shares the data, the size and the metadata of a snap.

        Not atomic: an interrupted one may leave an image without a parent, or debris.

        :raises Duplicate: the name is taken
        :raises SnapshotNotFound: there is no such snap, or no such image
        :raises NotCloneable: format 1, and the snap is not protected; or its size is 0
        """

    @abc.abstractmethod
    def open(
        self, name: str | None = None, *, image_id: str | None = None, read_only: bool = True
    ) -> Image:
        """Open an image by name, or, also in the trash, by id.

        :raises ImageNotFound: also for debris, and for a child whose parent is gone
        :raises InvalidInput: by neither, or by both
        """

    def open_live(self, name: str | None = None, *, image_id: str | None = None) -> Image:
        """Open for writing an image that is not in the trash; until it is closed it stays.

        To :meth:`open` one while it is removed is to hold what is gone: librbd waits for ever for
        the lock of such an image, or makes its header anew.

        :raises ImageNotFound: also where it has been deleted in that moment
        """
        with contextlib.ExitStack() as failed:
            image = failed.enter_context(self.open(name, image_id=image_id, read_only=False))
            # Whoever removes an image puts it into the trash, and then looks who has it open.
            if self.trash_get(image.id) is not None:
                raise exceptions.ImageNotFound("it was deleted meanwhile", spec=image.spec)
            failed.pop_all()
        return image

    def id_of(self, name: str) -> str | None:
        """The id of the image that has the name, be it one that cannot be opened.

        None: there is none; debris is none. A driver whose images can all be opened, at little
        cost, may leave it at this.
        """
        try:
            with self.open(name) as image:
                return image.id
        except exceptions.ImageNotFound:
            return None

    def has_image(self, image_id: str) -> bool:
        """Whether there is an image of that id, also in the trash, or one that cannot be opened.

        A driver may leave it at this, as :meth:`id_of`.
        """
        try:
            self.open(image_id=image_id).close()
        except exceptions.ImageNotFound:
            return False
        return True

    def has_snaps(self, image_id: str) -> bool:
        """Whether an image has snaps, those in the trash included; False: also of no image.

        A driver may leave it at this, as :meth:`id_of`.
        """
        try:
            with self.open(image_id=image_id) as image:
                return bool(image.snaps())
        except exceptions.ImageNotFound:
            return False

    @abc.abstractmethod
    def clear_debris(self, name: str) -> bool:
        """Free a name that is taken by something of which no data is left.

        That is what an interrupted creation or removal leaves. Whoever is in the middle of one
        is not disturbed. False: there was nothing of the kind, and nothing was done.

        :raises InUse: it is being removed by somebody else
        """

    def is_debris(self, name: str) -> bool:
        """Whether :meth:`clear_debris` would find something, or could; nothing is changed.

        What is being created or removed this moment may look like it.
        """
        return False

    def named_at(self, name: str) -> float | None:
        """When a name was taken, in seconds since 1970; None: that is not known."""
        return None

    def inventory(self, prefix: str) -> Inventory:
        """What is in the pool beside images and trash; of small objects those of that prefix.

        Every object of the pool is listed for it.

        :raises NotSupported: the driver cannot list what nothing leads to
        """
        raise exceptions.NotSupported("this driver cannot list the objects of a pool")

    def clear_stray(self, stray: Stray) -> bool:
        """Remove a stray of the inventory that is empty; False: it is not, and nothing is done."""
        return False

    @abc.abstractmethod
    def rename(self, name: str, new_name: str) -> None:
        """Give an image another name. Only reliable while nobody else renames or removes it.

        :raises Duplicate: ``new_name`` is taken
        """

    @abc.abstractmethod
    def remove(self, name: str, *, progress: Progress | None = None) -> None:
        """Remove an image that has no snaps, or what an interrupted removal left of it.

        :raises InUse: it has snaps or watchers
        """

    def blockdev(self, name: str) -> dict[str, str]:
        """How QEMU opens an image by itself: the options of the block driver of its protocol.

        For whoever has the same host and user as this driver has. There is no key among them.

        :raises NotSupported: QEMU has no such block driver
        """
        raise exceptions.NotSupported("QEMU cannot open the images of this driver")

    # Links between parents and children

    def torn(self, image_ids: Container[str] | None = None) -> list[Torn]:
        """The images of the pool, live and in the trash, whose link to their parent is torn.

        One that is being cloned or flattened this moment may be among them. A driver whose links
        are made and unmade in one step has none.

        :param image_ids: only of these
        """
        return []

    def let_go(self, image_id: str) -> None:
        """Have an orphan forget its parent, if all of its data is proven to be its own.

        :raises ImageNotFound: that is not proven, or it is no orphan; nothing was changed
        """
        raise exceptions.ImageNotFound("its parent is not gone", spec=self.spec(f"<{image_id}>"))

    def reserve_snap(self) -> Completion[ReservedSnap | None]:
        """Begin to ask for what a snap of an image in here will need.

        For whoever will make one later, by :meth:`Image.create_reserved_snap`, and makes one of
        another image now: a cluster that takes its time for each may do both at once. To be called
        right before that one is made.

        The completion belongs to no thread, and never fails: it may give None. A driver whose
        snaps take no time reserves nothing.
        """
        return Ended(None)

    # Trash

    @abc.abstractmethod
    def trash_move(self, name: str, *, delay: int = 0) -> None:
        """Take an image's name away, atomically, and keep it for ``delay`` seconds at the least.

        Its children, snaps and open handles stay what they are.

        :raises InUse: somebody has it locked (:meth:`Image.lock`)
        """

    @abc.abstractmethod
    def trash_list(self) -> list[TrashEntry]:
        """Everything in the trash, whoever put it there."""

    @abc.abstractmethod
    def trash_get(self, image_id: str) -> TrashEntry | None:
        """The trash's entry of one image; None: it is not there.

        None as well for an image that has a name too, which races between renaming and trashing
        can leave: that one is somebody's.
        """

    @abc.abstractmethod
    def trash_restore(self, image_id: str, name: str) -> None:
        """Take an image out of the trash and give it a name.

        :raises Duplicate: the name is taken
        """

    @abc.abstractmethod
    def trash_remove(self, image_id: str, *, progress: Progress | None = None) -> None:
        """Remove an image that is in the trash, or what an interrupted removal left of it.

        :raises InUse: it has snaps or watchers, or its time there is not over
        """

    # Small objects: bookkeeping that lives in the cluster, beside the images

    @abc.abstractmethod
    def lease(
        self, key: str, cookie: str, seconds: float, owner: str, *, renew: bool = False
    ) -> bool:
        """Lock the object ``key`` until ``seconds`` from now, making it where it is missing.

        ``owner`` is for humans. Who has the lease may take it again, under the same ``cookie``.
        With ``renew`` it must still be held under that; one that ran out is not taken again.
        False: not locked.
        """

    @abc.abstractmethod
    def lease_owner(self, key: str) -> str | None:
        """The ``owner`` of whoever holds the lease, or last held it."""

    def lease_state(self, key: str) -> LeaseState | None:
        """Whether somebody holds the lease now; None: there is no such object.

        A driver that cannot tell may leave it at this: then all leases look held.
        """
        owner = self.lease_owner(key)
        return None if owner is None else LeaseState(owner, held=True, since=0.0)

    @abc.abstractmethod
    def write_leased(self, key: str, cookie: str, data: bytes) -> None:
        """Replace the object's content, if and only if the lease is still held.

        :raises LeaseLost: it is not
        """

    @abc.abstractmethod
    def remove_leased(self, key: str, cookie: str) -> None:
        """Remove object and lease, if and only if the lease is still held.

        :raises LeaseLost: it is not
        """

    @abc.abstractmethod
    def read_object(self, key: str) -> bytes:
        """The object's content; empty where there is no such object."""

    @abc.abstractmethod
    def remove_object(self, key: str) -> None:
        """Remove an object. A missing one is no error."""

    @abc.abstractmethod
    def set_keys(self, key: str, entries: Mapping[str, bytes]) -> None:
        """Add entries to the object's map, making the object where it is missing."""

    @abc.abstractmethod
    def get_keys(self, key: str) -> dict[str, bytes]:
        """The object's map; empty where there is no such object."""

    def get_key(self, key: str, name: str) -> bytes | None:
        """One entry of the object's map; None: there is none, or no such object.

        A driver may leave it at this, if it has all of a map in memory anyway.
        """
        return self.get_keys(key).get(name)

    @abc.abstractmethod
    def remove_keys(self, key: str, names: Sequence[str]) -> None:
        """Remove entries from the object's map. Missing ones are no error."""


class Image(Closing):
    """An open image: a handle, to be closed by whoever opened it.

    Where it was opened read-only, what would change the image raises ``ReadOnly``.
    """

    pool: Pool
    name: str
    id: str
    read_only: bool

    @property
    def spec(self) -> ImageSpec:
        return self.pool.spec(self.name)

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the image. Tells nothing about writes in flight: :meth:`flush` does.

        What :meth:`aio_read` and :meth:`aio_write` have begun has ended when this returns, well or
        not. Closing it again is no error; using it is a ``ClusterError``.
        """

    # Data

    @abc.abstractmethod
    def size(self) -> int:
        """In bytes, of the image or of the snap it is set to."""

    @property
    @abc.abstractmethod
    def object_size(self) -> int: ...

    @abc.abstractmethod
    def features(self) -> frozenset[str]:
        """The image's features, by the names that the ``rbd`` command has for them."""

    @abc.abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Read; shorter than asked only at the end of the image."""

    @abc.abstractmethod
    def write(self, offset: int, data: bytes | bytearray) -> None:
        """Write all of ``data``, which may be changed afterwards.

        Safe only once :meth:`flush` returned.

        :raises InvalidSize: it would reach beyond the image's end; nothing is written
        :raises ReadOnly: somebody else has it locked
        """

    def aio_read(self, offset: int, length: int) -> Completion[bytes]:
        """Begin what :meth:`read` does.

        Any number may be in flight at once. A driver that cannot do that reads when the result is
        asked for, as here.
        """
        return Postponed(functools.partial(self.read, offset, length))

    def aio_write(
        self, offset: int, data: bytes | bytearray, done: Callable[[], object] | None = None
    ) -> Completion[None]:
        """Begin what :meth:`write` does. ``data`` may be changed as soon as this returns.

        Any number may be in flight at once, and end in any order: nothing else may be done to
        what they write to, nor the image resized or flushed, before they have ended. A driver
        that cannot do that writes before it returns, as here.

        :param done: called when it has ended, well or not, by any thread, also before this
            returns: it must neither wait nor raise
        :raises: what :meth:`write` does, here, without calling ``done``, or by the completion
        """
        self.write(offset, data)
        if done is not None:
            done()
        return Ended(None)

    @abc.abstractmethod
    def discard(self, offset: int, length: int) -> None:
        """Make a stretch read as zeros, freeing the objects it covers.

        What of it is beyond the image's end is left out.
        """

    @abc.abstractmethod
    def flush(self) -> None:
        """Return when every write before is safe.

        :raises ClusterError: one of them is not
        """

    @abc.abstractmethod
    def resize(self, size: int, *, allow_shrink: bool = False) -> None:
        """Give the image another size; what is new reads as zeros.

        :raises InvalidSize: smaller than it is, and shrinking was not allowed; or larger than an
            image can be
        """

    @abc.abstractmethod
    def extents(
        self,
        offset: int,
        length: int,
        *,
        from_snap: str | None = None,
        include_parent: bool = True,
        whole_object: bool = False,
    ) -> Iterator[Extent]:
        """What changed since ``from_snap`` (None: since the image was made), in order.

        What lies between the extents is unchanged; they may name more than has changed, but not in
        an object that was not touched. With ``whole_object`` they are of whole objects, where that
        is cheaper. A parent's data counts as the image's, or, without ``include_parent``, only
        what the image has of its own; of the changes since a snap that leaves out nothing.
        """

    def created(self, snap_id: int | None = None) -> float | None:
        """When the image, or a snap of it, was made, in seconds since 1970; None: not known."""
        return None

    def fast_diff(self) -> bool:
        """Whether :meth:`extents` of whole objects cost little, however many there are.

        Of the image alone: what its parents are asked for may still cost much.
        """
        return True

    @abc.abstractmethod
    def flatten(self, *, progress: Progress | None = None) -> None:
        """Copy what is shared with the parent and let go of it.

        Not atomic: it may be repeated after it was killed, without loss, also while others write.
        Of an image without a parent the data is left as it is. The image's snaps let go of the
        parent too where it has the feature deep-flatten; else they keep it.
        """

    # Lineage

    @abc.abstractmethod
    def parent(self) -> Parent | None:
        """Of the image, or of the snap it is set to."""

    @abc.abstractmethod
    def set_snap(self, snap_id: int | None) -> None:
        """Look at the image as it was at a snap, from here on; None: as it is.

        For handles that were opened read-only: librbd takes a writable one's exclusive lock down
        for it, and aborts the process if another client asks for the lock in that moment.
        """

    @abc.abstractmethod
    def children(self, snap_id: int) -> list[Child]:
        """The images cloned from a snap, in every pool, those in the trash included.

        :raises PermissionDenied: there are pools that this user may not look into
        """

    def has_children(self, snap_id: int) -> bool:
        """Whether :meth:`children` finds any. A driver that can tell without listing them does.

        :raises PermissionDenied: none was found where this user may look
        """
        return bool(self.children(snap_id))

    # Snaps

    @abc.abstractmethod
    def snaps(self) -> list[Snap]:
        """Oldest first, those in the trash included."""

    def still_has(self, snap_id: int) -> bool:
        """Whether the image has a snap, in the trash or not; looked up anew in the cluster.

        What was read before, while this handle was set to that snap, is its data then.
        """
        with self.pool.open(image_id=self.id) as image:
            return any(snap.id == snap_id for snap in image.snaps())

    @abc.abstractmethod
    def create_snap(self, name: str) -> None:
        """:raises Duplicate: the name is taken"""

    def create_reserved_snap(self, name: str, reserved: ReservedSnap | None) -> None:
        """Do what :meth:`create_snap` does, with what :meth:`Pool.reserve_snap` gave.

        All that was written to the image is flushed. What was reserved is used up, or of no use.
        Where it fails, the image may be closed.
        """
        self.create_snap(name)

    @abc.abstractmethod
    def rename_snap(self, name: str, new_name: str) -> None:
        """:raises Duplicate, SnapshotNotFound:"""

    @abc.abstractmethod
    def remove_snap(self, snap_id: int) -> None:
        """:raises InUse: it has children, or is protected"""

    @abc.abstractmethod
    def protect_snap(self, name: str) -> None:
        """Guard a snap against removal. A protected one is no error."""

    @abc.abstractmethod
    def unprotect_snap(self, name: str) -> None:
        """An unprotected one is no error.

        :raises InUse: it has children of format 1
        """

    @abc.abstractmethod
    def rollback(self, snap: str, *, progress: Progress | None = None) -> None:
        """Make the image what it was at a snap, its size and parent included, its metadata not.

        Not atomic: may be repeated.

        :raises SnapshotNotFound:
        """

    # Who uses it, and what is written on it

    @abc.abstractmethod
    def watchers(self) -> list[str]:
        """The address of every client that has it open for writing, one each time it has.

        A handle that was opened read-only is not among them.
        """

    @abc.abstractmethod
    def lock(self) -> None:
        """Keep others from writing, trashing and removing the image while this handle is open.

        An image without the exclusive-lock feature is left as it is.

        :raises InUse: somebody else has it locked
        """

    def fence(self) -> list[str]:
        """Cut off every client that has the image open for writing, and take its lock away.

        Such a client is cut off as a whole, from all images and for a year, dead or alive. When
        this returns, its writes fail, and nothing that it wrote and was not told of lands any
        more. Nobody is cut off where this raises, save for a ``ClusterError``. A warning in the
        log names each, as soon as it is.

        :return: the addresses of those that were
        :raises InUse: this process is one of them, or the cluster itself is, for a task
        :raises PermissionDenied: the user may not cut clients off
        :raises NotSupported: the driver cannot
        """
        raise exceptions.NotSupported(
            "this driver cannot cut other clients off: end them, or wait", spec=self.spec
        )

    def set_features(self, names: Iterable[str], *, enabled: bool) -> None:
        """Switch some of the image's features (:meth:`features`) on or off, used by others or not.

        Those that are so already are left as they are.
        """
        raise exceptions.NotSupported("this driver's images have no features to be switched")

    def config(self) -> dict[str, str]:
        """The settings of Ceph's that were made for this image, by their names in ceph.conf."""
        raise exceptions.NotSupported("this driver's images have no settings of their own")

    def set_config(self, key: str, value: str | None) -> None:
        """Make a setting for this image, or (None) take it back, for whoever opens it from now on.

        :raises InvalidInput: there is no such setting, or its value is wrong
        """
        raise exceptions.NotSupported("this driver's images have no settings of their own")

    @abc.abstractmethod
    def set_metadata(self, key: str, value: str) -> None: ...

    @abc.abstractmethod
    def metadata(self) -> dict[str, str]:
        """What was written on it. A clone begins with its parent's."""


def find_snap(image: Image, name: str) -> Snap:
    """The snap of that name, none in the trash.

    :raises SnapshotNotFound:
    """
    for snap in image.snaps():
        if snap.name == name and not snap.trashed:
            return snap
    raise exceptions.SnapshotNotFound("no such snapshot", spec=image.pool.spec(image.name, name))
