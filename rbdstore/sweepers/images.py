# SPDX-License-Identifier: Apache-2.0
"""Images and snaps that are only there for something that has gone.

Drafts of dead makers; deleted volumes that no clone needs any more, under the name that Cinder
gives them, or in the trash; snaps that carried clones and have none. Each may be all that keeps
another: what only the dead need is dead, too, and goes after them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from rbdstore import exceptions, parallel, reclaim, records, spec
from rbdstore.driver import Parent, Snap
from rbdstore.names import claims
from rbdstore.sweepers.findings import Kind
from rbdstore.sweepers.leftovers import Leftover, Sweeper
from rbdstore.sweepers.scanning import Branch, Key, Node, Scan, key_of


class Images(Sweeper):
    def look(self, scan: Scan) -> Iterable[Leftover]:
        return _Judgement(scan).leftovers() if scan.nodes else ()


class _Judgement:
    """Who of the nodes of a scan is dead, and why not the others."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._nodes = {node.key: node for node in scan.nodes}
        # A name wins: what races made live and trashed at once is live.
        self._nodes |= {node.key: node for node in scan.nodes if node.role != "trash"}
        # What the cluster is asked is asked of many at once; what may need all headers is not.
        nodes = self._nodes.values()
        found = parallel.each(self._obstacle, nodes)
        self._why_not = {
            node.key: why
            for node, obstacle in zip(nodes, found, strict=True)
            if (why := obstacle or self._in_use(node))
        }
        self._follow()

    def leftovers(self) -> Iterator[Leftover]:
        blind = {}
        for key, node in self._nodes.items():
            if node.role != "live":
                yield self._of_image(node, self._why_not.get(key, ""))
            elif node.denied:
                blind[str(node.pool.spec(node.name))] = node.denied
            else:
                yield from self._of_snaps(node)
        if self._scan.has_looked_around:
            blind |= self._scan.blind
        for place, problem in blind.items():
            yield Leftover(place, "pool", f"it could not be looked into: {problem}")

    # Who needs whom

    def _half_flattened(self, node: Node, branch: Branch) -> set[Key]:
        """Those that need a snap, though its image does not list them."""
        needed_by = self._scan.needed_by.get((node.image_id, branch.snap.name), set())
        return needed_by - _listed(branch)

    def _living(self, node: Node, branch: Branch) -> list[Key]:
        """Who needs a snap and is not dead. All headers are looked at only if none is listed."""
        return self._alive(_listed(branch)) or self._alive(self._half_flattened(node, branch))

    def _alive(self, keys: set[Key]) -> list[Key]:
        return sorted(key for key in keys if key not in self._nodes or key in self._why_not)

    def _dead(self, node: Node, branch: Branch) -> list[Node]:
        keys = _listed(branch) | self._half_flattened(node, branch)
        return [self._nodes[key] for key in keys.difference(self._alive(keys))]

    def _follow(self) -> None:
        """What the living need is not dead."""
        changed = True
        while changed:
            changed = False
            for key, node in self._nodes.items():
                if key in self._why_not:
                    continue
                for branch in node.branches:
                    if living := self._living(node, branch):
                        self._why_not[key] = self._needed(node, branch, living)
                        changed = True
                        break

    def _needed(self, node: Node, branch: Branch, living: list[Key]) -> str:
        names = {key_of(child): str(child.spec) for child in branch.children}
        shown = ", ".join(names.get(key, "/".join(filter(None, key))) for key in living[:3])
        more = f" and {len(living) - 3} more" if len(living) > 3 else ""
        if not _listed(branch).intersection(living):
            return f"{shown}{more} still needs it: half flattened; flatten that again"
        return f"{shown}{more} was cloned from it"

    # Images

    def _obstacle(self, node: Node) -> str:
        """Why an image is left alone, whoever has or needs it; empty: it is dead, for all that."""
        if node.role == "live":
            return "it has its name"
        role = {"draft": self._draft, "deleted": self._deleted, "trash": self._trash}[node.role]
        return node.denied or role(node) or self._scan.too_young(node.since)

    def _draft(self, node: Node) -> str:
        if holder := self._scan.is_held(spec.made_as(node.name)):
            return f"{holder.owner} is at work on {spec.made_as(node.name)}"
        return ""

    def _deleted(self, node: Node) -> str:
        carried = any(_is_known(node, branch.snap) for branch in node.branches)
        if spec.is_volume(node.name) or carried or records.is_deleted(node.pool, node.image_id):
            return ""
        return (
            "it is called as deleted volumes are, but nothing else tells that it is one: no "
            "volume-<uuid>, no mark of rbdstore, and no snapshot that clones were made from"
        )

    def _trash(self, node: Node) -> str:
        entry = node.pool.trash_get(node.image_id)
        if entry is None:
            return "it is in the trash and has a name, too"
        if not records.is_deleted(node.pool, node.image_id, entry):
            return "rbdstore did not put it there"
        if too_early := self._scan.too_early(entry):
            return too_early
        return ""

    def _in_use(self, node: Node) -> str:
        if node.watchers:
            return opened(node)
        for branch in node.branches:
            snap = branch.snap
            if branch.problem:
                return branch.problem
            if snap.trashed:
                continue
            if spec.is_users_snap(snap.name) or spec.is_backup_snap(snap.name):
                return f"it has the snapshot {snap.name}"
            known = _is_known(node, snap) or spec.is_source_snap(snap.name)
            if snap.name != spec.IMAGE_SNAP and not known:
                return f"it has the snapshot {snap.name}, whose name is not known"
        if node.role != "draft":
            return next(filter(None, map(self._unseen, node.branches)), "")
        return ""

    def _unseen(self, branch: Branch) -> str:
        """Whether others may have cloned a snap from where this user cannot look."""
        snap = branch.snap
        is_shown = snap.trashed or snap.name.startswith(spec.DELETED_SNAP_PREFIX)
        if self._scan.blind and (is_shown or snap.name == spec.IMAGE_SNAP):
            return (
                f"clones of its snapshot {snap.name} may be in pools that could not be looked "
                f"into: {', '.join(self._scan.blind)}"
            )
        return ""

    def _of_image(self, node: Node, why_not: str) -> Leftover:
        scan, pool = self._scan, node.pool
        kind: Kind = "trash"
        if node.role != "trash":
            kind = "draft" if node.role == "draft" else "deleted"
        found = functools.partial(
            Leftover,
            str(pool.spec(node.name)),
            kind,
            bytes=node.bytes,
            since=node.since,
            image_id=node.image_id,
            rank=self._rank(node),
            is_cinders=node.role == "deleted",
        )
        if why_not:
            watched = functools.partial(is_unwatched, node) if node.watchers else None
            return found(why_not, may_go=watched)
        take_back = _take_back_draft if node.role == "draft" else _purge
        return found(
            _REASONS[kind],
            take_back=functools.partial(take_back, scan, node),
            is_gone=lambda: not pool.has_image(node.image_id) and _is_off_trash(node),
        )

    def _rank(self, node: Node) -> int:
        """How many dead ones have to go before it, one after the other."""
        below = [dead for branch in node.branches for dead in self._dead(node, branch)]
        return 1 + max(map(self._rank, below), default=0)

    # Snaps

    def _of_snaps(self, node: Node) -> Iterator[Leftover]:
        scan, pool = self._scan, node.pool
        for branch in node.branches:
            snap = branch.snap
            if spec.is_source_snap(snap.name) and not snap.trashed:
                # Of those the backups know whether they may go.
                continue
            living = self._living(node, branch)
            if _listed(branch).intersection(living):
                # That is what it is for.
                continue
            found = functools.partial(
                Leftover,
                str(pool.spec(node.name, snap.name)),
                "export" if spec.is_export_snap(snap.name) else "snapshot",
                since=branch.since,
                image_id=node.image_id,
                rank=0 if living else self._rank_of_snap(node, branch),
                is_cinders=snap.name.endswith(spec.CLONE_SNAP_SUFFIX),
            )
            if living:
                yield found(self._needed(node, branch, living))
            elif why_not := self._why_not_snap(node, branch):
                watched = functools.partial(is_unwatched, node) if node.watchers else None
                yield found(why_not, may_go=watched)
            else:
                yield found(
                    "it only carried clones, and has none: by its own list, and by the headers "
                    "of all images",
                    take_back=functools.partial(_remove_snap, scan, node, branch),
                    is_gone=functools.partial(is_snap_gone, node, snap.id),
                )

    def _rank_of_snap(self, node: Node, branch: Branch) -> int:
        return 1 + max(map(self._rank, self._dead(node, branch)), default=0)

    def _why_not_snap(self, node: Node, branch: Branch) -> str:
        scan, snap = self._scan, branch.snap
        if branch.problem:
            return branch.problem
        if not snap.trashed and not _is_known(node, snap):
            return "its name is not one that rbdstore or Cinder gives"
        if (node.image_id, snap.name) in scan.links_at_work:
            return "somebody is at work with it"
        if not scan.can_list:
            return "this driver cannot tell who may be at work with it"
        if opaque := [work.name for work in scan.living if work.problem]:
            return f"what is being done to {opaque[0]} cannot be read by this release"
        if node.watchers:
            return opened(node)
        return scan.too_young(branch.since) or self._unseen(branch)


