# SPDX-License-Identifier: Apache-2.0
"""What stands on the card of an image, and of a whole forest, in the drawn pictures."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterable
from typing import Final

from rbdstore.legible import count, printable, size_text
from rbdstore.pictures import words
from rbdstore.pictures.nodes import Grove, Node
from rbdstore.views.forest import Forest
from rbdstore.views.looking import Branch, Kind, Tree

_UNKNOWN: Final = "?"


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """An image.

    :ivar kind: one of ``words.KINDS``
    :ivar marks: words for how it is drawn: ``deep``, ``open``, ``trashed``, ``problem``
    :ivar depth: as in ``3/5``, or empty
    :ivar size: with its unit, as are ``used`` and ``shared``; empty where it was not looked at
    :ivar used_part: how much of its size it uses, 0 to 100; ``shared_part``: how much it shares
    :ivar notes: what else is to be said, each with a word for how it is drawn, or none
    """

    kind: Kind
    marks: tuple[str, ...]
    name: str
    depth: str
    size: str
    used: str
    shared: str
    used_part: float
    shared_part: float
    notes: tuple[tuple[str, str], ...]

    @property
    def spoken(self) -> str:
        """All of it in one sentence, for who hears the picture."""
        said = [self.name, words.KINDS[self.kind], self.size]
        if self.size:
            said.append(f"{self.used} used")
        if self.shared:
            said.append(f"{self.shared} shared")
        if self.depth:
            said.append("depth " + self.depth.replace("/", " of "))
        said += [text for text, _how in self.notes]
        return ", ".join(filter(None, dict.fromkeys(said)))


def card(node: Node) -> Card:
    tree = node.tree
    marks = {
        "deep": tree.is_too_deep,
        "open": bool(tree.watchers),
        "trashed": tree.trashed,
        "problem": bool(tree.problem),
    }
    notes = words.notes(tree)
    if tree.kind in ("deleted", "draft"):
        notes.insert(0, (words.KINDS[tree.kind], ""))
    if tree.is_too_deep:
        notes.insert(0, ("deeper than allowed", "deep"))
    known = tree.size is not None
    return Card(
        tree.kind,
        tuple(mark for mark, is_set in marks.items() if is_set),
        node.name,
        words.depth(tree),
        _size(tree.size) if known else "",
        _size(tree.used) if known else "",
        _size(tree.shared) if known and tree.shared != 0 else "",
        *_parts(tree),
        tuple(notes),
    )


def _size(number: int | None) -> str:
    return _UNKNOWN if number is None else size_text(number)


def _parts(tree: Tree) -> tuple[float, float]:
    """What is used and what is shared, in hundredths of the size; what there is can be seen."""
    if not tree.size:
        return 0, 0
    used, shared = (
        max(1.5, 100 * part / tree.size) if part else 0 for part in (tree.used, tree.shared)
    )
    used = min(used, 100)
    return round(used, 1), round(min(shared, 100 - used), 1)


def caption(snap: Branch) -> str:
    """Of a snap that has clones."""
    size = "" if snap.size is None else size_text(snap.size)
    kept = words.SNAP_KINDS[snap.kind]
    return ", ".join(filter(None, (f"@{printable(snap.name)}", size, kept)))


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number of images that are worth a look.

    :ivar mark: that they bear; empty: it is a sum, and of no images in particular
    """

    number: str
    what: str
    mark: str = ""


