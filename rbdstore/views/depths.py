# SPDX-License-Identifier: Apache-2.0
"""What a forest tells of depth, and of clones whose parents are deleted."""

from __future__ import annotations

from rbdstore.views.forest import Forest
from rbdstore.views.looking import Tree


def too_deep(forest: Forest, most: int) -> list[Tree]:
    """The volumes to flatten so that none is deeper than ``most``, in that order.

    To flatten one is to raise all that was cloned from it: so of a chain only every so many are.
    What is not a volume of a pool that was asked for cannot be flattened.
    """
    found = []
    # Each with how much less deep it will be.
    waiting = [(tree, 0) for tree in reversed(forest.trees)]
    while waiting:
        tree, raised = waiting.pop()
        flattens = tree.kind == "volume" and not tree.outside
        if flattens and tree.depth is not None and tree.depth - raised > most:
            found.append(tree)
            raised = tree.depth
        waiting += [(clone, raised) for clone in reversed(tree.clones)]
    return found


def orphans(forest: Forest) -> list[tuple[Tree, str]]:
    """The volumes that are clones of what was deleted, each with what became of its parent."""
    found = []
    for tree in forest:
        if tree.kind in ("deleted", "trash") or tree.problem:
            why = _fate(tree)
            found += [
                (clone, why)
                for clone in tree.clones
                if clone.kind == "volume" and not clone.outside
            ]
    return sorted(found, key=lambda each: (each[0].pool, each[0].name))


def _fate(parent: Tree) -> str:
    if parent.problem:
        return f"its parent: {parent.problem}"
    if parent.kind == "trash":
        return "its parent was put into the trash by others"
    where = "is in the trash" if parent.trashed else "has another name"
    return f"its parent was deleted, and {where} until its last clone is gone"