_REASONS = {
    "draft": "nobody is making it any more, and nothing was made from it",
    "deleted": "it was deleted, and no clone needs it any more",
    "trash": "rbdstore put it there, its time is over, and no clone needs it",
}


def _is_known(node: Node, snap: Snap) -> bool:
    """Whether a snap is one that this library or Cinder made, to carry clones.

    Volumes may have any name. What was cloned from theirs is in their records; a user's snapshot
    that happens to be called like one is not.
    """
    if spec.is_known_snap(snap.name):
        return True
    is_carrier = snap.name.endswith(spec.CLONE_SNAP_SUFFIX)
    return is_carrier and records.has_had_clones(node.pool, node.image_id, snap.id)


def _listed(branch: Branch) -> set[Key]:
    return {key_of(child) for child in branch.children}


def opened(node: Node) -> str:
    return f"it is open for writing by {', '.join(node.watchers)}"


def _check_unwatched(node: Node) -> None:
    try:
        with node.pool.open(image_id=node.image_id) as image:
            if watchers := image.watchers():
                raise exceptions.InUse(spec=image.spec, watchers=watchers)
    except exceptions.ImageNotFound:
        return


def is_unwatched(node: Node) -> bool:
    try:
        _check_unwatched(node)
    except exceptions.InUse:
        return False
    return True


