# SPDX-License-Identifier: Apache-2.0
"""The forest as an SVG: one sheet, to be printed as large as one likes."""

from __future__ import annotations

import datetime
from typing import Final

from rbdstore.pictures import cards, layout, nodes, rendering, text
from rbdstore.views.forest import Forest

_MARGIN: Final = 28
_HEAD: Final = 118
# What its head needs.
_LEAST_WIDTH: Final = 1200
# The lines of a card, and what is above and below them.
_FIRST, _LINE, _PADDING = 18, 15, 7
# What a letter of the smaller lines takes.
_SMALL: Final = 6.3


def draw(forest: Forest, when: datetime.datetime) -> str:
    """The text of the SVG."""
    groves = nodes.groves(forest)
    made = {node.number: cards.card(node) for node in nodes.everything(groves)}
    sheet = layout.sheet(groves, lambda node: _height(made[node.number]))
    letters = int((sheet.card - layout.ELSE) / layout.LETTER)
    return rendering.render(
        "sheet.svg",
        forest=forest,
        groves=groves,
        when=when,
        cards=cards,
        layout=layout,
        sheet=sheet,
        margin=_MARGIN,
        head=_HEAD,
        width=round(max(sheet.width, _LEAST_WIDTH) + 2 * _MARGIN),
        height=round(_HEAD + sheet.height + 2 * _MARGIN),
        kinds=cards.kinds(nodes.everything(groves)),
        glyphs=rendering.part("glyphs.svg"),
        style=rendering.part("colours.css") + rendering.part("sheet.css"),
        card_of=lambda box: made[box.node.number],
        named=lambda card: text.fitting(card.name, letters),
        small=lambda said: text.fitting(said, int((sheet.card - 20) / _SMALL)),
        sizes_of=_sizes,
        width_of=lambda said: round(_SMALL * text.width(said) + 18),
    )


def _height(card: cards.Card) -> float:
    lines = bool(card.size) + len(card.notes)
    return max(40, _FIRST + lines * _LINE + _PADDING)


def _sizes(card: cards.Card) -> list[tuple[str, str, float]]:
    """Its sizes, each with a word for how it is drawn, and where, one beside the other."""
    found, x = [], 11.0
    for what, size in (("size", card.size), ("used", card.used), ("shared", card.shared)):
        if size:
            found.append((what, size, x))
            x = round(x + _SMALL * len(size) + (8 if what == "size" else 19), 1)
    return found
