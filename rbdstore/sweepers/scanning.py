# SPDX-License-Identifier: Apache-2.0
"""A scan: what a pool holds at one time, as far as it may have been left.

The order is what tells the living from the dead. Whoever makes something notes it in a journal
first, under a lease. So images and snaps are looked at before the leases are: what was seen then,
and stands in no journal of a living one after, is nobody's, or is finished. What is finished is
seen to be so when it is about to be taken back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Set
from typing import Literal

from rbdstore import exceptions, legible, lineage, parallel, spec
from rbdstore.driver import Child, Image, Inventory, LeaseState, Parent, Pool, Snap, TrashEntry
from rbdstore.names import claims
from rbdstore.settings import Settings

Key = tuple[str, str, str]
"""Pool, namespace and id of an image."""

Link = tuple[str, str]
"""The id of an image, and the name of a snap of it."""

Role = Literal["live", "draft", "deleted", "trash"]


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """A snap, and what was cloned from it.

    :ivar problem: why that could not be found out
    """

    snap: Snap
    children: tuple[Child, ...] = ()
    problem: str = ""
    since: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """An image that was left, or that has snaps which may have been.

    :ivar branches: of a live image, the snaps that are no user's; else all
    :ivar problem: why it cannot be opened
    :ivar denied: why it could not be looked into, if only by this user
    """

    pool: Pool
    role: Role
    name: str
    image_id: str
    branches: tuple[Branch, ...] = ()
    watchers: tuple[str, ...] = ()
    bytes: int | None = None
    since: float | None = None
    entry: TrashEntry | None = None
    problem: str = ""
    denied: str = ""

    @property
    def key(self) -> Key:
        return self.pool.name, self.pool.namespace, self.image_id


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """A lease on a name, held or not, and what is written under it.

    :ivar problem: why that cannot be read
    """

    name: str
    state: LeaseState
    journal: claims.Journal | None = None
    problem: str = ""


class Scan:
    """One pass over a pool.

    :ivar names: of all its images
    :ivar unopened: those of them that cannot be opened
    :ivar nodes: the images of interest
    :ivar inventory: what else there is; nothing where the driver cannot tell
    :ivar work: who is, or was, at work
    """

    def __init__(self, pool: Pool, settings: Settings, *, older_than: float = 0) -> None:
        self.pool = pool
        self.settings = settings
        self._older_than = older_than
        self.unopened: list[str] = []
        self.names = pool.list_images()
        trash = pool.trash_list()
        found = parallel.each(self._look_at, self.names)
        found += parallel.each(self._look_in_trash, trash)
        self.nodes = [node for node in found if node is not None]
        self._listed = {
            node.image_id: {key_of(child) for branch in node.branches for child in branch.children}
            for node in self.nodes
        }
        self.can_list = True
        try:
            self.inventory = pool.inventory(spec.RESERVED_PREFIX)
        except exceptions.NotSupported:
            self.inventory, self.can_list = Inventory(), False
        self.work = [work for work in parallel.each(self._read, self._leases()) if work]

    def too_young(self, since: float | None) -> str:
        """Why something is not old enough to be touched; empty: it is."""
        if self._older_than <= 0:
            return ""
        if since is None:
            return "how old it is, is not known"
        age = time.time() - since
        return "" if age >= self._older_than else f"it is only {max(0, age):.0f} s old"

    def too_early(self, entry: TrashEntry) -> str:
        """Why something may not leave the trash yet; empty: it may."""
        late = entry.kept_until <= time.time()
        return "" if late else legible.kept_until(entry.kept_until)

    def listed(self, image_id: str) -> Set[Key]:
        """The clones that an image of interest listed itself."""
        return self._listed.get(image_id, frozenset())

    # Who is at work

    def is_held(self, name: str) -> LeaseState | None:
        """Who holds the lease on a name at this moment."""
        state = self.pool.lease_state(spec.lease_object(name))
        return state if state is not None and state.held else None

    @functools.cached_property
    def living(self) -> list[Work]:
        """Those who are at work."""
        return [work for work in self.work if work.state.held]

    @functools.cached_property
    def links_at_work(self) -> set[Link]:
        """The snaps that somebody is making, or cloning from."""
        return {
            (parent.image_id, parent.snap)
            for work in self.living
            if work.journal
            for parent in work.journal.parents
        }

    def _leases(self) -> list[str]:
        prefix = spec.LEASE_PREFIX
        keys = (key for key in self.inventory.objects if key.startswith(prefix))
        names = (key.removeprefix(prefix) for key in keys)
        return [name for name in names if name != spec.GC_LEASE]

    def _read(self, name: str) -> Work | None:
        key = spec.lease_object(name)
        # In this order: who was at it when the journal was read, and is not after, was done.
        written = self.pool.read_object(key)
        state = self.pool.lease_state(key)
        if state is None:
            return None
        if not written:
            return Work(name, state)
        try:
            return Work(name, state, claims.Journal.from_bytes(written))
        except ValueError as error:
            return Work(name, state, problem=str(error))

    # What needs what

    @property
    def has_looked_around(self) -> bool:
        """Whether it had to be known what needs what."""
        return "_headers" in self.__dict__

    @functools.cached_property
    def blind(self) -> dict[str, str]:
        """The pools, and images, that could not be looked into, and why."""
        return self._headers[1]

    @functools.cached_property
    def needed_by(self) -> dict[Link, set[Key]]:
        """What has a snap for its parent, by the headers of all images of all pools.

        An image's own list of its children does not tell of one whose flatten was killed.
        """
        return self._headers[0]

    @functools.cached_property
    def _headers(self) -> tuple[dict[Link, set[Key]], dict[str, str]]:
        wanted = {node.image_id for node in self.nodes}
        needed: dict[Link, set[Key]] = {}
        blind: dict[str, str] = {}
        for pool, problem in self.pools():
            if pool is None:
                blind.update(problem)
                continue
            try:
                images = [(name, "") for name in pool.list_images()]
                images += [("", entry.image_id) for entry in pool.trash_list()]
                look = functools.partial(_links, pool)
                for key, links, problem in parallel.each(look, images):
                    blind.update(problem)
                    for link in links:
                        if link.image_id in wanted:
                            needed.setdefault((link.image_id, link.snap), set()).add(key)
            except exceptions.RbdStoreError as error:
                blind[pool.name] = why_not(error)
        return needed, blind

    def pools(self) -> Iterator[tuple[Pool | None, dict[str, str]]]:
        """Every namespace of every pool; None: it may not be looked into, and why."""
        cluster = self.pool.cluster
        for name in cluster.list_pools():
            try:
                for namespace in ["", *cluster.list_namespaces(name)]:
                    yield cluster.open_pool(name, namespace), {}
            except exceptions.NotFound:
                continue
            except exceptions.RbdStoreError as error:
                yield None, {name: why_not(error)}

    # Images

    def _look_at(self, name: str) -> Node | None:
        role: Role = "live"
        if spec.made_as(name) != name:
            role = "draft"
        elif spec.is_deleted(name):
            role = "deleted"
        else:
            image_id = self.pool.id_of(name)
            # Of most images this is all that is asked for.
            if image_id is not None and not self.pool.has_snaps(image_id):
                return None
        try:
            with self.pool.open(name) as image:
                return _node(image, role)
        except exceptions.ImageNotFound:
            self.unopened.append(name)
            return None
        except exceptions.RbdStoreError as error:
            # Its parent is in another pool, for one.
            why = why_not(error)
            return Node(self.pool, role, name, self.pool.id_of(name) or "", denied=why)

    def _look_in_trash(self, entry: TrashEntry) -> Node | None:
        try:
            with self.pool.open(image_id=entry.image_id) as image:
                return _node(image, "trash", entry)
        except exceptions.ImageNotFound:
            return Node(
                self.pool,
                "trash",
                entry.name,
                entry.image_id,
                since=entry.kept_until,
                entry=entry,
                problem="it cannot be opened: half removed, or without its parent",
            )
        except exceptions.RbdStoreError as error:
            why, name, image_id = why_not(error), entry.name, entry.image_id
            return Node(self.pool, "trash", name, image_id, entry=entry, denied=why)


def key_of(child: Child) -> Key:
    return child.pool, child.namespace, child.image_id


def why_not(error: exceptions.RbdStoreError) -> str:
    """What went wrong with one thing, so that the others are looked at all the same.

    :raises Unreachable, Timeout: it is not about that one
    """
    if isinstance(error, exceptions.Unreachable | exceptions.Timeout):
        raise error
    return str(error)


def _node(image: Image, role: Role, entry: TrashEntry | None = None) -> Node | None:
    snaps = image.snaps()
    if role == "live":
        snaps = [snap for snap in snaps if snap.trashed or spec.is_reserved_snap(snap.name)]
        if not snaps:
            return None
    branches = tuple(_branches(image, snaps))
    return Node(
        image.pool,
        role,
        image.name if entry is None else entry.name,
        image.id,
        branches,
        # After the snaps: who makes one has the image open from before until it has clones.
        tuple(image.watchers()),
        None if role == "live" else _used(image),
        entry.kept_until if entry is not None else _latest(image, branches),
        entry,
    )


def _branches(image: Image, snaps: list[Snap]) -> Iterator[Branch]:
    for snap in snaps:
        # It may have been removed since it was listed.
        with contextlib.suppress(exceptions.SnapshotNotFound):
            since = image.created(snap.id)
            try:
                yield Branch(snap, tuple(image.children(snap.id)), since=since)
            except exceptions.PermissionDenied as error:
                yield Branch(snap, problem=str(error), since=since)


def _latest(image: Image, branches: tuple[Branch, ...]) -> float | None:
    times = [image.created(), *(branch.since for branch in branches)]
    return max((each for each in times if each is not None), default=None)


def _used(image: Image) -> int | None:
    if not image.fast_diff():
        return None
    found = image.extents(0, image.size(), include_parent=False, whole_object=True)
    return sum(extent.length for extent in found if extent.exists)


def _links(pool: Pool, which: tuple[str, str]) -> tuple[Key, list[Parent], dict[str, str]]:
    """An image, what it needs, and why that could not be found out."""
    name, image_id = which
    problem = {}
    try:
        with pool.open(name) if name else pool.open(image_id=image_id) as image:
            return (pool.name, pool.namespace, image.id), lineage.parents(image), {}
    except exceptions.ImageNotFound:
        # One that cannot be opened has lost its parent, or never had one.
        pass
    except exceptions.RbdStoreError as error:
        problem = {str(pool.spec(name or f"<{image_id}>")): why_not(error)}
    return (pool.name, pool.namespace, image_id), [], problem
