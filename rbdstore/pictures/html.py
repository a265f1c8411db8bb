# SPDX-License-Identifier: Apache-2.0
"""The forest as a page: one file that needs nothing else, and asks nobody for anything.

The browser lays it out, from lists in lists; what it is told by the script are folding, finding
and what is known of an image. Names may be anybody's: they are escaped wherever they stand, and
the page's own policy lets no other script and no style run.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib.metadata
from typing import Final

from markupsafe import Markup

from rbdstore.pictures import cards, layout, nodes, rendering
from rbdstore.views.forest import Forest

# Of a name that is too long the end is what tells it from others.
_TAIL: Final = 8


def draw(forest: Forest, when: datetime.datetime) -> str:
    """The text of the page."""
    groves = nodes.groves(forest)
    everything = nodes.everything(groves)
    style = _style(everything)
    script = rendering.part("page.js")
    return rendering.render(
        "page.html",
        version=importlib.metadata.version("rbdstore"),
        forest=forest,
        groves=groves,
        when=when,
        cards=cards,
        nodes=nodes,
        kinds=cards.kinds(everything),
        facts=[[node.name, cards.facts(node)] for node in everything],
        glyphs=rendering.part("glyphs.svg"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        tail=_TAIL,
    )


def _style(everything: list[nodes.Node]) -> Markup:
    """The styles, with what depends on the forest: how wide a card is, and where limits are."""
    card, gap = layout.card_width(everything), layout.GAP
    rules = [f":root {{ --card: {card}px; --gap: {gap}px; --mid: {layout.MID}px; }}"]
    for levels in sorted({node.levels for node in everything if node.level == 0}):
        width = levels * (card + gap) - gap
        rules.append(f".levels-{levels} {{ column-width: {width}px; min-width: {width}px; }}")
    for limit in sorted({node.tree.limit for node in everything if node.tree.limit is not None}):
        left = (limit + 1) * (card + gap) - layout.BEFORE_CARD
        rules.append(f".limit-{limit} {{ left: {left}px; }}")
    return Markup("\n").join([rendering.part("colours.css"), *rules, rendering.part("page.css")])


def _hash(text: str) -> str:
    """As a content security policy names what may run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
