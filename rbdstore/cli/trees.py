# SPDX-License-Identifier: Apache-2.0
"""The clone forest as text, one line for each image, and as plain values.

Clones are below what they were cloned from; a snapshot has a line of its own where that tells more
than its image does. What stands alone comes last in each pool. Nothing depends on colour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import IO, Any, Final

from rich import cells, console, text, tree

from rbdstore.cli import shapes
from rbdstore.pictures import words
from rbdstore.views.forest import Forest
from rbdstore.views.looking import Branch, Tree

# How much a level of a tree is indented, by rich.
_INDENT: Final = 4
# What is longer moves its own line's columns, not everybody's.
_WIDEST: Final = 72

# A volume is what is to be expected.
_TOLD: Final = ("image", "draft", "deleted")
# How a note is drawn.
_STYLES: Final = {"open": "green"}


@dataclasses.dataclass(slots=True)
class _Row:
    name: str
    columns: tuple[str, ...] = ()
    notes: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    style: str = ""
    below: list[_Row] = dataclasses.field(default_factory=list)

    def walk(self, level: int = 0) -> Iterator[tuple[int, _Row]]:
        waiting = [(level, self)]
        while waiting:
            at, row = waiting.pop()
            yield at, row
            waiting.extend((at + 1, each) for each in row.below)


def show(forest: Forest, out: IO[str]) -> None:
    """Write the forest and its summary, in lines as long as they need to be."""
    drawn, widest = _draw(_pools(forest))
    # Rich cuts a tree off at the console's edge.
    writer = _Console(file=out, width=widest + 1, markup=False, emoji=False, highlight=False)
    writer.print(drawn)
    for line in words.summary(forest):
        writer.print(line, soft_wrap=True)


class _Console(console.Console):
    def on_broken_pipe(self) -> None:
        # Rich's own ends the process, as if it were an error.
        raise BrokenPipeError


def draw(forest: Forest) -> tree.Tree:
    """The forest without its summary, for a console wide enough."""
    return _draw(_pools(forest))[0]


def as_dicts(forest: Forest) -> list[dict[str, Any]]:
    """The forest in lists, dicts and plain values, sizes in bytes."""
    return [as_dict(each) for each in forest.trees]


def as_dict(found: Tree) -> dict[str, Any]:
    """One tree of it."""
    return {
        "pool": found.pool,
        "namespace": found.namespace,
        "name": found.name,
        "id": found.id,
        "kind": found.kind,
        "trashed": found.trashed,
        "outside": found.outside,
        "size": found.size,
        "used": found.used,
        "shared": found.shared,
        "depth": found.depth,
        "limit": found.limit,
        "too_deep": found.is_too_deep,
        "parent": None if found.parent is None else str(found.parent.spec),
        "watchers": list(found.watchers),
        "features": sorted(found.features),
        "problem": found.problem,
        "snapshots": [
            {
                "name": snap.name,
                "id": snap.id,
                "size": snap.size,
                "kind": snap.kind,
                "protected": snap.protected,
                "may_have_more": snap.may_have_more,
                "clones": [as_dict(clone) for clone in snap.clones],
            }
            for snap in found.snaps
        ],
    }


# Rows


def _pools(forest: Forest) -> list[_Row]:
    pools: dict[tuple[str, str, bool], list[Tree]] = {}
    for each in forest.trees:
        pools.setdefault((each.pool, each.namespace, each.outside), []).append(each)
    return [_pool(pool, namespace, found) for (pool, namespace, _), found in pools.items()]


def _pool(pool: str, namespace: str, found: list[Tree]) -> _Row:
    heading = _Row("/".join(filter(None, (pool, namespace))), style="bold")
    if found[0].outside:
        heading.notes.append(("another pool", ""))
    grown: list[_Row] = []
    alone: list[_Row] = []
    for each in found:
        row = _image(each, (pool, namespace))
        (grown if row.below else alone).append(row)
    heading.below = grown
    if grown and len(alone) > 1:
        heading.below.append(_Row(f"{len(alone)} that stand alone", below=alone))
    else:
        heading.below += alone
    return heading


def _image(found: Tree, pool: tuple[str, str]) -> _Row:
    here = (found.pool, found.namespace) == pool
    row = _Row(
        shapes.printable(found.name if here else str(found.spec)),
        _columns(found),
        _notes(found),
        _style(found),
    )
    for snap in found.snaps:
        clones = [_image(clone, pool) for clone in snap.clones]
        if snap.kind in ("image", "clones"):
            row.below += clones
        elif clones:
            row.below.append(_Row(f"@{shapes.printable(snap.name)}", _size(snap), below=clones))
            if snap.kind == "deleted":
                row.below[-1].notes.append(("deleted, kept for its clones", ""))
    return row


def _columns(found: Tree) -> tuple[str, ...]:
    if found.size is None:
        return ()
    used = "?" if found.used is None else shapes.size_text(found.used)
    shared = "?" if found.shared is None else shapes.size_text(found.shared)
    depth = ""
    if found.depth:
        depth = f"depth {words.depth(found)}"
    return (
        f"{shapes.size_text(found.size):>10}",
        f"used {used:>10}",
        f"shares {shared:>10}" if found.shared != 0 else "",
        f"{depth} !" if found.is_too_deep else depth,
    )


def _size(snap: Branch) -> tuple[str, ...]:
    return () if snap.size is None else (f"{shapes.size_text(snap.size):>10}",)


def _style(found: Tree) -> str:
    if found.problem:
        return "red"
    return "dim" if found.trashed or found.kind in ("draft", "deleted") else ""


def _notes(found: Tree) -> list[tuple[str, str]]:
    """Texts, each with its style."""
    notes = [(words.KINDS[found.kind], "")] if found.kind in _TOLD else []
    return notes + [(text, _STYLES.get(how, "")) for text, how in words.notes(found)]


# Lines


def _draw(rows: list[_Row]) -> tuple[tree.Tree, int]:
    """The tree, and how wide it is."""
    everything = [pair for row in rows for pair in row.walk()]
    name = max(
        (
            length
            for level, row in everything
            if row.columns and (length := level * _INDENT + cells.cell_len(row.name)) <= _WIDEST
        ),
        default=0,
    )
    widths = [0, 0, 0, 0]
    for _, row in everything:
        for number, column in enumerate(row.columns):
            widths[number] = max(widths[number], len(column))
    root = tree.Tree("", hide_root=True)
    widest = 0
    waiting = [(root, 0, row) for row in reversed(rows)]
    while waiting:
        above, level, row = waiting.pop()
        line = _line(row, name - level * _INDENT, widths)
        widest = max(widest, level * _INDENT + line.cell_len)
        drawn = above.add(line)
        waiting.extend((drawn, level + 1, each) for each in reversed(row.below))
    return root, widest


def _line(row: _Row, name: int, widths: list[int]) -> text.Text:
    line = text.Text(row.name, style=row.style, no_wrap=True, overflow="ignore")
    if row.columns:
        line.append(" " * (name - cells.cell_len(row.name)))
    for column, width in zip(row.columns, widths, strict=False):
        if width:
            line.append("  ")
            line.append(column.ljust(width), style="bold red" if column.endswith("!") else "")
    for note, style in row.notes:
        line.append("  ")
        line.append(note, style=style)
    line.rstrip()
    return line
