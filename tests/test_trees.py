# SPDX-License-Identifier: Apache-2.0
"""The forest as text: every image on one line, whatever its name, and nothing by colour alone."""

import io
import json

import forests
import pytest
from forests import LIMITS, VOLUMES, alone, chain, link, volume
from rich import console

from rbdstore.cli import trees
from rbdstore.views import forest
from rbdstore.views.looking import Branch

GiB, MiB = forests.GiB, forests.MiB


def shown(*found, limits=LIMITS):
    out = io.StringIO()
    trees.show(forest.grow(found, limits), out)
    text = out.getvalue()
    assert "\x1b" not in text
    return text.splitlines()


def test_a_small_forest():
    image = volume(
        "debian",
        None,
        Branch("snap", 1, GiB, "image", protected=True),
        kind="image",
        pool="images",
        used=700 * MiB,
    )
    origin = link("debian", "snap", "images")
    first = volume(
        "volume-1",
        origin,
        Branch("rbdstore.deleted.4", 4, GiB, "deleted", parent=origin),
        watchers=("10.0.0.7:0/123",),
    )
    second = alone("volume-2", parent=link("volume-1", "rbdstore.deleted.4"), shared=None)
    third = alone("volume-3", snaps=(Branch("snapshot-1", 1, GiB), Branch("snapshot-2", 2, GiB)))
    expected = """\
images
└── debian                            10 GiB  used    700 MiB                                image
    └── volumes/volume-1              10 GiB  used      4 MiB  shares      8 MiB  depth 1/5  open \
by 10.0.0.7:0/123
        └── @rbdstore.deleted.4        1 GiB  deleted, kept for its clones
            └── volumes/volume-2      10 GiB  used        0 B  shares          ?  depth 2/5
volumes
└── volume-3                          10 GiB  used        0 B                                \
snapshots snapshot-1, snapshot-2
4 images, 4 snapshots, 40 GiB provisioned
"""
    assert shown(image, first, second, third) == expected.splitlines()


def test_three_hundred_and_three_chains():
    found = [alone(f"volume-{number:03}") for number in range(300)]
    for name in ("a", "b", "c"):
        found += chain(name, 7)
    lines = shown(*found)
    # Each on one line, and four besides: the pool, those that stand alone, and the summary.
    assert len(lines) == len(found) + 4
    assert lines[0] == "volumes"
    assert len(set(lines)) == len(lines)
    assert sum(line.endswith("!") for line in lines) == 6
    assert sum("depth 6/5 !" in line for line in lines) == 3
    assert sum("depth 7/5 !" in line for line in lines) == 3
    assert sum("depth 5/5" in line and "!" not in line for line in lines) == 3
    # The chains first.
    assert lines[1].startswith("├── a-0 ")
    (heading,) = (number for number, line in enumerate(lines) if "300 that stand alone" in line)
    assert heading == 1 + 3 * 8
    assert all("volume-" in line for line in lines[heading + 1 : -2])
    # One column below the other.
    assert len({line.index(" GiB") for line in lines[1:-2] if " GiB" in line}) == 1
    assert lines[-2] == "324 images, 24 snapshots, 3.2 TiB provisioned"
    assert lines[-1] == (
        "6 deeper than allowed: volumes/a-6, volumes/a-7, volumes/b-6, volumes/b-7, volumes/c-6 "
        "and 1 more"
    )
    assert max(map(len, lines)) < 130


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[bold]x", "[bold]x"),
        ("[/]", "[/]"),
        ("[red]a[/red]", "[red]a[/red]"),
        (":smile:", ":smile:"),
        ("\\[", "\\["),
        ("line\nbreak", "line\\nbreak"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("ü 磁盘", "ü 磁盘"),
        ("\udcff", "\\udcff"),
    ],
)
def test_names_are_shown_and_not_obeyed(name, expected):
    parent = volume("parent", None, Branch(name, 1, GiB, "user"))
    lines = shown(
        parent,
        alone(name, parent=link("parent", name), watchers=(name,)),
        alone(f"{name}2", problem=name, size=None),
    )
    assert len(lines) == 7
    text = "\n".join(lines)
    assert f"@{expected} " in text
    assert f"open by {expected}" in text
    assert text.count(expected) == 6


def test_a_line_is_never_cut():
    name = "volume-" + "x" * 200
    lines = shown(alone(name), alone("volume-1", watchers=("address " * 50,)))
    assert ("address " * 50).strip() in lines[1]
    assert name in lines[2]
    # A name beyond all measure does not push the other columns out of sight.
    assert lines[1].index("GiB") < 80


def test_what_is_wrong_is_said():
    lines = shown(
        alone("broken", kind="unknown", size=None, problem="it cannot be opened"),
        alone("draft.01234567.partial", kind="draft"),
        alone("foreign", kind="trash", trashed=True),
        alone("slow", used=None, shared=None),
        alone("blind", snaps=(Branch("snap", 1, GiB, "image", may_have_more=True),)),
    )
    by_name = {line.split()[1]: line for line in lines if "──" in line}
    assert by_name["broken"].endswith("it cannot be opened")
    assert by_name["draft.01234567.partial"].endswith("unfinished")
    assert by_name["foreign"].endswith("in the trash")
    assert "used          ?" in by_name["slow"]
    assert by_name["blind"].endswith("may have clones in pools that cannot be looked into")
    assert "1 cannot be looked at: volumes/broken" in lines
    assert "1 unfinished: volumes/draft.01234567.partial" in lines


def test_pools_that_were_not_asked_for():
    image = volume("debian", None, Branch("snap", 1, GiB, "image"), kind="image", pool="images")
    clone = alone("volume-1", parent=link("debian", "snap", "images"))
    lines = shown(image, clone, limits={VOLUMES: 5})
    assert lines[0] == "images  another pool"
    assert lines[-1] == "1 image, 0 snapshots, 10 GiB provisioned"


def test_an_empty_forest():
    assert shown() == ["0 images, 0 snapshots, 0 B provisioned"]


def test_a_terminal_gets_colour():
    writer = console.Console(file=io.StringIO(), force_terminal=True, width=200)
    writer.print(trees.draw(forest.grow(chain("a", 6), LIMITS)))
    assert "\x1b" in writer.file.getvalue()


def test_plain_values():
    found = chain("a", 50)
    values = trees.as_dicts(forest.grow(found, LIMITS))
    assert json.loads(json.dumps(values)) == values
    (top,) = values
    names = []
    while top is not None:
        names.append(top["name"])
        below = [clone for snap in top["snapshots"] for clone in snap["clones"]]
        last, top = top, below[0] if below else None
    assert names == [tree.name for tree in found]
    assert last == {
        "pool": "volumes",
        "namespace": "",
        "name": "a-50",
        "id": "id-a-50",
        "kind": "volume",
        "trashed": False,
        "outside": False,
        "size": 10 * GiB,
        "used": 4 * MiB,
        "shared": 8 * MiB,
        "depth": 50,
        "limit": 5,
        "too_deep": True,
        "parent": "volumes/a-49@rbdstore.clone.0123",
        "watchers": [],
        "features": [],
        "problem": None,
        "snapshots": [
            {
                "name": "snap",
                "id": None,
                "size": None,
                "kind": "image",
                "protected": False,
                "may_have_more": False,
                "clones": [],
            }
        ],
    }
