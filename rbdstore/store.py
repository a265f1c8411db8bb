# SPDX-License-Identifier: Apache-2.0
"""A store: the services over one pool of one cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rbdstore import (
    backups,
    disks,
    exceptions,
    gc,
    images,
    observing,
    spec,
    threads,
    volumes,
)
from rbdstore.closing import Closing
from rbdstore.driver import Cluster, Pool
from rbdstore.settings import Settings
from rbdstore.sweepers.findings import Collected
from rbdstore.trash import deferral
from rbdstore.trash.contents import Trash
from rbdstore.trash.purging import Purged
from rbdstore.views import forest, looking
from rbdstore.views.forest import Forest
from rbdstore.views.looking import Tree

T = TypeVar("T")

# The services, each of whose verbs is told of when it has ended.
_BackupStore = observing.observed(backups.BackupStore, "backups")
_DiskStore = observing.observed(disks.DiskStore, "disks")
_ImageStore = observing.observed(images.ImageStore, "images")
_Trash = observing.observed(Trash, "trash")
_VolumeStore = observing.observed(volumes.VolumeStore, "volumes")


class Store(Closing):
    """What a backend's section describes. May be used by several threads.

    Nothing is opened before the first use. Close it, or use it in a ``with`` statement.
    """

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        """Put the services over ``cluster``, which the store closes with itself."""
        self._cluster = cluster
        self._settings = settings
        self.reset()
        threads.reset_in_child(self)
        self._closed = False
        self._pool: Pool | None = None
        self._purger: deferral.Purger | None = None
        self._images: images.ImageStore | None = None
        self._volumes: volumes.VolumeStore | None = None

    def reset(self) -> None:
        """In a child process: a thread that it has not may have been at work here."""
        self._lock = threads.threading.RLock()

    @property
    def pool_name(self) -> str:
        """The pool that its images and volumes are in."""
        return self._settings.pool

    @property
    def fsid(self) -> str:
        """The cluster's id. The first use of the cluster, where there was none."""
        return self._open_pool().cluster.fsid

    @property
    def images(self) -> images.ImageStore:
        """Whole disks, written once, read and cloned many times: Glance's work."""
        with self._lock:
            if self._images is None or self._closed:
                self._images = self._service(_ImageStore)
            return self._images

    @property
    def volumes(self) -> volumes.VolumeStore:
        """Disks that are written, snapshot, cloned and extended: Cinder's work."""
        with self._lock:
            if self._volumes is None or self._closed:
                self._volumes = _VolumeStore(self._open_pool(), self._settings, self._purger)
            return self._volumes

    @property
    def disks(self) -> disks.DiskStore:
        """Disks of instances, made from images and made into images: Nova's work."""
        with self._lock:
            return _DiskStore(self._open_pool(), self._settings, self.volumes)

    @property
    def backups(self) -> backups.BackupStore:
        """Backups of volumes, of this store and of others: cinder-backup's work."""
        with self._lock:
            return self._service(_BackupStore)

    @property
    def trash(self) -> Trash:
        """What was deleted and is not gone: to look at, and to bring back."""
        return self._service(_Trash)

    def tree(self, name: str, *, every_object: bool = False) -> Tree:
        """All about one image or volume; its clones by their names only.

        :param every_object: find out what is used also where every object has to be asked for it
        :raises ImageNotFound, InvalidName:
        """
        return looking.tree(
            self._open_pool(),
            spec.check_name(name),
            max_clone_depth=self._settings.max_clone_depth,
            every_object=every_object,
        )

    def forest(self, *others: Store, every_object: bool = False) -> Forest:
        """All images of the pool, and of the pools of other stores, below what they are clones of.

        :param others: stores of the same cluster
        :param every_object: find out what is used also where every object has to be asked for it
        :raises InvalidInput: the stores are of several clusters
        """
        pools = {store._open_pool(): store._settings for store in (self, *others)}
        return forest.look(
            {pool: settings.max_clone_depth for pool, settings in pools.items()},
            every_object=every_object,
        )

    def purge_deleted(self) -> Purged:
        """Remove for good what was deleted and is in the trash of the pool, where it may go now.

        Nothing else ever is: not what this library did not put there, nor what clones need, nor
        what is kept there for longer (``deferred_deletion_delay``). With
        ``enable_deferred_deletion`` a thread does this every
        ``deferred_deletion_purge_interval`` seconds.

        :return: what was purged, and what is kept and why
        :raises InUse: another process is at it
        """
        return self.volumes.purge_deleted()

    def gc(self, *, apply: bool = False, older_than: float = 0) -> Collected:
        """Find what crashes, and other drivers, have left in the pool; reclaim it, if asked to.

        Nothing is touched that somebody has open or is at work on, that has a user's snapshot or
        a clone, or whose name is not known; each such thing is named, with the reason.

        :param apply: reclaim; else nothing is changed
        :param older_than: leave alone what is younger than so many seconds, or of unknown age
        :raises InvalidInput: ``older_than`` is no number of seconds
        :raises InUse: another process is reclaiming
        """
        older_than = gc.check_older_than(older_than)
        backend = self._settings.backend
        with observing.operation("gc.reclaim" if apply else "gc.look", backend) as told:
            collector = gc.Collector(self._open_pool(), self._settings, older_than=older_than)
            found = collector.reclaim() if apply else collector.look()
            told.detail = (
                f"{len(found.findings)} leftovers found, {len(found.reclaimed)} reclaimed, "
                f"{len(found.left)} left"
            )
        observing.collected(backend, found.findings)
        return found

    def _service(self, kind: Callable[[Pool, Settings], T]) -> T:
        return kind(self._open_pool(), self._settings)

    def _open_pool(self) -> Pool:
        with self._lock:
            if self._closed:
                raise exceptions.RbdStoreError("this store is closed")
            if self._pool is None:
                self._pool = self._cluster.open_pool(self._settings.pool, self._settings.namespace)
                self._purger = deferral.Purger(self._pool, self._settings)
                self._purger.start()
            return self._pool

    def close(self) -> None:
        """Let go of the pool and the cluster. Once closed it stays closed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pool, self._pool = self._pool, None
        try:
            # Without the lock, for what goes on in the background may take a moment to end.
            if self._purger is not None:
                self._purger.close()
            if self._volumes is not None:
                self._volumes.close()
            if pool is not None:
                pool.close()
        finally:
            self._cluster.close()
