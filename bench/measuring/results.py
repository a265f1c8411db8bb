# SPDX-License-Identifier: Apache-2.0
"""A table's figures in a file, and the page that they make.

``<table>.json`` has every figure of every round, and is written after each of them, so that
nothing is lost with what comes after. ``<table>.md`` is made from it.
"""

import datetime
import json

from measuring import machine, rounds


class Results:
    """The figures of one table, by case."""

    def __init__(self, folder, table):
        """Read them, if there are any. ``table`` is a :class:`measuring.program.Table`."""
        self.table = table
        self.path = folder / f"{table.name}.json"
        self.cases = {}
        if self.path.exists():
            self.cases = json.loads(self.path.read_text())["cases"]

    def rounds(self, case):
        return self.cases[case]["rounds"] if case in self.cases else []

    def begin(self, case, described):
        """Forget what there is of a case. It takes effect with the first round.

        :param described: the machine, ``{what: text}``
        """
        self.cases[case] = {
            "date": datetime.date.today().isoformat(),
            "machine": described,
            "load": [machine.load()],
            "rounds": [],
        }

    def add(self, case, found):
        """Keep one more round."""
        self.cases[case]["rounds"].append(found)
        self.cases[case]["load"].append(machine.load())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A killed writer leaves the old file.
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"cases": self.cases}, indent=1) + "\n")
        new.replace(self.path)

    def comparisons(self):
        """All rows, in the order of the table's cases."""
        return [
            row
            for case in self.table.cases
            for row in rounds.compare(self.rounds(case), self.table.sides)
        ]

    def markdown(self):
        """The page."""
        table = self.table
        parts = [f"# {table.title}", f"![{table.title}]({table.name}.png)"]
        columns = ("what", *table.sides, table.ratio, "wanted", "pairs")
        parts.append(grid(columns, [self._line(row) for row in self.comparisons()]))
        parts.append("Medians, and in brackets the least and the most of all pairs.")
        parts += self._beside()
        parts += [table.note] if table.note else []
        parts += self._conditions()
        return "\n\n".join(parts) + "\n"

    def _line(self, row):
        unit = self.table.unit
        return (
            row.row,
            _spread(row.ours, unit),
            _spread(row.other, unit),
            _spread(row.ratio, ""),
            self.table.wanted.get(row.row, ""),
            str(row.pairs),
        )

    def _beside(self):
        found = {case: rounds.beside(self.rounds(case)) for case in self._measured()}
        told = {what: None for each in found.values() for what in each}
        if told:
            lines = [
                (what, *(_median(*each[what]) if what in each else "" for each in found.values()))
                for what in told
            ]
            yield grid(("beside", *found), lines)

    def _conditions(self):
        """On what, and how busy it was."""
        machines = {}
        lines = []
        for case in self._measured():
            kept = self.cases[case]
            machines["; ".join(f"{what} {text}" for what, text in kept["machine"].items())] = None
            lines.append((case, kept["date"], f"{kept['load'][0]}", f"{max(kept['load'])}"))
        yield from (f"Measured on: {machine}." for machine in machines)
        yield grid(("measured", "on", "load before", "at the most"), lines)

    def _measured(self):
        return [case for case in self.table.cases if self.rounds(case)]


def number(value):
    """Three digits that count; all of what was counted."""
    if isinstance(value, int):
        return f"{value:,}"
    if value >= 100:
        return f"{value:,.0f}"
    for least, digits in (10, 1), (1, 2):
        if value >= least:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


def _spread(spread, unit):
    unit = f" {unit}" if unit else ""
    return f"{number(spread.median)}{unit} ({number(spread.least)} to {number(spread.most)})"


def _median(spread, unit):
    return f"{number(spread.median)} {unit}".rstrip()


def grid(columns, lines):
    """A table in Markdown, aligned so that it can be read as it is."""
    lines = [columns, *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