def figures(forest: Forest) -> list[Figure]:
    """What there is, and what needs looking after."""
    found = [tree for tree in forest if not tree.outside]
    snaps = sum(len(tree.snaps) for tree in found)
    used = sum(tree.used or 0 for tree in found)
    partly = "at least " if any(tree.used is None for tree in found) else ""
    figures = [
        Figure(str(len(found)), "image" if len(found) == 1 else "images"),
        Figure(str(snaps), "snapshot" if snaps == 1 else "snapshots"),
        Figure(size_text(sum(tree.size or 0 for tree in found)), "provisioned"),
        Figure(partly + size_text(used), "used"),
    ]
    for what, mark, those in (
        ("deeper than allowed", "deep", [tree for tree in found if tree.is_too_deep]),
        ("in use", "open", [tree for tree in found if tree.watchers]),
        ("in the trash", "trashed", [tree for tree in found if tree.trashed]),
        ("unfinished", "of-draft", [tree for tree in found if tree.kind == "draft"]),
        ("cannot be looked at", "problem", [tree for tree in found if tree.problem]),
    ):
        if those:
            figures.append(Figure(str(len(those)), what, mark))
    return figures


@dataclasses.dataclass(frozen=True, slots=True)
class Rung:
    """How many images have a depth.

    :ivar part: of the most that there are of any depth, 0 to 100
    :ivar too_deep: how many of them are deeper than allowed
    """

    depth: int
    number: int
    part: float
    too_deep: int


def ladder(forest: Forest) -> list[Rung]:
    """How many images there are of each depth."""
    found = [tree for tree in forest if tree.depth is not None and not tree.outside]
    numbers = Counter(tree.depth for tree in found)
    deep = Counter(tree.depth for tree in found if tree.is_too_deep)
    most = max(numbers.values(), default=1)
    return [
        Rung(depth, numbers[depth], 100 * numbers[depth] / most, deep[depth])
        for depth in range(max((depth for depth in numbers if depth is not None), default=-1) + 1)
    ]


def kinds(found: Iterable[Node]) -> dict[Kind, str]:
    """What there is, and what it is called."""
    there = {node.tree.kind for node in found}
    return {kind: what for kind, what in words.KINDS.items() if kind in there}


def heading(found: list[Grove]) -> str:
    return ", ".join(dict.fromkeys(grove.name for grove in found if not grove.outside))


def subheading(grove: Grove) -> str:
    """What there is in a pool."""
    nodes = [*grove]
    size = size_text(sum(node.tree.size or 0 for node in nodes))
    said = [count(len(nodes), "image"), f"{size} provisioned"]
    if grove.trees:
        said.insert(
            1, f"{count(len(grove.trees), 'tree')} and {len(grove.alone)} that stand alone"
        )
    if grove.outside:
        said.insert(0, "another pool")
    return ", ".join(said)


def moment(when: datetime.datetime) -> str:
    """``2026-11-30 10:15 UTC``."""
    return when.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def facts(node: Node) -> dict[str, object]:
    """All that is known of an image, by what it is called, for who asks for it."""
    tree = node.tree

    def size(number: int | None) -> str | None:
        return None if number is None else f"{size_text(number)} ({number:,} bytes)"

    depth = tree.depth if tree.limit is None else f"{tree.depth} (the limit is {tree.limit})"
    told = {
        "Kind": words.KINDS[tree.kind],
        "Problem": tree.problem,
        "Image": str(tree.spec),
        "Id": tree.id,
        "Size": size(tree.size),
        "Used": size(tree.used),
        "Shared": size(tree.shared),
        "Depth": None if tree.depth is None else depth,
        "Parent": None if tree.parent is None else str(tree.parent.spec),
        "Clones": sum(len(snap.clones) for snap in tree.snaps) or None,
        "Open by": [*tree.watchers],
        "Snapshots": [
            ", ".join(
                filter(
                    None,
                    (
                        snap.name,
                        None if snap.size is None else size_text(snap.size),
                        words.SNAP_KINDS[snap.kind],
                        "protected" if snap.protected else "",
                        count(len(snap.clones), "clone") if snap.clones else "",
                    ),
                )
            )
            for snap in tree.snaps
        ],
        "Features": ", ".join(sorted(tree.features)),
    }
    return {
        name: [printable(each) for each in value] if isinstance(value, list) else _plain(value)
        for name, value in told.items()
        if value not in (None, "", [])
    }


def _plain(value: object) -> str:
    return printable(str(value))
