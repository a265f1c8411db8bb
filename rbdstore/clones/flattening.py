# SPDX-License-Identifier: Apache-2.0
"""Flattening: here, or by the cluster in the background, and never too many at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from oslo_log import log

from rbdstore import exceptions, leases, observing, spec, threads
from rbdstore.driver import Cluster, Image, Pool, Progress
from rbdstore.settings import Settings

LOG = log.getLogger(__name__)

_SHORTEST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 1.0
_SLOT_SECONDS: Final = 0.05

# For how long nothing may be done of a task, be it that others are before it, that it fails and is
# tried again, or that no manager answers: another one takes over from it in half a minute.
PATIENCE: Final = 120.0


class Flattener:
    """Flattens images, at most ``concurrent_flatten_operations`` of them at once.

    One image is flattened by one process, and one thread of it, at a time.
    """

    def __init__(self, settings: Settings, *, patience: float = PATIENCE) -> None:
        """``patience`` is for how many seconds a task may stand still before it is given up."""
        self._settings = settings
        self._patience = patience
        self.reset()
        threads.reset_in_child(self)

    def reset(self) -> None:
        """Forget who is at it: a child process has none of its parent's threads."""
        most = self._settings.concurrent_flatten_operations
        self._slots = threads.threading.BoundedSemaphore(most)

    def flatten(self, pool: Pool, image_id: str, *, progress: Progress | None = None) -> None:
        """Make an image independent of its parent, be it in the trash. It stays in use meanwhile.

        One without a parent is left as it is. The parent's snap is not looked at: that is for
        the caller (:func:`rbdstore.reclaim.unused_snap`).

        :param progress: also called while it waits; what it raises ends that, too
        :raises ImageNotFound:
        :raises ClusterError: it was tried, but the image still has its parent
        """
        with pool.open(image_id=image_id) as image:
            size = image.size()

            def waiting() -> None:
                if progress is not None:
                    progress(0, size)

            with (
                # Whoever comes second waits here, and not in a slot.
                leases.held(
                    pool,
                    spec.flatten_lease(image_id),
                    self._settings.lease_seconds,
                    meanwhile=waiting,
                ),
                self._slot(waiting),
                observing.flattening(self._settings.backend),
            ):
                if self._settings.flatten_mode == "task" and _has_parent(pool, image_id):
                    self._in_background(image, progress)
                # After a task, or a flatten that was killed at its end, this completes it.
                with self._open(pool, image_id) as writable:
                    writable.flatten(progress=progress)
                # librbd's own word is not proof.
                if _has_parent(pool, image_id):
                    raise exceptions.ClusterError(
                        "flattening ended, but the image still has a parent", spec=image.spec
                    )

    def _open(self, pool: Pool, image_id: str) -> Image:
        """Open an image for writing, in the trash or not, so that it stays until it is closed."""
        if pool.trash_get(image_id) is None:
            return pool.open_live(image_id=image_id)
        # Not between a purge's look at who has it open and its removal.
        with leases.held(pool, spec.reclaim_lease(image_id), self._settings.lease_seconds):
            return pool.open(image_id=image_id, read_only=False)

    @contextlib.contextmanager
    def _slot(self, waiting: Callable[[], None]) -> Iterator[None]:
        # Not in one go: that could not be ended, and a green thread would stop all others, those
        # that have the slots among them.
        while not (slots := self._slots).acquire(blocking=False):
            waiting()
            time.sleep(_SLOT_SECONDS)
        try:
            yield
        finally:
            slots.release()

    def _in_background(self, image: Image, progress: Progress | None) -> None:
        """Have the cluster do it. What it does not do is left to the caller, and logged."""
        if image.pool.trash_get(image.id) is not None:
            # A task is given a name, which is nobody's by now, or another's.
            return
        cluster = image.pool.cluster
        try:
            task = cluster.flatten_in_background(image.spec)
        except exceptions.ImageNotFound:
            # It was renamed or deleted in this moment.
            return
        except exceptions.RbdStoreError as error:
            LOG.warning("%s is flattened here and not by the cluster: %s", image.spec, error)
            return
        try:
            problem = self._follow(cluster, task, image, progress)
        except BaseException as error:
            if failure := _cancel(cluster, task):
                error.add_note(f"the cluster's task {task} could not be cancelled: {failure}")
            raise
        if not problem and _has_parent(image.pool, image.id):
            problem = "the task has ended"
        if problem:
            if failure := _cancel(cluster, task):
                problem += f"; `ceph rbd task cancel {task}` is left to do ({failure})"
            LOG.warning(
                "%s is flattened here, since the cluster did not do it by its task %s: %s",
                image.spec,
                task,
                problem,
            )

    def _follow(
        self, cluster: Cluster, task: str, image: Image, progress: Progress | None
    ) -> str | None:
        """Wait for the end of a task; or say why it is not worth it."""
        size = image.size()
        done = 0.0
        problem = ""
        pause = _SHORTEST_LOOK
        moved = time.monotonic()
        while True:
            try:
                now = cluster.task_progress(task)
            except exceptions.RbdStoreError as error:
                # The manager may have died; the next one goes on with its tasks, and until it has
                # loaded its modules it knows of no such command.
                problem = str(error)
            else:
                if now is None:
                    return None
                problem = ""
                if now != done:
                    done, moved = now, time.monotonic()
            if progress is not None:
                progress(int(done * size), size)
            if time.monotonic() - moved > self._patience:
                return problem or f"nothing was done of it for {self._patience:g} s"
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_LOOK)


def _cancel(cluster: Cluster, task: str) -> exceptions.RbdStoreError | None:
    """Cancel a task; why that failed, if it did."""
    try:
        cluster.cancel_task(task)
    except exceptions.RbdStoreError as error:
        return error
    return None


def _has_parent(pool: Pool, image_id: str) -> bool:
    with pool.open(image_id=image_id) as image:
        return image.parent() is not None
