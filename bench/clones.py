# SPDX-License-Identifier: Apache-2.0
"""50 clones of one volume and their deletion, beside Cinder's RBD driver.

``python bench/clones.py [--pairs N] [--out FOLDER] [--resume] [--quick]``. Cinder's clones take
the monitors a second each, and so does what they leave behind: this takes its time.
"""

import concurrent.futures
import contextlib
import functools

from measuring import ceph, program
from measuring.rounds import Case, seconds
from volume_sides import Cinder, GiB

SIDES = ("rbdstore", "Cinder")


def rows(prefix):
    return [
        f"{prefix}: {what}"
        for what in ("made", "deleted", "made and deleted", "until nothing is left")
    ]


def in_threads(threads, do, things):
    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        list(executor.map(do, things))


def make_each(volumes, threads, names):
    in_threads(threads, lambda name: volumes.create_cloned_volume(name, "volume-source"), names)


def make_all(volumes, threads, names):
    volumes.create_cloned_volumes(names, "volume-source")


@contextlib.contextmanager
def clones(prefix, make, threads, cinders_threads, given):
    count = 5 if given.quick else 50
    sandbox = given.ceph
    left = {}

    def figures(made, deleted, cleared):
        together = made + deleted
        return dict(zip(rows(prefix), (made, deleted, together, together + cleared), strict=True))

    def ours():
        names = [f"volume-{number}" for number in range(count)]
        volumes.create("volume-source", GiB)
        made = seconds(make, volumes, threads, names)
        deleted = seconds(in_threads, threads, volumes.delete, names)
        volumes.delete("volume-source")
        # It has nothing to clear: this raises if there is.
        ceph.check_empty(sandbox, "volumes")
        return figures(made, deleted, 0)

    def theirs():
        made, deleted = cinder.ask("clones", count, cinders_threads)
        found = []
        cleared = seconds(lambda: found.extend(ceph.remove_everything(sandbox, "volumes")))
        left["images that Cinder leaves"] = found[0], ""
        left["snapshots that Cinder leaves"] = found[1], ""
        return figures(made, deleted, cleared)

    with (
        ceph.connect(sandbox.conf_path, "volumes") as store,
        Cinder(sandbox.conf_path, threads=cinders_threads) as cinder,
    ):
        volumes = store.volumes
        yield Case(dict(zip(SIDES, (ours, theirs), strict=True)), lambda: dict(left))


CASES = {
    "20 threads": (make_each, 20, 20, ">= 12"),
    "50 threads": (make_each, 50, 50, ">= 30"),
    # Cinder has no call for many: one after the other.
    "create_cloned_volumes": (make_all, 50, 1, ">= 30"),
}

TABLE = program.Table(
    name="clones",
    title="50 clones of one volume, and their deletion",
    sides=SIDES,
    cases={
        name: program.Plan(functools.partial(clones, name, *how), 110)
        for name, (*how, _) in CASES.items()
    },
    wanted={row: wanted for name, (*_, wanted) in CASES.items() for row in rows(name)[2:]},
    note="The source's own creation and deletion are not timed. Cinder's driver leaves the "
    "source, renamed, with a protected snapshot for each clone; the time to remove these, one "
    "after the other with librbd, is in the last row of each case. rbdstore leaves nothing: each "
    "round sees to it. `create_cloned_volumes` makes all of them by one call, deleted by 50 "
    "threads; Cinder's clones are made and deleted one after the other there.",
)

if __name__ == "__main__":
    program.main(__doc__, TABLE)
