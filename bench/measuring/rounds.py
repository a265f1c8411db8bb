# SPDX-License-Identifier: Apache-2.0
"""Two sides that take turns, and what their figures say.

A *figure* is a number in its table's unit, the smaller the better. A side measures once and
returns a figure for each *row* of the table. A *round* is what all sides returned, each after the
other; that what else the machine does slows down both is why they take turns.
"""

import dataclasses
import statistics
import time

LIMIT = "the limit"


def seconds(do, *args):
    begun = time.perf_counter()
    do(*args)
    return time.perf_counter() - begun


@dataclasses.dataclass(frozen=True)
class Case:
    """What one cluster is started for.

    :ivar sides: what measures, by name; ours is first, then whom it is compared with
    :ivar beside: measures, too, in each round, what is told beside: ``{what: (number, unit)}``
    :ivar swapping: whether another side begins each round; else the first one does
    """

    sides: dict
    beside: object = dict
    swapping: bool = False


def take_turns(case, count):
    """Yield ``count`` rounds: ``{"figures": {side: {row: figure}}, "beside": ...}``."""
    sides = list(case.sides.items())
    for number in range(count):
        turn = number % len(sides) if case.swapping else 0
        figures = {name: measure() for name, measure in sides[turn:] + sides[:turn]}
        yield {"figures": figures, "beside": case.beside()}


@dataclasses.dataclass(frozen=True)
class Spread:
    """Numbers, by their middle and their ends."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers):
        numbers = list(numbers)
        return cls(statistics.median(numbers), min(numbers), max(numbers))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row of a table.

    :ivar ratio: how many times our figure the other is; one for each pair, whose median need not
        be that of the medians
    :ivar limit: what nobody can be faster than, where it was told beside as :data:`LIMIT`
    """

    row: str
    ours: Spread
    other: Spread
    ratio: Spread
    pairs: int
    limit: Spread | None


def compare(rounds, sides):
    """Return a :class:`Comparison` for each row that both sides have."""
    ours, other = sides
    told = beside(rounds).get(LIMIT)
    limit = told[0] if told else None
    pairs = [(each["figures"][ours], each["figures"][other]) for each in rounds]
    return [
        Comparison(
            row,
            Spread.of(mine[row] for mine, _ in pairs),
            Spread.of(theirs[row] for _, theirs in pairs),
            Spread.of(theirs[row] / mine[row] for mine, theirs in pairs),
            len(pairs),
            limit,
        )
        for row in (pairs[0][0] if pairs else ())
        if row in pairs[0][1]
    ]


def beside(rounds):
    """Return ``{what: (Spread, unit)}`` of what was told beside."""
    return {
        what: (Spread.of(each["beside"][what][0] for each in rounds), unit)
        for what, (_, unit) in (rounds[0]["beside"].items() if rounds else ())
    }
