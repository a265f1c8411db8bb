# SPDX-License-Identifier: Apache-2.0
"""What every program of bench does: its tables, case by case, each on a cluster of its own.

A case runs in a process of its own, which is ended when it takes far too long: nobody need be
there. What failed is told at the end; the other cases are measured all the same.
"""

import argparse
import ctypes
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping

from measuring import machine, results, rounds
from rbdstore.testing.sandbox import CephSandbox

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "doc" / "benchmarks"
TRIALS = ROOT / ".work" / "bench-quick"
# To start a cluster and to fill it, before the first round.
SETUP_LIMIT = 300
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True)
class Given:
    """What a case is made from."""

    ceph: CephSandbox
    folder: pathlib.Path
    quick: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a case is made.

    :ivar make: takes a :class:`Given`, and returns a context manager of a :class:`rounds.Case`
    :ivar lasts: how many seconds a round takes on an idle machine, roughly
    :ivar times: rounds for each pair that is asked for, where one is short
    :ivar settings: of its cluster, beside the usual ones
    """

    make: Callable
    lasts: float
    times: int = 1
    settings: Mapping = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """What is written to one page.

    :ivar sides: the names of both, ours first
    :ivar cases: ``{name: Plan}``
    :ivar wanted: what is wanted of a row's ratio, where anything is
    :ivar ratio: what the ratio of the other's figure to ours is called
    """

    name: str
    title: str
    sides: tuple[str, str]
    cases: dict[str, Plan]
    wanted: dict[str, str]
    unit: str = "s"
    ratio: str = "times as fast"
    note: str = ""


def main(doc, *tables):
    """Measure the tables that the command line names, or all; leave with 1 if a case failed."""
    # Here, so that one that is missing is missed before an hour has gone by; tests do without it.
    from measuring import charts

    arguments = _arguments(doc, tables)
    out = arguments.out or (TRIALS if arguments.quick else PAGES)
    if arguments.quick and out.resolve() == PAGES:
        sys.exit("what is tried quickly is not for doc/benchmarks")
    chosen = [table for table in tables if not arguments.table or table.name in arguments.table]
    pairs = 1 if arguments.quick else arguments.pairs
    failed = []
    # As Ctrl-C does: what was begun is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for table in chosen:
            for case, plan in table.cases.items():
                count = pairs * (1 if arguments.quick else plan.times)
                if arguments.resume and len(results.Results(out, table).rounds(case)) >= count:
                    _say(f"{table.name}, {case}: is there")
                    continue
                job = _Job(table, case, count, out, pathlib.Path(folder), arguments.quick)
                if not _run(job):
                    failed.append(f"{table.name}, {case}")
            failed += _write(out, table, charts.draw)
    if failed:
        sys.exit("failed: " + "; ".join(failed))


def _arguments(doc, tables):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    names = [table.name for table in tables]
    parser.add_argument("table", nargs="*", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--pairs", type=int, default=5, help="how many of each (default: 5)")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the pages (doc/benchmarks)")
    parser.add_argument("--resume", action="store_true", help="only what is not there yet")
    parser.add_argument("--quick", action="store_true", help="try it: one pair of little sizes")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error("at least one pair")
    if wrong := set(arguments.table) - set(names):
        parser.error(f"no such table: {', '.join(sorted(wrong))}")
    return arguments


@dataclasses.dataclass(frozen=True)
class _Job:
    table: Table
    case: str
    count: int
    out: pathlib.Path
    folder: pathlib.Path
    quick: bool

    @property
    def plan(self):
        return self.table.cases[self.case]


def _run(job):
    expected = job.count * job.plan.lasts
    about = "" if job.quick else f", about {expected / 60:.1f} min"
    _say(f"{job.table.name}, {job.case}: rounds {job.count}{about}; load {machine.load()}")
    # Forked, while this process has no threads and no cluster.
    process = multiprocessing.get_context("fork").Process(
        target=_measure, args=(job,), daemon=True
    )
    process.start()
    process.join(SETUP_LIMIT + 10 * expected)
    if process.is_alive():
        _say(f"{job.table.name}, {job.case}: takes too long, is ended")
        process.kill()
        process.join()
    return process.exitcode == 0


def _measure(job):
    """Measure one case, in a process of its own."""
    # Nobody is to go on for an hour for one that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        kept = results.Results(job.out, job.table)
        kept.begin(job.case, machine.describe())
        # Production's monitors gather changes for a second.
        with (
            CephSandbox(paxos_propose_interval=1.0, settings=job.plan.settings) as ceph,
            job.plan.make(Given(ceph, job.folder, job.quick)) as case,
        ):
            for number, found in enumerate(rounds.take_turns(case, job.count), 1):
                kept.add(job.case, found)
                _say(f"  {number}: {_shown(found)}")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _write(out, table, draw):
    """Write a table's page; return what failed."""
    try:
        kept = results.Results(out, table)
        if comparisons := kept.comparisons():
            (out / f"{table.name}.md").write_text(kept.markdown())
            draw(out / f"{table.name}.png", table, comparisons)
            _say(kept.markdown())
    except Exception:
        traceback.print_exc()
        return [f"the page of {table.name}"]
    return []


def _shown(found):
    sides = [
        f"{side} " + ", ".join(f"{row} {results.number(figure)}" for row, figure in rows.items())
        for side, rows in found["figures"].items()
    ]
    more = [
        f"{what} {results.number(number)} {unit}"
        for what, (number, unit) in found["beside"].items()
    ]
    return "; ".join(sides + more)


def _say(text):
    print(text, flush=True)
