# SPDX-License-Identifier: Apache-2.0
"""The figures that the programs of bench make of their rounds, and what they keep of them."""

import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT / "bench"))

from measuring import program, results, rounds  # noqa: E402

SIDES = ("rbdstore", "peer")
TABLE = program.Table(
    name="table",
    title="A table",
    sides=SIDES,
    cases={"first": program.Plan(make=None, lasts=1), "second": program.Plan(make=None, lasts=1)},
    wanted={"row": ">= 1.8"},
)

MACHINE = {"processor": "a good one, 2 cores"}


def found(ours, theirs, row="row", **beside):
    figures = {"rbdstore": {row: ours}, "peer": {row: theirs}}
    return {"figures": figures, "beside": {what: [each, "s"] for what, each in beside.items()}}


ROUNDS = [found(1.0, 2.0), found(2.0, 3.0), found(4.0, 40.0)]


def test_sides_take_turns():
    turns = []

    def side(name):
        def measure():
            turns.append(name)
            return {"row": len(turns)}

        return measure

    case = rounds.Case({name: side(name) for name in SIDES}, lambda: {"what": (len(turns), "s")})
    seen = list(rounds.take_turns(case, 2))
    assert turns == ["rbdstore", "peer", "rbdstore", "peer"]
    assert seen[1] == {
        "figures": {"rbdstore": {"row": 3}, "peer": {"row": 4}},
        "beside": {"what": (4, "s")},
    }


def test_another_side_begins_each_round_where_that_matters():
    turns = []
    sides = {name: lambda name=name: {"row": turns.append(name)} for name in SIDES}
    list(rounds.take_turns(rounds.Case(sides, swapping=True), 3))
    assert turns == ["rbdstore", "peer", "peer", "rbdstore", "rbdstore", "peer"]


def test_the_ratio_is_that_of_each_pair():
    (row,) = rounds.compare(ROUNDS, SIDES)
    assert row.row == "row"
    assert row.ours == rounds.Spread(2.0, 1.0, 4.0)
    assert row.other == rounds.Spread(3.0, 2.0, 40.0)
    # Not 3 / 2, the ratio of the medians.
    assert row.ratio == rounds.Spread(2.0, 1.5, 10.0)
    assert row.pairs == 3
    assert row.limit is None


def test_rows_of_both_sides_only():
    pair = {"figures": {"rbdstore": {"a": 1, "b": 1}, "peer": {"b": 2}}, "beside": {}}
    assert [row.row for row in rounds.compare([pair], SIDES)] == ["b"]
    assert rounds.compare([], SIDES) == []


def test_what_is_told_beside():
    told = [found(1, 2, **{rounds.LIMIT: limit}) for limit in (0.5, 0.7, 0.9)]
    assert rounds.beside(told) == {rounds.LIMIT: (rounds.Spread(0.7, 0.5, 0.9), "s")}
    assert rounds.compare(told, SIDES)[0].limit.median == 0.7
    assert rounds.beside([]) == {}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234.5, "1,234"),
        (12.34, "12.3"),
        (1.0, "1.00"),
        (0.0123, "0.012"),
        # Counted, not measured.
        (50, "50"),
        (5000, "5,000"),
    ],
)
def test_numbers_as_they_are_shown(value, shown):
    assert results.number(value) == shown


def test_columns_are_aligned():
    assert results.grid(("what", "x"), [("a", "1"), ("longer", "23")]).splitlines() == [
        "| what   | x  |",
        "| ------ | -- |",
        "| a      | 1  |",
        "| longer | 23 |",
    ]


def fill(folder, case, several):
    kept = results.Results(folder, TABLE)
    kept.begin(case, MACHINE)
    for each in several:
        kept.add(case, each)
    return kept


def test_rounds_are_kept_one_by_one(tmp_path):
    kept = results.Results(tmp_path / "new", TABLE)
    kept.begin("first", MACHINE)
    for count, each in enumerate(ROUNDS, 1):
        kept.add("first", each)
        again = results.Results(tmp_path / "new", TABLE)
        assert again.rounds("first") == ROUNDS[:count]
    assert again.rounds("second") == []


def test_a_case_that_begins_anew_leaves_the_others(tmp_path):
    fill(tmp_path, "first", ROUNDS)
    fill(tmp_path, "second", ROUNDS[:1])
    kept = results.Results(tmp_path, TABLE)
    # Until there is something better, the old figures stay in the file.
    kept.begin("second", MACHINE)
    assert results.Results(tmp_path, TABLE).rounds("second") == ROUNDS[:1]
    kept.add("second", ROUNDS[2])
    again = results.Results(tmp_path, TABLE)
    assert (again.rounds("first"), again.rounds("second")) == (ROUNDS, ROUNDS[2:])


def test_the_page_has_every_case_and_what_is_wanted(tmp_path):
    fill(tmp_path, "first", ROUNDS)
    kept = fill(tmp_path, "second", [found(5.0, 1.0, "another", **{"md5 alone": 1.25})])
    page = kept.markdown().splitlines()
    assert page[0] == "# A table"
    (line,) = (each for each in page if each.startswith("| row "))
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "row",
        "2.00 s (1.00 to 4.00)",
        "3.00 s (2.00 to 40.0)",
        "2.00 (1.50 to 10.0)",
        ">= 1.8",
        "3",
    ]
    assert any(each.startswith("| another ") and " 0.200 " in each for each in page)
    assert any(each.startswith("| md5 alone ") and "1.25 s" in each for each in page)
    assert any("a good one, 2 cores" in each for each in page)


def test_the_pages_are_those_of_the_figures():
    """Nobody edits a figure on a page: it is in the file beside it."""
    for path in ROOT.glob("doc/benchmarks/*.json"):
        lines = path.with_suffix(".md").read_text().splitlines()
        for case in json.loads(path.read_text())["cases"].values():
            for row in rounds.compare(case["rounds"], tuple(case["rounds"][0]["figures"])):
                begin, ratio = f"| {row.row} ", f" {results.number(row.ratio.median)} ("
                assert any(line.startswith(begin) and ratio in line for line in lines), row
