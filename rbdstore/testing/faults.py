# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: what becomes of an operation that is cut off at its n-th call of the driver?

A wrapper of the seam (:mod:`rbdstore.driver`) that works with every driver. It counts the calls
that go through a cluster, its pools and its images, and at the one that a :class:`Plan` names it
fails, waits, or kills the process. For whoever tests a service, an adapter or a driver::

    plan = faults.Plan()
    store = Store(faults.FaultyCluster(cluster, plan), Settings(pool="volumes"))
    plan.watch()
    store.volumes.create("volume-0", units.Gi)
    for n in range(1, len(plan.stop()) + 1):
        plan.fail(n, exceptions.Timeout("injected"), after=True)
        with contextlib.suppress(exceptions.Timeout):
            store.volumes.create(f"volume-{n}", units.Gi)
        plan.stop()
        ...  # what is there now? can it be repeated? is nothing left once it is deleted?

``close`` is not counted: by its contract it tells of no failure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import time
import typing
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

from rbdstore import driver, threads
from rbdstore.spec import ImageSpec

T = typing.TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class _Fault:
    at: int
    happen: Callable[[], object]
    after: bool = False
    lasting: bool = False


class Plan:
    """Counts the calls of the driver, and says at which of them what goes wrong.

    A plan has one fault at most, and :meth:`stop` ends it. The methods that plan one count from
    the next call, as 1. Calls of all threads count, those of the one that renews leases too.
    """

    def __init__(self) -> None:
        self._lock = threads.threading.Lock()
        self._calls: list[str] = []
        self._fault: _Fault | None = None

    def watch(self) -> None:
        """Count from here, and let nothing go wrong."""
        self._begin(None)

    def fail(
        self, n: int, error: BaseException, *, after: bool = False, lasting: bool = False
    ) -> None:
        """Raise ``error`` at the ``n``-th call; with ``lasting`` at all that follow, too.

        It is raised instead of the call or, with ``after``, once the call is done. The latter is
        what a timeout can be: it was done, and nobody was told.
        """

        def fail() -> None:
            raise error

        self._begin(_Fault(n, fail, after, lasting))

    def delay(self, n: int, seconds: float) -> None:
        """Wait before the ``n``-th call."""
        self._begin(_Fault(n, lambda: time.sleep(seconds)))

    def kill(self, n: int, *, later: float = 0.0) -> None:
        """End the process at the ``n``-th call, as SIGKILL does: nothing is cleaned up.

        :param later: how many seconds into the call; 0: before it
        """

        kill = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
        timer = threads.threading.Timer(later, kill)
        self._begin(_Fault(n, timer.start if later else kill))

    def stop(self) -> tuple[str, ...]:
        """Let nothing more go wrong, and count anew.

        :return: the calls that were begun since counting began, such as ``Pool.rename``
        """
        return self._begin(None)

    def _begin(self, fault: _Fault | None) -> tuple[str, ...]:
        with self._lock:
            calls, self._calls = self._calls, []
            self._fault = fault
        return tuple(calls)

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Surround a call of the driver."""
        with self._lock:
            self._calls.append(name)
            fault, count = self._fault, len(self._calls)
        if fault is None or not (count == fault.at or (fault.lasting and count > fault.at)):
            yield
        elif fault.after:
            yield
            fault.happen()
        else:
            fault.happen()
            yield


class FaultyCluster(driver.Cluster):
    """A cluster whose calls, and those of its pools and images, a plan counts and may cut off."""

    def __init__(self, cluster: driver.Cluster, plan: Plan) -> None:
        """Wrap ``cluster``, which is closed with this one."""
        self.plan = plan
        self._cluster = cluster

    @property
    def clone_format(self) -> int:
        with self.plan.call("Cluster.clone_format"):
            return self._cluster.clone_format

    @property
    def fsid(self) -> str:
        with self.plan.call("Cluster.fsid"):
            return self._cluster.fsid

    def open_pool(self, name: str, namespace: str = "") -> FaultyPool:
        with contextlib.ExitStack() as failed:
            with self.plan.call("Cluster.open_pool"):
                pool = self._cluster.open_pool(name, namespace)
                # Whoever is told that it failed gets nothing to close.
                failed.callback(pool.close)
            failed.pop_all()
        return FaultyPool(self, pool)

    def list_pools(self) -> list[str]:
        with self.plan.call("Cluster.list_pools"):
            return self._cluster.list_pools()

    def list_namespaces(self, pool: str) -> list[str]:
        with self.plan.call("Cluster.list_namespaces"):
            return self._cluster.list_namespaces(pool)

    def close(self) -> None:
        self._cluster.close()

    def monitors(self) -> list[tuple[str, int]]:
        with self.plan.call("Cluster.monitors"):
            return self._cluster.monitors()

    def access(self) -> driver.Access:
        with self.plan.call("Cluster.access"):
            return self._cluster.access()

    def flatten_in_background(self, spec: ImageSpec) -> str:
        with self.plan.call("Cluster.flatten_in_background"):
            return self._cluster.flatten_in_background(spec)

    def task_progress(self, task_id: str) -> float | None:
        with self.plan.call("Cluster.task_progress"):
            return self._cluster.task_progress(task_id)

    def cancel_task(self, task_id: str) -> None:
        with self.plan.call("Cluster.cancel_task"):
            self._cluster.cancel_task(task_id)


class FaultyPool(driver.Pool):
    """A pool of a :class:`FaultyCluster`."""

    cluster: FaultyCluster

    def __init__(self, cluster: FaultyCluster, pool: driver.Pool) -> None:
        self.cluster = cluster
        self.name = pool.name
        self.namespace = pool.namespace
        self._plan = cluster.plan
        self._pool = pool

    def stats(self) -> driver.PoolStats:
        with self._plan.call("Pool.stats"):
            return self._pool.stats()

    def list_images(self) -> list[str]:
        with self._plan.call("Pool.list_images"):
            return self._pool.list_images()

    def create(self, name: str, size: int, *, order: int | None = None) -> None:
        with self._plan.call("Pool.create"):
            self._pool.create(name, size, order=order)

    def clone(self, parent: driver.Pool, image: str, snap: str, name: str) -> None:
        # A driver knows its own pools only.
        theirs = parent._pool if isinstance(parent, FaultyPool) else parent
        with self._plan.call("Pool.clone"):
            self._pool.clone(theirs, image, snap, name)

    def open(
        self, name: str | None = None, *, image_id: str | None = None, read_only: bool = True
    ) -> FaultyImage:
        with contextlib.ExitStack() as failed:
            with self._plan.call("Pool.open"):
                image = self._pool.open(name, image_id=image_id, read_only=read_only)
                failed.callback(image.close)
            failed.pop_all()
        return FaultyImage(self, image)

    def id_of(self, name: str) -> str | None:
        with self._plan.call("Pool.id_of"):
            return self._pool.id_of(name)

    def has_image(self, image_id: str) -> bool:
        with self._plan.call("Pool.has_image"):
            return self._pool.has_image(image_id)

    def has_snaps(self, image_id: str) -> bool:
        with self._plan.call("Pool.has_snaps"):
            return self._pool.has_snaps(image_id)

    def clear_debris(self, name: str) -> bool:
        with self._plan.call("Pool.clear_debris"):
            return self._pool.clear_debris(name)

    def is_debris(self, name: str) -> bool:
        with self._plan.call("Pool.is_debris"):
            return self._pool.is_debris(name)

    def named_at(self, name: str) -> float | None:
        with self._plan.call("Pool.named_at"):
            return self._pool.named_at(name)

    def inventory(self, prefix: str) -> driver.Inventory:
        with self._plan.call("Pool.inventory"):
            return self._pool.inventory(prefix)

    def clear_stray(self, stray: driver.Stray) -> bool:
        with self._plan.call("Pool.clear_stray"):
            return self._pool.clear_stray(stray)

    def rename(self, name: str, new_name: str) -> None:
        with self._plan.call("Pool.rename"):
            self._pool.rename(name, new_name)

    def remove(self, name: str, *, progress: driver.Progress | None = None) -> None:
        with self._plan.call("Pool.remove"):
            self._pool.remove(name, progress=progress)

    def blockdev(self, name: str) -> dict[str, str]:
        with self._plan.call("Pool.blockdev"):
            return self._pool.blockdev(name)

    def torn(self, image_ids: Container[str] | None = None) -> list[driver.Torn]:
        with self._plan.call("Pool.torn"):
            return self._pool.torn(image_ids)

    def let_go(self, image_id: str) -> None:
        with self._plan.call("Pool.let_go"):
            self._pool.let_go(image_id)

    def reserve_snap(self) -> driver.Completion[driver.ReservedSnap | None]:
        with self._plan.call("Pool.reserve_snap"):
            return self._pool.reserve_snap()

    def trash_move(self, name: str, *, delay: int = 0) -> None:
        with self._plan.call("Pool.trash_move"):
            self._pool.trash_move(name, delay=delay)

    def trash_list(self) -> list[driver.TrashEntry]:
        with self._plan.call("Pool.trash_list"):
            return self._pool.trash_list()

    def trash_get(self, image_id: str) -> driver.TrashEntry | None:
        with self._plan.call("Pool.trash_get"):
            return self._pool.trash_get(image_id)

    def trash_restore(self, image_id: str, name: str) -> None:
        with self._plan.call("Pool.trash_restore"):
            self._pool.trash_restore(image_id, name)

    def trash_remove(self, image_id: str, *, progress: driver.Progress | None = None) -> None:
        with self._plan.call("Pool.trash_remove"):
            self._pool.trash_remove(image_id, progress=progress)

    def lease(
        self, key: str, cookie: str, seconds: float, owner: str, *, renew: bool = False
    ) -> bool:
        with self._plan.call("Pool.lease"):
            return self._pool.lease(key, cookie, seconds, owner, renew=renew)

    def lease_owner(self, key: str) -> str | None:
        with self._plan.call("Pool.lease_owner"):
            return self._pool.lease_owner(key)

    def lease_state(self, key: str) -> driver.LeaseState | None:
        with self._plan.call("Pool.lease_state"):
            return self._pool.lease_state(key)

    def write_leased(self, key: str, cookie: str, data: bytes) -> None:
        with self._plan.call("Pool.write_leased"):
            self._pool.write_leased(key, cookie, data)

    def remove_leased(self, key: str, cookie: str) -> None:
        with self._plan.call("Pool.remove_leased"):
            self._pool.remove_leased(key, cookie)

    def read_object(self, key: str) -> bytes:
        with self._plan.call("Pool.read_object"):
            return self._pool.read_object(key)

    def remove_object(self, key: str) -> None:
        with self._plan.call("Pool.remove_object"):
            self._pool.remove_object(key)

    def set_keys(self, key: str, entries: Mapping[str, bytes]) -> None:
        with self._plan.call("Pool.set_keys"):
            self._pool.set_keys(key, entries)

    def get_keys(self, key: str) -> dict[str, bytes]:
        with self._plan.call("Pool.get_keys"):
            return self._pool.get_keys(key)

    def get_key(self, key: str, name: str) -> bytes | None:
        with self._plan.call("Pool.get_key"):
            return self._pool.get_key(key, name)

    def remove_keys(self, key: str, names: Sequence[str]) -> None:
        with self._plan.call("Pool.remove_keys"):
            self._pool.remove_keys(key, names)

    def close(self) -> None:
        self._pool.close()


class _Begun(driver.Completion[T]):
    """An operation that was begun, or cut off: then its result is the error, as on a network."""

    def __init__(
        self,
        plan: Plan,
        name: str,
        begin: Callable[[Callable[[], object] | None], driver.Completion[T]],
        done: Callable[[], object] | None = None,
    ) -> None:
        self._completion: driver.Completion[T] | None = None
        self._error: BaseException | None = None
        try:
            with plan.call(name):
                self._completion = begin(done)
        except BaseException as error:
            self._error = error
            if self._completion is None and done is not None:
                done()

    def wait(self) -> None:
        if self._completion is not None:
            self._completion.wait()

    def result(self) -> T:
        self.wait()
        if self._error is not None:
            raise self._error
        # One of the two is there.
        return typing.cast(driver.Completion[T], self._completion).result()


class FaultyImage(driver.Image):
    """An image of a :class:`FaultyPool`."""

    pool: FaultyPool

    def __init__(self, pool: FaultyPool, image: driver.Image) -> None:
        self.pool = pool
        self.name = image.name
        self.id = image.id
        self.read_only = image.read_only
        self._plan = pool.cluster.plan
        self._image = image

    def close(self) -> None:
        self._image.close()

    def size(self) -> int:
        with self._plan.call("Image.size"):
            return self._image.size()

    @property
    def object_size(self) -> int:
        with self._plan.call("Image.object_size"):
            return self._image.object_size

    def features(self) -> frozenset[str]:
        with self._plan.call("Image.features"):
            return self._image.features()

    def read(self, offset: int, length: int) -> bytes:
        with self._plan.call("Image.read"):
            return self._image.read(offset, length)

    def write(self, offset: int, data: bytes | bytearray) -> None:
        with self._plan.call("Image.write"):
            self._image.write(offset, data)

    def aio_read(self, offset: int, length: int) -> driver.Completion[bytes]:
        return _Begun(
            self._plan, "Image.aio_read", lambda done: self._image.aio_read(offset, length)
        )

    def aio_write(
        self, offset: int, data: bytes | bytearray, done: Callable[[], object] | None = None
    ) -> driver.Completion[None]:
        return _Begun(
            self._plan,
            "Image.aio_write",
            lambda done: self._image.aio_write(offset, data, done),
            done,
        )

    def discard(self, offset: int, length: int) -> None:
        with self._plan.call("Image.discard"):
            self._image.discard(offset, length)

    def flush(self) -> None:
        with self._plan.call("Image.flush"):
            self._image.flush()

    def resize(self, size: int, *, allow_shrink: bool = False) -> None:
        with self._plan.call("Image.resize"):
            self._image.resize(size, allow_shrink=allow_shrink)

    def extents(
        self,
        offset: int,
        length: int,
        *,
        from_snap: str | None = None,
        include_parent: bool = True,
        whole_object: bool = False,
    ) -> Iterator[driver.Extent]:
        with self._plan.call("Image.extents"):
            yield from self._image.extents(
                offset,
                length,
                from_snap=from_snap,
                include_parent=include_parent,
                whole_object=whole_object,
            )

    def created(self, snap_id: int | None = None) -> float | None:
        with self._plan.call("Image.created"):
            return self._image.created(snap_id)

    def fast_diff(self) -> bool:
        with self._plan.call("Image.fast_diff"):
            return self._image.fast_diff()

    def flatten(self, *, progress: driver.Progress | None = None) -> None:
        with self._plan.call("Image.flatten"):
            self._image.flatten(progress=progress)

    def parent(self) -> driver.Parent | None:
        with self._plan.call("Image.parent"):
            return self._image.parent()

    def set_snap(self, snap_id: int | None) -> None:
        with self._plan.call("Image.set_snap"):
            self._image.set_snap(snap_id)

    def children(self, snap_id: int) -> list[driver.Child]:
        with self._plan.call("Image.children"):
            return self._image.children(snap_id)

    def has_children(self, snap_id: int) -> bool:
        with self._plan.call("Image.has_children"):
            return self._image.has_children(snap_id)

    def snaps(self) -> list[driver.Snap]:
        with self._plan.call("Image.snaps"):
            return self._image.snaps()

    def still_has(self, snap_id: int) -> bool:
        with self._plan.call("Image.still_has"):
            return self._image.still_has(snap_id)

    def create_snap(self, name: str) -> None:
        with self._plan.call("Image.create_snap"):
            self._image.create_snap(name)

    def create_reserved_snap(self, name: str, reserved: driver.ReservedSnap | None) -> None:
        # Another way to do the same.
        with self._plan.call("Image.create_snap"):
            self._image.create_reserved_snap(name, reserved)

    def rename_snap(self, name: str, new_name: str) -> None:
        with self._plan.call("Image.rename_snap"):
            self._image.rename_snap(name, new_name)

    def remove_snap(self, snap_id: int) -> None:
        with self._plan.call("Image.remove_snap"):
            self._image.remove_snap(snap_id)

    def protect_snap(self, name: str) -> None:
        with self._plan.call("Image.protect_snap"):
            self._image.protect_snap(name)

    def unprotect_snap(self, name: str) -> None:
        with self._plan.call("Image.unprotect_snap"):
            self._image.unprotect_snap(name)

    def rollback(self, snap: str, *, progress: driver.Progress | None = None) -> None:
        with self._plan.call("Image.rollback"):
            self._image.rollback(snap, progress=progress)

    def watchers(self) -> list[str]:
        with self._plan.call("Image.watchers"):
            return self._image.watchers()

    def lock(self) -> None:
        with self._plan.call("Image.lock"):
            self._image.lock()

    def fence(self) -> list[str]:
        with self._plan.call("Image.fence"):
            return self._image.fence()

    def set_features(self, names: Iterable[str], *, enabled: bool) -> None:
        with self._plan.call("Image.set_features"):
            self._image.set_features(names, enabled=enabled)

    def config(self) -> dict[str, str]:
        with self._plan.call("Image.config"):
            return self._image.config()

    def set_config(self, key: str, value: str | None) -> None:
        with self._plan.call("Image.set_config"):
            self._image.set_config(key, value)

    def set_metadata(self, key: str, value: str) -> None:
        with self._plan.call("Image.set_metadata"):
            self._image.set_metadata(key, value)

    def metadata(self) -> dict[str, str]:
        with self._plan.call("Image.metadata"):
            return self._image.metadata()
