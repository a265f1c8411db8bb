# SPDX-License-Identifier: Apache-2.0
"""Looking at every image of some pools, and at what these are related to elsewhere.

Images come and go meanwhile. One that has gone is left out; one that cannot be looked at is there
with the reason.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from rbdstore import exceptions, parallel
from rbdstore.driver import Child, Parent, Pool
from rbdstore.views import looking
from rbdstore.views.looking import Tree

# How often a parent may have gone by the time that it is looked for.
_LOOKS: Final = 3

_UNOPENED: Final = "it cannot be opened: half made, half removed, or without its parent"
_GONE: Final = "it is not there any more"

Home = tuple[str, str]
"""A pool and a namespace."""

Key = tuple[str, str, str]
"""Pool, namespace, and id of an image, or what stands for one that is not known."""


def home(found: Pool | Tree) -> Home:
    return (found.name if isinstance(found, Pool) else found.pool), found.namespace


def key(found: Tree | Parent | Child) -> Key:
    if isinstance(found, Tree):
        return found.pool, found.namespace, found.id or f"/{found.name}"
    return found.pool, found.namespace, found.image_id


def links(tree: Tree) -> list[Parent]:
    """Its parent, and those of its snaps; they differ in one that was flattened the old way."""
    above = (tree.parent, *(snap.parent for snap in tree.snaps))
    return [link for link in dict.fromkeys(above) if link is not None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Errand:
    """An image to look at, by its id where that is known.

    :ivar trashed: None: to be found out
    :ivar snaps: the only ones of interest; None: all
    """

    home: Home
    name: str
    image_id: str = ""
    trashed: bool | None = None
    snaps: frozenset[str] | None = None

    def unseen(self, problem: str) -> Tree:
        trashed = bool(self.trashed)
        return Tree(*self.home, self.name, self.image_id, trashed=trashed, problem=problem)


class Survey:
    """What has been looked at.

    :ivar trees: each with no more of its clones than was told of them
    """

    def __init__(self, pools: Sequence[Pool], *, every_object: bool = False) -> None:
        self.trees: dict[Key, Tree] = {}
        self._pools = {home(pool): pool for pool in reversed(pools)}
        self._every_object = every_object
        self._steps: looking.Steps = {}

    def look_at_pools(self) -> None:
        """Look at all that is in the pools, the trash included."""
        errands = self._listed()
        found = self._look_at(errands)
        missed = {errand for errand, tree in zip(errands, found, strict=True) if tree is None}
        if missed:
            # What has gone since is not listed any more.
            for errand in missed.intersection(self._listed()):
                self._add(errand.unseen(_UNOPENED))

    def _listed(self) -> list[_Errand]:
        names, trash = [], []
        for where, pool in self._pools.items():
            names += [_Errand(where, name, trashed=False) for name in pool.list_images()]
            trash += [
                _Errand(where, entry.name, entry.image_id, trashed=True)
                for entry in pool.trash_list()
            ]
        # In this order: what races made live and trashed at once is live.
        return names + trash

    def look_beyond(self) -> None:
        """Look at parents and new clones of what was looked at, and on, as far as there are."""
        for _ in range(_LOOKS):
            self._follow()
            stale = [tree for tree in self.trees.values() if self._dangling(tree)]
            if not stale:
                return
            # They were flattened meanwhile, it seems, and then what they let go of was removed.
            for tree in stale:
                del self.trees[key(tree)]
            self._look_at([_Errand(home(tree), tree.name, tree.id) for tree in stale])
        for tree in list(self.trees.values()):
            for link in self._dangling(tree):
                self._add(looking.leaf(link, _GONE))

    def _dangling(self, tree: Tree) -> list[Parent]:
        return [link for link in links(tree) if key(link) not in self.trees]

    def _follow(self) -> None:
        tried: set[Key] = set()
        while leads := {at: errand for at, errand in self._leads().items() if at not in tried}:
            tried.update(leads)
            self._look_at(list(leads.values()))

    def _leads(self) -> dict[Key, _Errand]:
        """What was told of, but not looked at."""
        names: dict[Key, str] = {}
        snaps: dict[Key, set[str]] = defaultdict(set)
        for tree in self.trees.values():
            for link in links(tree):
                names[key(link)] = link.image
                snaps[key(link)].add(link.snap)
            for clone in tree.clones:
                if home(clone) in self._pools:
                    names[key(clone)] = clone.name
        found = {}
        for at, name in names.items():
            if at not in self.trees:
                where = at[:2]
                # Of an image elsewhere only what leads here is of interest.
                only = None if where in self._pools else frozenset(snaps[at])
                found[at] = _Errand(where, name, at[2], snaps=only)
        return found

    def _look_at(self, errands: Sequence[_Errand]) -> list[Tree | None]:
        found = parallel.each(self._look, errands)
        for tree in found:
            if tree is not None:
                self._add(tree)
        return found

    def _add(self, tree: Tree) -> None:
        self.trees.setdefault(key(tree), tree)

    def _look(self, errand: _Errand) -> Tree | None:
        """None: there is nothing of the kind."""
        problem = ""
        # As one user sees it, and, where it was not asked for, as the others do.
        for cluster in dict.fromkeys(pool.cluster for pool in self._pools.values()):
            try:
                pool = self._pools.get(errand.home) or cluster.open_pool(*errand.home)
                return self._look_in(pool, errand)
            except exceptions.NotFound:
                return None
            except (exceptions.Unreachable, exceptions.Timeout):
                raise
            except exceptions.RbdStoreError as error:
                problem = problem or str(error)
        return errand.unseen(problem)

    def _look_in(self, pool: Pool, errand: _Errand) -> Tree:
        image_id = errand.image_id
        with pool.open(image_id=image_id) if image_id else pool.open(errand.name) as image:
            trashed = errand.trashed
            if trashed is None:
                trashed = pool.trash_get(image.id) is not None
            return looking.look(
                image,
                trashed=trashed,
                steps=self._steps,
                every_object=self._every_object,
                snaps=errand.snaps,
            )
