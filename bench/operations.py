# SPDX-License-Identifier: Apache-2.0
"""One volume, one snapshot, one clone, and their deletion, beside Cinder's RBD driver.

``python bench/operations.py [--pairs N] [--out FOLDER] [--resume] [--quick]``
"""

import contextlib
import functools

import volume_sides
from measuring import ceph, program
from measuring.rounds import Case

SIDES = ("rbdstore", "Cinder")
ROWS = (
    "create",
    "create_snapshot",
    "create_from_snapshot",
    "delete, a clone",
    "delete_snapshot",
    "delete",
)
FAR = ", 0 to 30 ms away"


@contextlib.contextmanager
def operations(suffix, given):
    conf = ceph.far(given) if suffix else given.ceph.conf_path
    # The monitors do at once what comes after a second of rest, and gather what comes sooner:
    # without a pause the slower side would wait less for them.
    pause = 0 if given.quick else 1.2

    def shown(took):
        return {f"{row}{suffix}": 1000 * figure for row, figure in took.items()}

    with ceph.connect(conf, "volumes") as store, volume_sides.Cinder(conf) as cinder:
        sides = (
            lambda: shown(volume_sides.operations(store.volumes, pause)),
            lambda: shown(cinder.ask("operations", pause)),
        )
        # What a service does once.
        for side in sides:
            side()
        yield Case(dict(zip(SIDES, sides, strict=True)))
        ceph.check_empty(given.ceph, "volumes")


TABLE = program.Table(
    name="operations",
    title="One operation at a time",
    sides=SIDES,
    cases={
        "near": program.Plan(functools.partial(operations, ""), 17, times=2),
        "far": program.Plan(functools.partial(operations, FAR), 40),
    },
    wanted={f"{row}{suffix}": ">= 1.0" for row in ROWS for suffix in ("", FAR)},
    unit="ms",
    note="Each after a pause, so that no operation waits for the monitors to end what the one "
    "before began. rbdstore keeps a lease and a journal for each, so that an operation that is "
    "cut off is completed or taken back; Cinder's driver connects anew for each.",
)

if __name__ == "__main__":
    program.main(__doc__, TABLE)
