# SPDX-License-Identifier: Apache-2.0
"""The drawn pictures: every image is in each, whatever its name, and none is on another.

What a browser makes of the page: test_picture_page.
"""

import datetime
import html.parser
import json
import subprocess
import xml.etree.ElementTree as ET

import forests
import hypothesis
import pytest
from hypothesis import strategies as st

from rbdstore.legible import printable
from rbdstore.pictures import dot, layout, nodes, svg, text
from rbdstore.pictures import html as page
from rbdstore.views import forest
from rbdstore.views.looking import Branch

WHEN = datetime.datetime(2026, 11, 30, 10, 15, tzinfo=datetime.UTC)
SVG = "{http://www.w3.org/2000/svg}"


class Parsed(html.parser.HTMLParser):
    """A page, by its tags, and by what is in its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_data(self, data):
        if self.lasttag == "script" and data.strip():
            self.scripts.append(data)

    def items(self):
        return [values for _tag, values in self.tags if values.get("role") == "treeitem"]

    def facts(self):
        return json.loads(self.scripts[0])


def small(*names):
    """A tree in which these name a parent, its snapshot, a clone and a client, in turn."""
    found = []
    for number, name in enumerate(names):
        above = f"{number}{name}"
        found.append(forests.volume(above, None, Branch(name or "s", 1, forests.GiB)))
        found.append(
            forests.alone(
                f"{number}-clone{name}",
                parent=forests.link(above, name or "s"),
                watchers=(name,),
                problem=name or "x",
            )
        )
    return forest.grow(found, forests.LIMITS)


def drawn_names(found):
    return [node.name for node in nodes.everything(nodes.groves(found))]


def test_all_of_a_thousand_are_in_each():
    found = forests.thousand()
    names = sorted(printable(tree.name) for tree in found)
    assert len(names) == 1000
    parsed = Parsed(page.draw(found, WHEN))
    assert len(parsed.items()) == 1000
    assert sorted(facts["Image"].partition("/")[2] for _name, facts in parsed.facts()) == names
    drawn = ET.fromstring(svg.draw(found, WHEN))
    cards = [each for each in drawn.iter(f"{SVG}svg") if "card" in each.get("class", "")]
    assert len(cards) == 1000
    graph = dot.draw(found)
    assert (
        len(
            [
                line
                for line in graph.splitlines()
                if line.strip().startswith("n") and "label" in line
            ]
        )
        >= 1000
    )


def test_nothing_is_on_anything_else():
    found = nodes.groves(forests.thousand())
    sheet = layout.sheet(found, lambda node: 40 + 14 * (node.number % 3))
    boxes = [
        (box.x, box.y, box.x + sheet.card, box.y + box.height)
        for plot in sheet.plots
        for box in plot.boxes
    ]
    boxes += [
        (each.x, each.y, each.x + sheet.card, each.y + layout.CAPTION)
        for plot in sheet.plots
        for each in plot.captions
    ]
    assert len(boxes) > 1000
    boxes.sort(key=lambda box: box[1])
    for number, (left, _top, right, bottom) in enumerate(boxes):
        assert right <= sheet.width
        assert bottom <= sheet.height
        for other in boxes[number + 1 :]:
            if other[1] >= bottom:
                break
            assert other[0] >= right or other[2] <= left


def test_a_chain_is_a_straight_line():
    found = nodes.groves(forest.grow(forests.chain("a", 200), forests.LIMITS))
    (plot,) = layout.sheet(found, lambda node: 40).plots
    assert len(plot.boxes) == 201
    assert len({box.y for box in plot.boxes}) == 1
    assert plot.limit == 5
    assert [box.node.tree.is_too_deep for box in plot.boxes] == [False] * 6 + [True] * 195


def test_a_limit_that_no_one_line_would_show_is_not_drawn():
    """An old image that was flattened has clones of before, which are deeper than it."""
    a, b, *others = forests.chain("a", 8)
    flattened = forests.volume(b.name, None, Branch(*_values(b.snaps[0]), parent=b.parent))
    (grove,) = nodes.groves(forest.grow([a, flattened, *others], forests.LIMITS))
    assert nodes.limit(grove.trees[0]) is None
    assert grove.trees[0].deep_below > 0


def _values(snap):
    return snap.name, snap.id, snap.size, snap.kind


@pytest.mark.parametrize("draw", [page.draw, svg.draw, lambda found, _when: dot.draw(found)])
def test_what_is_too_deep_is_said(draw):
    found = forest.grow(forests.chain("a", 7), forests.LIMITS)
    text = draw(found, WHEN)
    assert "deeper than allowed" in text
    assert "7/5" in text
    shallow = draw(forest.grow(forests.chain("a", 5), forests.LIMITS), WHEN)
    assert "deeper than allowed" not in shallow


def test_nothing_at_all():
    found = forest.grow([], forests.LIMITS)
    assert Parsed(page.draw(found, WHEN)).items() == []
    ET.fromstring(svg.draw(found, WHEN))
    assert dot.draw(found).startswith("digraph")


# Names

names = st.one_of(st.sampled_from(forests.HOSTILE), st.text(st.characters(exclude_categories=())))


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
@hypothesis.given(st.lists(names, min_size=1, max_size=3))
def test_names_are_shown_and_not_obeyed(found):
    """Whatever they are, the page and the sheet are built as they are of harmless names."""
    harmless = Parsed(page.draw(small(*("x" for _ in found)), WHEN))
    drawn = small(*found)
    parsed = Parsed(page.draw(drawn, WHEN))
    assert {tag for tag, _values in parsed.tags} == {tag for tag, _values in harmless.tags}
    keys = {(tag, key) for tag, values in harmless.tags for key in values}
    assert {(tag, key) for tag, values in parsed.tags for key in values} <= keys
    assert len(parsed.scripts) == 2
    assert [name for name, _facts in parsed.facts()] == drawn_names(drawn)
    # Whatever the encoding is that it is written in.
    assert page.draw(drawn, WHEN).isascii()
    labels = [item["aria-label"] for item in parsed.items()]
    assert all(map(str.startswith, labels, drawn_names(drawn)))
    sheet = ET.fromstring(svg.draw(drawn, WHEN))
    titles = [each.findtext(f"{SVG}title") for each in sheet.iter(f"{SVG}svg") if each.get("id")]
    assert titles == labels


def test_graphviz_takes_all_names():
    found = small(*forests.HOSTILE)
    done = subprocess.run(
        ["dot", "-Tsvg"], input=dot.draw(found).encode(), capture_output=True, check=True
    )
    assert done.stderr == b""
    drawn = ET.fromstring(done.stdout)
    shown = {each.text for each in drawn.iter(f"{SVG}text")}
    assert {name or None for name in drawn_names(found)} - shown == set()


@pytest.mark.parametrize(
    ("said", "most", "fits"),
    [
        ("volume", 6, "volume"),
        ("volume-0123456789", 10, "volume…789"),
        ("磁盘磁盘磁盘", 12, "磁盘磁盘磁盘"),
        ("磁盘磁盘磁盘", 8, "磁盘…盘"),
        ("", 0, ""),
    ],
)
def test_what_is_too_long_is_made_to_fit(said, most, fits):
    assert text.fitting(said, most) == fits
    assert text.width(fits) <= most
