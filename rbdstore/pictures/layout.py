# SPDX-License-Identifier: Apache-2.0
"""Where everything is in a picture that nothing lays out later: a tidy tree, in pixels.

A level is a column, and a card's first child is beside it, so that a chain is a straight line.
Below each other are the children, each with all that is below it. The page is laid out in the same
way by whoever shows it, who does so again when a part is folded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rbdstore.pictures import nodes, text
from rbdstore.pictures.nodes import Grove, Node
from rbdstore.views.looking import Branch

GAP: Final = 28
"""Between a card and its children."""

MID: Final = 20
"""How far below its top a card's middle line is, that other cards are tied to."""

BEFORE_CARD: Final = 6
"""How far before the first card beyond it the line of the limit is."""

BETWEEN: Final = 6
RULER: Final = 18
CAPTION: Final = 20
_BELOW_TREE: Final = 22
_ABOVE_GROVE: Final = 52
_NARROWEST, _WIDEST = 186, 310
# What a letter takes, and what all else does on a card's first line.
LETTER, ELSE = 7, 70
# The longer side of a sheet of paper to its shorter one.
_SHEET: Final = math.sqrt(2)


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """The card of an image."""

    node: Node
    x: float
    y: float
    height: float


@dataclasses.dataclass(frozen=True, slots=True)
class Caption:
    """A snap, above its clones."""

    branch: Branch
    x: float
    y: float


@dataclasses.dataclass(frozen=True, slots=True)
class Tie:
    """From a card's middle line at its right side to what is below it in the tree."""

    from_x: float
    from_y: float
    to_x: float
    to_y: float
    deep: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """A tree.

    :ivar levels: how many columns it has; ``limit``: the one that is the last allowed, or None
    """

    boxes: list[Box]
    captions: list[Caption]
    ties: list[Tie]
    x: float
    y: float
    width: float
    height: float
    levels: int
    limit: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Sheet:
    """All of it: its width, its height, the trees, and for each pool the top of its heading."""

    width: float
    height: float
    card: float
    plots: list[Plot]
    headings: list[tuple[Grove, float]]


def card_width(found: Sequence[Node]) -> int:
    """Wide enough for all names but a few that are wider than most."""
    widths = sorted(text.width(node.name) for node in found)
    usual = widths[int(0.95 * len(widths))] if widths else 0
    return min(max(_NARROWEST, LETTER * usual + ELSE), _WIDEST)


def sheet(groves: Sequence[Grove], height_of: Callable[[Node], float]) -> Sheet:
    """Put everything on a sheet that is about as wide as it is high, if it can be."""
    card = card_width(nodes.everything(groves))
    pitch = card + GAP
    area = sum(
        (height_of(node) + BETWEEN) * pitch * (1 if node.below else node.level + 1)
        for grove in groves
        for node in grove
    )
    columns = max(
        4,
        round(math.sqrt(area * _SHEET) / pitch),
        *(tree.levels for grove in groves for tree in grove.trees),
    )
    plots: list[Plot] = []
    headings = []
    y = 0.0
    for grove in groves:
        headings.append((grove, y))
        y += _ABOVE_GROVE
        for levels, trees in grove.beds():
            bottoms = [y] * max(1, columns // levels)
            # The largest first, each where there is most room: so they end at about one height.
            for tree in sorted(trees, key=lambda tree: -tree.below):
                at = bottoms.index(min(bottoms))
                plot = grow(tree, at * levels * pitch, bottoms[at], card, height_of)
                plots.append(plot)
                bottoms[at] += plot.height + _BELOW_TREE
            y = max(bottoms)
        for column in _columns(grove.alone, columns):
            top = y
            for node in column[1]:
                plot = grow(node, column[0] * pitch, top, card, height_of)
                plots.append(plot)
                top += plot.height + BETWEEN
        y = max((plot.y + plot.height for plot in plots), default=y)
    return Sheet(columns * pitch - GAP, y, card, plots, headings)


def _columns(found: Sequence[Node], columns: int) -> Iterable[tuple[int, Sequence[Node]]]:
    """One below the other, and then on beside them, as in a newspaper."""
    rows = math.ceil(len(found) / columns)
    return enumerate(found[start : start + rows] for start in range(0, len(found), rows or 1))


def grow(root: Node, x: float, y: float, card: float, height_of: Callable[[Node], float]) -> Plot:
    """Lay a tree out, its top left corner being at ``x``, ``y``."""
    limit = nodes.limit(root)
    boxes: list[Box] = []
    captions: list[Caption] = []
    ties: list[Tie] = []
    # Of each node that is being gone through; and where the next thing begins.
    open_boxes: list[Box] = []
    cursor = y if limit is None else y + RULER
    bottom = cursor
    for step in nodes.steps(root):
        if step.kind == "begin":
            left = x + step.node.level * (card + GAP)
            box = Box(step.node, left, cursor, height_of(step.node))
            if open_boxes:
                ties.append(_tie(open_boxes[-1], card, left, cursor + MID, step.node))
            boxes.append(box)
            open_boxes.append(box)
        elif step.branch is not None:
            above = open_boxes[-1]
            left = above.x + card + GAP
            if cursor == above.y:
                # In line with its parent.
                cursor += MID - CAPTION / 2
            ties.append(_tie(above, card, left, cursor + CAPTION / 2))
            captions.append(Caption(step.branch, left, cursor))
            cursor += CAPTION + BETWEEN
        elif step.kind == "end":
            box = open_boxes.pop()
            bottom = max(box.y + box.height, cursor - BETWEEN if box.node.below else 0)
            cursor = bottom + BETWEEN
    width = root.levels * (card + GAP) - GAP
    return Plot(boxes, captions, ties, x, y, width, bottom - y, root.levels, limit)


def _tie(above: Box, card: float, x: float, y: float, node: Node | None = None) -> Tie:
    deep = node is not None and node.tree.is_too_deep
    return Tie(above.x + card, above.y + MID, x, y, deep)
