# SPDX-License-Identifier: Apache-2.0
"""What a picture of the forest is made of: pools, and in them a node for each image.

A clone is one **level** below its parent, whichever snapshot it is of: as long as no parent was
flattened in the way of old images, its level is its depth. Between two levels there is a **snap**
where that tells more than its image does: a user's, or a deleted one. Nothing here calls itself,
so that a chain may be as long as it likes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Literal

from rbdstore.legible import printable
from rbdstore.views.forest import Forest
from rbdstore.views.looking import Branch, Tree


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """An image in the picture.

    :ivar name: with its pool, where that is not the one of the picture
    :ivar number: no other node of the forest has it
    :ivar levels: how many there are from here down
    :ivar below: how many nodes there are below it
    :ivar deep_below: how many of these are deeper than allowed
    """

    tree: Tree
    name: str
    snaps: list[Below]
    number: int = 0
    level: int = 0
    levels: int = 1
    below: int = 0
    deep_below: int = 0

    @property
    def children(self) -> Iterator[Node]:
        return (node for snap in self.snaps for node in snap.nodes)

    def __iter__(self) -> Iterator[Node]:
        """It and all below it, as a reader meets them."""
        return (step.node for step in steps(self) if step.kind == "begin")


@dataclasses.dataclass(slots=True, eq=False)
class Below:
    """What was cloned from a snap, what has most levels first: a chain is a straight line.

    :ivar branch: the snap; None: any of those that tell no more than their image does
    """

    branch: Branch | None
    nodes: list[Node]


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One of the steps in which a tree is gone through.

    begin, end
        of a node
    in, out
        of what is below it, where there is anything
    snap
        the nodes that follow, up to the next, were cloned from ``branch``
    """

    kind: Literal["begin", "end", "in", "out", "snap"]
    node: Node
    branch: Branch | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Grove:
    """The images of a pool.

    :ivar outside: the pool was not asked for, but has what others were cloned from, or are
    :ivar trees: by how many levels they have, the tallest first; then by name
    :ivar alone: what has nothing below it
    """

    name: str
    outside: bool
    trees: list[Node]
    alone: list[Node]

    def __iter__(self) -> Iterator[Node]:
        for tree in self.trees:
            yield from tree
        yield from self.alone

    def beds(self) -> list[tuple[int, list[Node]]]:
        """The trees of as many levels each, the tallest first."""
        found: dict[int, list[Node]] = {}
        for tree in self.trees:
            found.setdefault(tree.levels, []).append(tree)
        return list(found.items())


def groves(forest: Forest) -> list[Grove]:
    """The forest, pool by pool."""
    pools: dict[tuple[str, str, bool], list[Tree]] = {}
    for each in forest.trees:
        pools.setdefault((each.pool, each.namespace, each.outside), []).append(each)
    found = []
    numbers = itertools.count()
    for (pool, namespace, outside), trees in pools.items():
        nodes = [_node(tree) for tree in trees]
        grown = sorted((node for node in nodes if node.below), key=lambda node: -node.levels)
        name = printable("/".join(filter(None, (pool, namespace))))
        alone = [node for node in nodes if not node.below]
        grove = Grove(name, outside, grown, alone)
        for node in grove:
            node.number = next(numbers)
        found.append(grove)
    return found


def limit(root: Node) -> int | None:
    """At which level of a tree the limit is, where one is passed and levels are depths.

    None where no one line would be true: some are marked one by one then, or none.
    """
    if not root.deep_below:
        return None
    limits = {node.tree.limit for node in root if node.level and node.tree.limit is not None}
    straight = all(node.tree.depth in (None, node.level) for node in root)
    return limits.pop() if straight and len(limits) == 1 else None


def steps(root: Node) -> Iterator[Step]:
    waiting = [Step("begin", root)]
    while waiting:
        step = waiting.pop()
        yield step
        node = step.node
        if step.kind != "begin":
            continue
        following: list[Step] = []
        if node.below:
            following.append(Step("in", node))
            for snap in node.snaps:
                if snap.branch is not None:
                    following.append(Step("snap", node, snap.branch))
                following += [Step("begin", child) for child in snap.nodes]
            following.append(Step("out", node))
        following.append(Step("end", node))
        waiting += reversed(following)


def _node(root: Tree) -> Node:
    made: dict[int, Node] = {}
    for tree in reversed([*Forest((root,))]):
        made[id(tree)] = _above(tree, made, root)
    node = made[id(root)]
    for each in node:
        for child in each.children:
            child.level = each.level + 1
    return node


def _above(tree: Tree, made: dict[int, Node], root: Tree) -> Node:
    """A node over those that were made of its clones."""
    plain = Below(None, [])
    named = []
    for branch in tree.snaps:
        nodes = [made[id(clone)] for clone in branch.clones]
        if branch.kind in ("image", "clones"):
            plain.nodes += nodes
        elif nodes:
            named.append(Below(branch, nodes))
    snaps = [plain, *named] if plain.nodes else named
    for snap in snaps:
        snap.nodes.sort(key=lambda node: -node.levels)
    here = (tree.pool, tree.namespace) == (root.pool, root.namespace)
    node = Node(tree, printable(tree.name if here else str(tree.spec)), snaps)
    for child in node.children:
        node.levels = max(node.levels, 1 + child.levels)
        node.below += 1 + child.below
        node.deep_below += child.deep_below + child.tree.is_too_deep
    return node


def everything(found: Iterable[Grove]) -> list[Node]:
    return [node for grove in found for node in grove]
