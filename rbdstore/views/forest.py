# SPDX-License-Identifier: Apache-2.0
"""The clone forest of one or more pools: every image below the snapshot it was cloned from.

Where a child and its parent disagree, the child's own header has the word
(see :func:`rbdstore.lineage.still_needs`).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from rbdstore import exceptions
from rbdstore.driver import Parent, Pool
from rbdstore.views import looking, survey
from rbdstore.views.looking import Branch, Tree
from rbdstore.views.survey import Home, Key, key


@dataclasses.dataclass(frozen=True, slots=True)
class Forest:
    """What was found.

    :ivar trees: the images above which none is known, sorted by pool and name; all others hang
        from the ``snaps`` of these
    """

    trees: tuple[Tree, ...]

    def __iter__(self) -> Iterator[Tree]:
        """Every image, parents before their clones."""
        waiting = [*reversed(self.trees)]
        while waiting:
            tree = waiting.pop()
            yield tree
            waiting.extend(reversed(tree.clones))


def look(pools: Mapping[Pool, int], *, every_object: bool = False) -> Forest:
    """Look at all images of some pools of one cluster, those in the trash too.

    What these were cloned from, and what was cloned from these, is there also where it is in other
    pools, as far as it can be seen.

    :param pools: with the ``rbd_max_clone_depth`` that holds in each
    :param every_object: find out what is used also where every object has to be asked for it
    :raises InvalidInput: the pools are of several clusters
    :raises Unreachable, Timeout: no other error of a single image fails the whole
    """
    if len({pool.cluster.fsid for pool in pools}) > 1:
        raise exceptions.InvalidInput("these pools are of several clusters; ask for one's only")
    found = survey.Survey(list(pools), every_object=every_object)
    found.look_at_pools()
    found.look_beyond()
    return grow(
        found.trees.values(), {survey.home(pool): pools[pool] for pool in reversed(list(pools))}
    )


def grow(found: Iterable[Tree], limits: Mapping[Home, int]) -> Forest:
    """Hang every image below the snap that it was cloned from.

    :param found: images with no more of their clones than was told of them
    :param limits: the pools that were asked for, and how deep clones may be there
    """
    trees = {key(tree): tree for tree in found}
    places = {at: place for at, tree in trees.items() if (place := _place(tree, trees))}
    roots, order = _walk(trees, {at: key(place) for at, place in places.items()})
    hanging: dict[Key, list[tuple[Tree, Parent]]] = defaultdict(list)
    grown: dict[Key, Tree] = {}
    for at in reversed(order):
        tree = _with_clones(trees[at], hanging[at], trees, limits)
        grown[at] = dataclasses.replace(
            tree,
            outside=survey.home(tree) not in limits,
            depth=None if tree.problem else _depth(tree.parent, trees),
            limit=looking.limit(limits.get(survey.home(tree), 0)),
        )
        if at not in roots:
            hanging[key(places[at])].append((grown[at], places[at]))
    return Forest(tuple(sorted((grown[at] for at in roots), key=_by_name)))


def _by_name(tree: Tree) -> tuple[str, ...]:
    return tree.pool, tree.namespace, tree.name, tree.id


def _place(tree: Tree, trees: Mapping[Key, Tree]) -> Parent | None:
    """The link that it hangs by: its own, or else that of a snap, which keeps a parent as well."""
    return next((link for link in survey.links(tree) if key(link) in trees), None)


def _walk(trees: Iterable[Key], above: Mapping[Key, Key]) -> tuple[set[Key], list[Key]]:
    """The images that hang from none, and all images, each after the one that it hangs from."""
    below: dict[Key, list[Key]] = defaultdict(list)
    for at, parent in above.items():
        below[parent].append(at)
    roots: set[Key] = set()
    order: dict[Key, None] = {}
    # A circle would have no beginning. There are none; if there were, any image of it would do.
    for root in (*(at for at in trees if at not in above), *trees):
        if root not in order:
            roots.add(root)
            waiting = [root]
            while waiting:
                at = waiting.pop()
                order[at] = None
                waiting.extend(clone for clone in below[at] if clone not in order)
    return roots, list(order)


def _with_clones(
    tree: Tree,
    clones: Iterable[tuple[Tree, Parent]],
    trees: Mapping[Key, Tree],
    limits: Mapping[Home, int],
) -> Tree:
    snaps = list(tree.snaps)
    hanging: dict[str, list[Tree]] = {snap.name: [] for snap in snaps}
    for snap in tree.snaps:
        for told in snap.clones:
            # Where one that was looked at belongs, its own header has told.
            if key(told) not in trees and survey.home(told) not in limits:
                above = _depth(snap.parent, trees)
                depth = None if above is None else above + 1
                hanging[snap.name].append(dataclasses.replace(told, outside=True, depth=depth))
    # A snap may have another name since its clone was looked at.
    names = {key(told): snap.name for snap in tree.snaps for told in snap.clones}
    for clone, link in clones:
        name = names.get(key(clone), link.snap)
        if name not in hanging:
            # The snap was removed or renamed since, or nothing is known of the image.
            snaps.append(Branch(name, parent=tree.parent))
            hanging[name] = []
        hanging[name].append(clone)
    return dataclasses.replace(
        tree,
        snaps=tuple(
            dataclasses.replace(snap, clones=tuple(sorted(hanging[snap.name], key=_by_name)))
            for snap in snaps
            if hanging[snap.name] or survey.home(tree) in limits
        ),
    )


def _depth(link: Parent | None, trees: Mapping[Key, Tree]) -> int | None:
    """How many parents there are from ``link`` on; None: not all of them are known.

    Each step goes to the parent as it was at the snap, as in :func:`rbdstore.lineage.depth`.
    """
    passed: dict[Parent, None] = {}
    while link is not None:
        tree = trees.get(key(link))
        if tree is None or tree.problem or link in passed:
            return None
        passed[link] = None
        at_snap = [snap.parent for snap in tree.snaps if snap.name == link.snap]
        link = at_snap[0] if at_snap else tree.parent
    return len(passed)
