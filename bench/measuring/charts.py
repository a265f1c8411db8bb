# SPDX-License-Identifier: Apache-2.0
"""A table as a picture: for each row a panel, in it a bar for each side.

Where something is wanted of some rows, these are the ones that are drawn.
"""

import io
import math
import textwrap

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from PIL import Image

from measuring.results import number

COLOURS = ("#1b7837", "#9e9e9e")
ACROSS = 4


def draw(path, table, comparisons):
    """Bars of medians, with whiskers from the least to the most."""
    comparisons = [row for row in comparisons if row.row in table.wanted] or comparisons
    across = min(ACROSS, len(comparisons))
    down = math.ceil(len(comparisons) / across)
    figure, panels = pyplot.subplots(
        down, across, figsize=(max(2.6 * across, 5.2), 3.1 * down + 0.5), squeeze=False, dpi=90
    )
    for panel in panels.flat[len(comparisons) :]:
        panel.set_visible(False)
    for panel, row in zip(panels.flat, comparisons, strict=False):
        _panel(panel, table, row)
    figure.suptitle(f"{table.title} ({table.unit})", fontsize=11)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn)
    pyplot.close(figure)
    # It has few colours: a quarter of the size.
    Image.open(drawn).quantize(64).save(path, optimize=True)


def _panel(panel, table, row):
    spreads = (row.ours, row.other)
    heights = [spread.median for spread in spreads]
    whiskers = [
        [spread.median - spread.least for spread in spreads],
        [spread.most - spread.median for spread in spreads],
    ]
    bars = panel.bar(table.sides, heights, yerr=whiskers, capsize=4, color=COLOURS, width=0.65)
    panel.bar_label(bars, [number(height) for height in heights], padding=3, fontsize=8)
    panel.set_ylim(0, 1.2 * max(spread.most for spread in spreads))
    wanted = table.wanted.get(row.row)
    title = textwrap.fill(row.row, 28)
    if row.limit:
        panel.axhline(row.limit.median, color="#b2182b", linestyle="--", linewidth=1)
        panel.annotate(
            f"limit {number(row.limit.median)}",
            (0.5, row.limit.median),
            ha="center",
            va="bottom",
            fontsize=7,
            color="#b2182b",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    ratio = f"{number(row.ratio.median)} {table.ratio}" + (f" (wanted {wanted})" if wanted else "")
    panel.set_title(f"{title}\n{ratio}", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
