# SPDX-License-Identifier: Apache-2.0
"""Thinning: fewer snapshots on an image, by flattening its oldest clones in the background.

Clients can work with a bounded number of snapshots on one image (the kernel's with 510, those in
the trash counted). A snapshot that carries clones goes when the last of them is flattened.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from oslo_log import log

from rbdstore import exceptions, leases, spec, threads
from rbdstore.driver import Child, Image, Pool, Progress, Snap
from rbdstore.settings import Settings

LOG = log.getLogger(__name__)

FlattenChild = Callable[[Child, Pool, Progress], None]
"""Called with a clone, the pool of what it was cloned from, and what ends the work by raising.

It takes back the snapshot that nothing needs any more.
"""


class Thinner:
    """Keeps images at ``max_snapshots_on_image`` snapshots, in one thread of its own.

    The thread is there while there is something to do. What it cannot do it logs; the next clone
    of the image brings it up again.
    """

    def __init__(self, settings: Settings, flatten_child: FlattenChild) -> None:
        self._settings = settings
        self._flatten_child = flatten_child
        self._closed = False
        self.reset()
        threads.reset_in_child(self)

    def reset(self) -> None:
        """Forget everything: a child process has none of its parent's threads."""
        self._lock = threads.threading.Lock()
        self._due: dict[str, Pool] = {}
        self._worker: Any = None
        self._left_alone: list[str] = []

    def see_to(self, image: Image, snaps: int) -> None:
        """Have it done, if an image that has so many snaps has too many. Returns at once."""
        if snaps <= self._settings.max_snapshots_on_image:
            return
        with self._lock:
            if self._closed:
                return
            self._due.setdefault(image.id, image.pool)
            if self._worker is None:
                worker = threads.threading.Thread(
                    target=self._run, name="rbdstore-thinning", daemon=True
                )
                try:
                    worker.start()
                except RuntimeError as error:
                    # It is still due when the next one is cloned.
                    LOG.warning("%s: no thread to thin its snapshots: %s", image.spec, error)
                else:
                    self._worker = worker

    @contextlib.contextmanager
    def leaving_alone(self, name: str) -> Iterator[None]:
        """Have no clone of that name flattened, be it in the middle: somebody wants the name."""
        self._left_alone.append(name)
        try:
            yield
        finally:
            self._left_alone.remove(name)

    def close(self) -> None:
        """End it, in the middle of a flatten if need be."""
        with self._lock:
            self._closed = True
            worker = self._worker
        if worker is not None:
            worker.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._due:
                    self._worker = None
                    return
                # Those that are cloned again meanwhile are due again.
                image_id = next(iter(self._due))
                pool = self._due.pop(image_id)
            try:
                self._thin(pool, image_id)
            except _ClosedError:
                pass
            except exceptions.InUse as error:
                LOG.debug("another process sees to it: %s", error)
            except Exception as error:
                LOG.warning("could not flatten the oldest clones of %s: %s", image_id, error)

    def _thin(self, pool: Pool, image_id: str) -> None:
        lease = leases.acquire(
            pool, spec.thinning_lease(image_id), self._settings.lease_seconds, wait=0
        )
        try:
            with pool.open(image_id=image_id) as image:
                snaps = image.snaps()
            excess = len(snaps) - self._settings.max_snapshots_on_image
            for snap in snaps:
                if excess <= 0:
                    break
                if _goes_with_its_clones(snap):
                    excess -= self._flatten_children(pool, image_id, snap)
        finally:
            lease.release()

    def _flatten_children(self, pool: Pool, image_id: str, snap: Snap) -> bool:
        """Whether the snap had any, and has none left."""
        try:
            with pool.open(image_id=image_id) as image:
                children = image.children(snap.id)
        except exceptions.SnapshotNotFound:
            # Its last clone was deleted meanwhile.
            return True
        if any(spec.is_draft(child.image) for child in children):
            # It is being cloned from.
            return False
        done = 0
        for child in children:
            go_on = functools.partial(self._go_on_with, child)
            try:
                go_on()
                self._flatten_child(child, pool, go_on)
                done += 1
            except _ClosedError:
                raise
            except _WantedError:
                LOG.debug("%s is left to who is at work on it", child.spec)
            except exceptions.ImageNotFound:
                done += 1
            except exceptions.InUse as error:
                LOG.debug("%s is left: %s", child.spec, error)
            except Exception as error:
                LOG.warning("could not flatten %s in the background: %s", child.spec, error)
        if done:
            LOG.info("flattened %d clones of %s@%s", done, pool.spec(image_id), snap.name)
        return 0 < done == len(children)

    def _go_on(self, *_progress: object) -> None:
        if self._closed:
            raise _ClosedError

    def _go_on_with(self, child: Child, *_progress: object) -> None:
        self._go_on()
        if not child.trashed and child.image in self._left_alone:
            raise _WantedError


class _ClosedError(Exception):
    """The store was closed meanwhile."""


class _WantedError(Exception):
    """Somebody is about to rename, flatten or delete the clone."""


def _goes_with_its_clones(snap: Snap) -> bool:
    return snap.trashed or spec.is_reserved_snap(snap.name)
