# SPDX-License-Identifier: Apache-2.0
"""Sum the closing lines of the pytest runs in a log: pytest_totals.py RUNS <LOG."""

import re
import sys
from collections import Counter

ANSI = re.compile(r"\x1b\[[0-9;]*m")
CLOSING = re.compile(r"^=+ (?P<counts>.+) in (?P<seconds>[0-9.]+)s(?: \([0-9:]+\))? =+$")
PLURAL = {"warning": "warnings", "error": "errors"}


def totals(lines):
    """Return the number of runs that closed, the sum of each outcome, and the seconds."""
    runs, seconds, sums = 0, 0.0, Counter()
    for line in lines:
        closing = CLOSING.match(ANSI.sub("", line.rstrip()))
        if not closing:
            continue
        runs += 1
        seconds += float(closing["seconds"])
        for number, outcome in re.findall(r"(\d+) ([a-z ]+)", closing["counts"]):
            sums[PLURAL.get(outcome, outcome)] += int(number)
    return runs, sums, seconds


def main():
    expected = int(sys.argv[1])
    runs, sums, seconds = totals(sys.stdin)
    if runs != expected:
        print(f"{expected} pytest runs were expected, {runs} came to their end")
    counts = ", ".join(f"{number} {outcome}" for outcome, number in sums.items())
    print(f"==== {counts or 'no tests ran'} in {seconds:.2f}s ====")
    return 0 if runs == expected and sums["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
