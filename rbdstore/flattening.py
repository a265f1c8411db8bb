# SPDX-License-Identifier: Apache-2.0
"""Flattening: here, or by the cluster in the background, and never too many at once."""

from __future__ import annotations

import time

from rbdstore import exceptions, leases, spec, threads
from rbdstore.driver import Image, Pool, Progress
from rbdstore.settings import Settings

_POLL_SECONDS = 0.5


class Flattener:
    """Flattens images, at most ``concurrent_flatten_operations`` of them at once.

    One image is flattened by one process, and one thread of it, at a time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = threads.threading.BoundedSemaphore(settings.concurrent_flatten_operations)

    def flatten(self, pool: Pool, image_id: str, *, progress: Progress | None = None) -> None:
        """Make an image independent of its parent, be it in the trash. It stays in use meanwhile.

        One without a parent is left as it is. The parent's snap is not looked at: that is for
        the caller (:func:`rbdstore.reclaim.unused_snap`).

        :raises ImageNotFound:
        :raises ClusterError: it was tried, but the image still has its parent
        """
        with (
            pool.open(image_id=image_id) as image,
            # Whoever comes second waits here, and not in a slot.
            leases.held(pool, spec.flatten_lease(image_id), self._settings.lease_seconds),
            self._slots,
        ):
            if self._settings.flatten_mode == "task" and _has_parent(pool, image_id):
                self._in_background(image, progress)
            # After a task, or a flatten that was killed at its end, this completes it.
            with pool.open(image_id=image_id, read_only=False) as writable:
                writable.flatten(progress=progress)
            # The end of a task is not its success, and librbd's own word is not either.
            if _has_parent(pool, image_id):
                raise exceptions.ClusterError(
                    "flattening ended, but the image still has a parent", spec=image.spec
                )

    def _in_background(self, image: Image, progress: Progress | None) -> None:
        if image.pool.trash_get(image.id) is not None:
            # A task is given a name, which is nobody's by now, or another's.
            return
        cluster = image.pool.cluster
        task = cluster.flatten_in_background(image.spec)
        try:
            while cluster.task_is_running(task):
                if progress is not None:
                    # How far it is only the cluster knows, but it can be ended from here.
                    progress(0, image.size())
                time.sleep(_POLL_SECONDS)
        except BaseException:
            cluster.cancel_task(task)
            raise


def _has_parent(pool: Pool, image_id: str) -> bool:
    with pool.open(image_id=image_id) as image:
        return image.parent() is not None
