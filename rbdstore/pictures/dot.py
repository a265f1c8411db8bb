# SPDX-License-Identifier: Apache-2.0
"""The forest in the language of Graphviz: ``dot -Tpdf``.

It is in UTF-8: Graphviz gets references to letters wrong that take four bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rbdstore.pictures import cards, nodes
from rbdstore.pictures.cards import Card
from rbdstore.pictures.nodes import Grove
from rbdstore.views.forest import Forest
from rbdstore.views.looking import Kind

_HUES: Final[Mapping[Kind, str]] = {
    "image": "#6a45b0",
    "volume": "#13677f",
    "draft": "#8f5b00",
    "deleted": "#66707d",
    "trash": "#66707d",
    "unknown": "#b3261e",
}
_DEEP: Final = {"color": "#b3261e", "fillcolor": "#fdeeea", "penwidth": "2"}
_DASHED: Final = ("draft", "deleted", "trash")


def draw(forest: Forest) -> str:
    """A graph of it, each pool a cluster, the edges from parents to clones."""
    lines = [
        "digraph forest {",
        "  graph [rankdir=LR, ranksep=0.4, nodesep=0.1, fontname=Helvetica]",
        '  node [shape=box, style="filled,rounded", fillcolor=white]',
        "  node [fontname=Helvetica, fontsize=9]",
        "  edge [arrowsize=0.5, color=gray50, fontname=Helvetica, fontsize=8]",
    ]
    for number, grove in enumerate(nodes.groves(forest)):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    graph {_attributes(label=grove.name, color='gray80')}")
        lines += (f"    {line}" for line in _lines(grove))
        lines.append("  }")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _lines(grove: Grove) -> Iterator[str]:
    for node in grove:
        yield f"n{node.number} {_attributes(**_node(cards.card(node)))}"
    for node in grove:
        for snap in node.snaps:
            label = {} if snap.branch is None else {"label": cards.caption(snap.branch)}
            for child in snap.nodes:
                drawn = label | ({"color": _DEEP["color"]} if child.tree.is_too_deep else {})
                yield f"n{node.number} -> n{child.number} {_attributes(**drawn)}".rstrip()


def _node(card: Card) -> dict[str, str]:
    sizes = [card.size, card.size and f"{card.used} used", card.shared and f"{card.shared} shared"]
    depth = card.depth and f"depth {card.depth}"
    lines = [card.name, ", ".join(filter(None, (*sizes, depth)))]
    lines += [text for text, _how in card.notes]
    drawn = {"label": "\n".join(filter(None, lines)), "color": _HUES[card.kind]}
    if card.kind in _DASHED:
        drawn["style"] = "filled,rounded,dashed"
    return drawn | _DEEP if "deep" in card.marks else drawn


def _attributes(**values: str) -> str:
    if not values:
        return ""
    return "[" + ", ".join(f"{name}={_quoted(value)}" for name, value in values.items()) + "]"


def _quoted(text: str) -> str:
    r"""A string. In a label a backslash begins an escape, such as ``\N``, and ``&`` an entity."""
    for char, instead in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(char, instead)
    return f'"{text}"'
