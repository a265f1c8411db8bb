# SPDX-License-Identifier: Apache-2.0
"""The most memory that a process takes for 8 uploads of 1 GiB at once, beside glance_store's.

``python bench/memory.py [--pairs N] [--out FOLDER] [--resume] [--quick]``
"""

import contextlib
import functools
import pathlib
import subprocess
import sys

import transfer
from measuring import program
from measuring.rounds import Case

UPLOADS = pathlib.Path(__file__).with_name("uploads.py")
BEFORE, MOST = "after one upload", "8 at once, at the most"


@contextlib.contextmanager
def peaks(given):
    path = transfer.body_of(given, 1)

    def measure(side):
        """In a process of its own, whose memory is only this."""
        # Without its cluster it would not end when this process is killed.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, UPLOADS]
        said = subprocess.run(
            [*command, side, given.ceph.conf_path, path],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        figures = [int(kib) / 1024 for kib in said.split()[-2:]]
        return dict(zip((BEFORE, MOST), figures, strict=True))

    yield Case({side: functools.partial(measure, side) for side in transfer.SIDES})


# All eight at once are more than a sandbox's OSD holds otherwise; and in pages, no more memory is
# taken for them than they need.
LARGE = {"memstore device bytes": 12 << 30, "memstore page set": "true"}

TABLE = program.Table(
    name="memory",
    title="Memory of a process that uploads",
    sides=transfer.SIDES,
    cases={"8 uploads": program.Plan(peaks, 75, settings=LARGE)},
    wanted={MOST: "rbdstore < 400 MiB"},
    unit="MiB",
    ratio="times as much",
    note="Resident memory of the whole process: the interpreter, the libraries, and librbd's.",
)

if __name__ == "__main__":
    program.main(__doc__, TABLE)