def _is_off_trash(node: Node) -> bool:
    return node.role != "trash" or node.pool.trash_get(node.image_id) is None


def is_snap_gone(node: Node, snap_id: int) -> bool:
    try:
        with node.pool.open(image_id=node.image_id) as image:
            return all(snap.id != snap_id for snap in image.snaps())
    except exceptions.ImageNotFound:
        return True


def _take_back_draft(scan: Scan, node: Node) -> None:
    name, seconds = spec.made_as(node.name), scan.settings.lease_seconds
    with claims.Claim(node.pool, name, ["gc"], seconds, effect="none", wait=0) as claim:
        # Its journal may have been the last to know of it.
        if node.pool.id_of(node.name) == node.image_id:
            _check_unwatched(node)
            reclaim.draft(node.pool, node.name, seconds, claim.remember)


def _purge(scan: Scan, node: Node) -> None:
    _check_unwatched(node)
    reclaim.purge(node.pool, node.image_id, scan.settings.lease_seconds, reclaim.forget)


def _remove_snap(scan: Scan, node: Node, branch: Branch) -> None:
    _check_unwatched(node)
    pool, snap = node.pool, branch.snap.name
    link = Parent(pool.name, pool.namespace, node.name, node.image_id, snap)
    reclaim.unused_snap(pool, link, scan.settings.lease_seconds, reclaim.forget)
