# SPDX-License-Identifier: Apache-2.0
"""A pool, or a namespace of one."""

from __future__ import annotations

import contextlib
import errno
import json
import time
import typing
from collections.abc import Callable, Container, Iterator, Mapping, Sequence

import rados
import rbd

from rbdstore import caps, driver, exceptions
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import (
    clones,
    errors,
    full,
    headers,
    inventory,
    lease,
    links,
    objects,
    remains,
    renaming,
    reserving,
    torn,
)
from rbdstore.drivers.rbd.image import RbdImage
from rbdstore.drivers.rbd.options import DEFAULT_ORDER, check_size
from rbdstore.drivers.rbd.progress import reported

if typing.TYPE_CHECKING:
    from rbdstore.drivers.rbd.cluster import RbdCluster


class RbdPool(driver.Pool):
    """Outlives the connection: each call takes the one that the cluster has then."""

    cluster: RbdCluster

    def __init__(self, cluster: RbdCluster, name: str, namespace: str = "") -> None:
        self.cluster = cluster
        self.name = name
        self.namespace = namespace
        with cluster.calls(missing=exceptions.PoolNotFound, pool=name, reads=True) as connection:
            ioctx = self.ioctx_of(connection, look=True)
            if namespace and not rbd.RBD().namespace_exists(ioctx, namespace):
                raise exceptions.PoolNotFound(
                    f"pool {name} has no namespace {namespace!r}: name another one by the option "
                    f"{cluster.options.where('rbd_namespace')}, or create it with `rbd namespace "
                    f"create {name}/{namespace}`"
                )

    @contextlib.contextmanager
    def _ioctx(
        self,
        image: str | None = None,
        snap: str | None = None,
        *,
        missing: type[exceptions.NotFound] = exceptions.ImageNotFound,
        reads: bool = False,
    ) -> Iterator[rados.Ioctx]:
        """Give the pool's handle for one call, whose errors come out translated."""
        spec = None if image is None else self.spec(image, snap)
        with self.cluster.calls(spec, missing=missing, pool=self.name, reads=reads) as connection:
            yield self.ioctx_of(connection)

    def ioctx_of(self, connection: clients.Connection, *, look: bool = False) -> rados.Ioctx:
        """The pool's handle in a connection, which may be another cluster object's."""
        ioctx = connection.ioctx(self.name, self.namespace, look=look)
        if ioctx is None:
            raise exceptions.PoolNotFound(self._no_pool(connection))
        return ioctx

    def same_cluster(self, pool: driver.Pool) -> RbdPool:
        """Return ``pool`` if librbd can work on it and on this one in one call.

        :raises NotCloneable: it is in another cluster
        """
        if not isinstance(pool, RbdPool) or pool.cluster.fsid != self.cluster.fsid:
            raise exceptions.NotCloneable(
                f"pool {pool.name} is in another cluster than {self.name}"
            )
        return pool

    def _no_pool(self, connection: clients.Connection) -> str:
        option = self.cluster.options.where("rbd_pool")
        pools = ", ".join(connection.rados.list_pools())
        return (
            f"there is no pool {self.name!r}; there are: {pools}. Name one of them by the option "
            f"{option}, or create it with `ceph osd pool create {self.name}` and `rbd pool init "
            f"{self.name}`"
        )

    # Images

    def stats(self) -> driver.PoolStats:
        data_pool = self.cluster.options.data_pool or self.name
        with (
            self._ioctx(reads=True) as ioctx,
            self.cluster.calls(pool=data_pool, reads=True) as connection,
        ):
            images = rbd.RBD().pool_stats_get(ioctx)
            pools = json.loads(connection.monitor_command("df"))["pools"]
            quota = json.loads(connection.monitor_command("osd pool get-quota", pool=data_pool))
        found = [pool["stats"] for pool in pools if pool["name"] == data_pool]
        if not found:
            raise exceptions.PoolNotFound(f"the cluster has no figures for pool {data_pool!r}")
        used, free = int(found[0]["stored"]), int(found[0]["max_avail"])
        total = used + free
        if quota["quota_max_bytes"]:
            total = min(total, int(quota["quota_max_bytes"]))
            free = max(0, total - used)
        return driver.PoolStats(
            total=total,
            free=free,
            used=used,
            provisioned=images["image_provisioned_bytes"],
            images=images["image_count"],
            snapshots=images["image_snap_count"],
        )

    def list_images(self) -> list[str]:
        with self._ioctx(reads=True) as ioctx:
            return list(rbd.RBD().list(ioctx))

    def create(self, name: str, size: int, *, order: int | None = None) -> None:
        options = self.cluster.options
        check_size(size, 1 << (order or options.order or DEFAULT_ORDER), self.spec(name))
        with self._ioctx(name, missing=exceptions.PoolNotFound) as ioctx:
            rbd.RBD().create(
                ioctx,
                name,
                size,
                order=order or options.order,
                features=options.features,
                data_pool=options.data_pool,
            )

    def clone(self, parent: driver.Pool, image: str, snap: str, name: str) -> None:
        options = self.cluster.options
        source = parent.spec(image, snap)
        parent_pool = self.same_cluster(parent)
        with self.cluster.calls(self.spec(name), pool=self.name) as connection:
            try:
                rbd.RBD().clone(
                    parent_pool.ioctx_of(connection),
                    image,
                    snap,
                    self.ioctx_of(connection),
                    name,
                    # No order: librbd takes the parent's, and refuses a smaller one.
                    features=options.features,
                    data_pool=options.data_pool,
                )
            except rbd.ImageNotFound as exc:
                raise exceptions.SnapshotNotFound(
                    "no such image or snapshot", spec=source
                ) from exc
            except rbd.PermissionError as exc:
                if parent.name == self.name:
                    raise
                # Who makes something here has a lease here: it is the parent's list of clones.
                user, cap = self.cluster.options.client.user, caps.reading(parent.name)
                raise errors.denied(user, source, parent.name, cap) from exc
            except rbd.InvalidArgument as exc:
                raise exceptions.NotCloneable(
                    "its snapshot is not protected, as clone format 1 wants it, or it lacks the "
                    f"feature layering ({exc})",
                    spec=source,
                ) from exc

    def open(
        self, name: str | None = None, *, image_id: str | None = None, read_only: bool = True
    ) -> RbdImage:
        if (name is None) == (image_id is None):
            raise exceptions.InvalidInput("an image is opened by its name or by its id")
        known_as = name if name is not None else f"<{image_id}>"
        with self.cluster.calls(self.spec(known_as), reads=read_only) as connection:
            ioctx = self.ioctx_of(connection)
            try:
                handle = rbd.Image(ioctx, name=name, read_only=read_only, image_id=image_id)
            except rbd.PermissionError as exc:
                # Not in this pool, if it may be read: in that of a parent, which is opened too.
                image_id = image_id or remains.id_object(ioctx, known_as)
                pool = clones.hidden_parent(connection, ioctx, image_id or "")
                if pool is None:
                    raise
                user = self.cluster.options.client.user
                raise errors.denied(user, self.spec(known_as), pool, caps.reading(pool)) from exc
            return RbdImage(self, self.cluster.client, connection, handle, read_only=read_only)

    def id_of(self, name: str) -> str | None:
        with self._ioctx(name, reads=True) as ioctx:
            return remains.image_of(ioctx, name)

    def has_image(self, image_id: str) -> bool:
        with self._ioctx(f"<{image_id}>", reads=True) as ioctx:
            return remains.has_header(ioctx, image_id)

    def has_snaps(self, image_id: str) -> bool:
        with self._ioctx(f"<{image_id}>", reads=True) as ioctx:
            try:
                return bool(headers.snap_ids(ioctx, image_id))
            except rados.ObjectNotFound:
                return False

    def is_debris(self, name: str) -> bool:
        with self._ioctx(name, reads=True) as ioctx:
            return remains.find(ioctx, name) is not None

    def named_at(self, name: str) -> float | None:
        with self._ioctx(name, reads=True) as ioctx:
            return remains.named_at(ioctx, name)

    def clear_debris(self, name: str) -> bool:
        with self._ioctx(name) as ioctx:
            found = remains.find(ioctx, name)
            if found is None:
                # Not looked for twice: all of the trash is read for it.
                return False
            if found.kind != "removing":
                return remains.clear(ioctx, name)
            with contextlib.suppress(rbd.ImageNotFound):
                try:
                    rbd.RBD().remove(ioctx, name)
                except (rbd.ImageBusy, rbd.ImageHasSnapshots) as exc:
                    raise exceptions.InUse(
                        "it is being removed by somebody else", spec=self.spec(name)
                    ) from exc
            return True

    def rename(self, name: str, new_name: str) -> None:
        with self._ioctx(name) as ioctx:
            if renaming.rename(ioctx, name, new_name):
                return
            # A renaming that was killed half-way leaves the image under both names. What another
            # one has under the new name may be at work this moment.
            image_id = remains.id_object(ioctx, name)
            for either in (name, new_name):
                found = remains.find(ioctx, either)
                if found is not None and found.kind == "alias" and found.by_object == image_id:
                    remains.clear(ioctx, either)
                    if either == name:
                        return
            try:
                rbd.RBD().rename(ioctx, name, new_name)
            except rbd.ImageExists as exc:
                raise exceptions.Duplicate("the name is taken", spec=self.spec(new_name)) from exc

    def remove(self, name: str, *, progress: driver.Progress | None = None) -> None:
        with self._ioctx(name) as ioctx:
            if remains.clear(ioctx, name):
                return
            self._settle(ioctx, name)
            with reported(progress) as on_progress:
                try:
                    full.with_trash(
                        ioctx, lambda: rbd.RBD().remove(ioctx, name, on_progress=on_progress)
                    )
                except (rbd.ImageBusy, rbd.ImageHasSnapshots) as exc:
                    raise self._in_use(name=name) from exc

    def _settle(self, ioctx: rados.Ioctx, name: str) -> None:
        """Finish a killed restoration: librbd would lose the image in its next step."""
        image_id = remains.half_restored(ioctx, name)
        if image_id is not None:
            rbd.RBD().trash_restore(ioctx, image_id, name)

    def _in_use(self, name: str | None = None, image_id: str | None = None) -> exceptions.InUse:
        spec = self.spec(name or f"<{image_id}>")
        snaps: list[str] = []
        watchers: list[str] = []
        # For the text only: whatever goes wrong here must not hide that it is in use.
        with (
            contextlib.suppress(exceptions.RbdStoreError),
            self.open(name, image_id=image_id) as image,
        ):
            spec = image.spec
            watchers = image.watchers()
            snaps = [snap.name for snap in image.snaps()]
        message = "in use" if snaps or watchers else "in use, or another operation is on it"
        return exceptions.InUse(message, spec=spec, snapshots=snaps, watchers=watchers)

    def torn(self, image_ids: Container[str] | None = None) -> list[driver.Torn]:
        with self.cluster.calls(pool=self.name) as connection:
            scan = torn.Scan(connection, self.ioctx_of(connection), self.name, self.namespace)
            return scan.find(image_ids)

    def let_go(self, image_id: str) -> None:
        spec = self.spec(f"<{image_id}>")
        with self.cluster.calls(spec) as connection:
            scan = torn.Scan(connection, self.ioctx_of(connection), self.name, self.namespace)
            found = scan.find({image_id})
            if not found or found[0].state != "orphan":
                raise exceptions.ImageNotFound("its parent is not gone", spec=spec)
            if found[0].needs:
                raise exceptions.ImageNotFound(
                    f"its parent {found[0].parent} is gone, and {found[0].needs}", spec=spec
                )
            links.detach(self.ioctx_of(connection), image_id)

    def reserve_snap(self) -> reserving.Reserving:
        return reserving.Reserving(self)

    def new_snap_id(self) -> driver.ReservedSnap:
        """Have the monitors give out the id of a snap, which images made here can have."""
        data_pool = self.cluster.options.data_pool
        with self.cluster.calls(pool=data_pool or self.name) as connection:
            ioctx = self.ioctx_of(connection)
            if data_pool:
                ioctx = connection.ioctx(data_pool, "") or ioctx
            return driver.ReservedSnap(ioctx.get_pool_id(), ioctx.create_self_managed_snap())

    # Trash

    def blockdev(self, name: str) -> dict[str, str]:
        client = self.cluster.options.client
        options = {"driver": "rbd", "pool": self.name, "image": name}
        if self.namespace:
            options["namespace"] = self.namespace
        return options | {"conf": client.conf, "user": client.user}

    def trash_move(self, name: str, *, delay: int = 0) -> None:
        with self._ioctx(name) as ioctx:
            if remains.clear(ioctx, name):
                return
            self._settle(ioctx, name)
            try:
                full.with_trash(ioctx, lambda: rbd.RBD().trash_move(ioctx, name, delay))
            except rbd.ImageBusy as exc:
                raise self._in_use(name=name) from exc

    def trash_list(self) -> list[driver.TrashEntry]:
        with self._ioctx(reads=True) as ioctx:
            return [
                driver.TrashEntry(image_id, mark.name, mark.kept_until)
                for image_id, mark in remains.trash(ioctx)
            ]

    def trash_get(self, image_id: str) -> driver.TrashEntry | None:
        with self._ioctx(f"<{image_id}>", reads=True) as ioctx:
            mark = remains.trash_mark(ioctx, image_id)
            if mark is None or remains.is_live(ioctx, mark.name, image_id):
                return None
            return driver.TrashEntry(image_id, mark.name, mark.kept_until)

    def trash_restore(self, image_id: str, name: str) -> None:
        with self._ioctx(f"<{image_id}>") as ioctx:
            if remains.half_restored(ioctx, name) != image_id:
                self._finish_trash_move(ioctx, image_id)
            try:
                rbd.RBD().trash_restore(ioctx, image_id, name)
            except rbd.ImageExists as exc:
                raise exceptions.Duplicate("the name is taken", spec=self.spec(name)) from exc

    def trash_remove(self, image_id: str, *, progress: driver.Progress | None = None) -> None:
        spec = self.spec(f"<{image_id}>")
        with self._ioctx(spec.image) as ioctx, reported(progress) as on_progress:
            self._finish_trash_move(ioctx, image_id)
            try:
                rbd.RBD().trash_remove(ioctx, image_id, on_progress=on_progress)
            except rbd.PermissionError as exc:
                raise exceptions.InUse("its time in the trash is not over", spec=spec) from exc
            except (rbd.ImageBusy, rbd.ImageHasSnapshots) as exc:
                raise self._in_use(image_id=image_id) from exc

    def _finish_trash_move(self, ioctx: rados.Ioctx, image_id: str) -> None:
        mark = remains.trash_mark(ioctx, image_id)
        if mark is None:
            return
        if remains.is_live(ioctx, mark.name, image_id):
            raise exceptions.InUse(
                f"it is in the trash, but also live as {mark.name}",
                spec=self.spec(f"<{image_id}>"),
            )
        if mark.half_moved:
            remains.finish_trash_move(ioctx, image_id)

    # Small objects

    def lease(
        self, key: str, cookie: str, seconds: float, owner: str, *, renew: bool = False
    ) -> bool:
        with self._ioctx() as ioctx:
            return lease.take(ioctx, key, cookie, seconds, owner, renew=renew)

    def lease_owner(self, key: str) -> str | None:
        with self._ioctx(reads=True) as ioctx:
            return lease.owner(ioctx, key)

    def lease_state(self, key: str) -> driver.LeaseState | None:
        with self._ioctx() as ioctx:
            return lease.state(ioctx, key)

    def inventory(self, prefix: str) -> driver.Inventory:
        with self._ioctx() as ioctx:
            return inventory.take(ioctx, prefix)

    def clear_stray(self, stray: driver.Stray) -> bool:
        with self._ioctx(f"<{stray.image_id}>") as ioctx:
            return inventory.clear(ioctx, stray)

    def write_leased(self, key: str, cookie: str, data: bytes) -> None:
        self._if_leased(key, cookie, lambda op: op.write_full(data))

    def remove_leased(self, key: str, cookie: str) -> None:
        self._if_leased(key, cookie, lambda op: op.remove())

    def _if_leased(self, key: str, cookie: str, add: Callable[[rados.WriteOp], object]) -> None:
        with self._ioctx() as ioctx, rados.WriteOpCtx() as op:
            lease.check(op, cookie)
            add(op)
            try:
                ioctx.operate_write_op(op, key, int(time.time()), full.PAST_THE_LIMIT)
            except (rados.ObjectBusy, rados.ObjectNotFound) as exc:
                raise exceptions.LeaseLost(
                    f"the lease on {key} in pool {self.name} ran out", errno=errno.EBUSY
                ) from exc

    def read_object(self, key: str) -> bytes:
        with self._ioctx(reads=True) as ioctx:
            return objects.read(ioctx, key)

    def remove_object(self, key: str) -> None:
        with self._ioctx() as ioctx:
            objects.remove(ioctx, key)

    def set_keys(self, key: str, entries: Mapping[str, bytes]) -> None:
        with self._ioctx() as ioctx:
            objects.set_keys(ioctx, key, entries)

    def get_keys(self, key: str) -> dict[str, bytes]:
        with self._ioctx(reads=True) as ioctx:
            return objects.get_keys(ioctx, key)

    def get_key(self, key: str, name: str) -> bytes | None:
        with self._ioctx() as ioctx:
            return objects.get_key(ioctx, key, name)

    def remove_keys(self, key: str, names: Sequence[str]) -> None:
        with self._ioctx() as ioctx:
            objects.remove_keys(ioctx, key, names)

    def close(self) -> None:
        """Nothing to do: the handle is the connection's."""
