# SPDX-License-Identifier: Apache-2.0
"""What an operation costs in a pool of 100 images, and in one of 5,000.

``python bench/growth.py [--pairs N] [--out FOLDER] [--resume] [--quick]``
"""

import contextlib
import functools

from measuring import ceph, program
from measuring.rounds import Case, seconds
from pools import fill
from volume_sides import GiB

MiB = 1 << 20
SIDES = ("100 images", "5,000 images")
ROWS = ("create", "clone", "delete, a clone", "delete", "stats")
# In each round, of each.
OPERATIONS = 20


@contextlib.contextmanager
def growth(given):
    """Two pools of one cluster take turns."""
    conf = given.ceph.conf_path
    with contextlib.ExitStack() as stack:
        images = stack.enter_context(ceph.connect(conf, "images")).images
        uri = images.add("image", bytes(MiB)).uri
        sides = {}
        counts = (100, 300 if given.quick else 5000)
        for side, pool, count in zip(SIDES, ("volumes", "vms"), counts, strict=True):
            fill(given.ceph, pool, [f"volume-{number}" for number in range(count)])
            volumes = stack.enter_context(ceph.connect(conf, pool)).volumes
            sides[side] = functools.partial(operations, volumes, uri)
        # What a service does once.
        for measure in sides.values():
            measure()
        yield Case(sides)


def operations(volumes, uri):
    """Milliseconds of one, of as many as follow each other."""
    names = [f"new-{number}" for number in range(OPERATIONS)]
    took = []
    for do in (
        lambda name: volumes.create(name, GiB),
        lambda name: volumes.clone(f"{name}-clone", uri, GiB),
        lambda name: volumes.delete(f"{name}-clone"),
        volumes.delete,
        lambda _name: volumes.stats(),
    ):
        took.append(1000 * seconds(lambda do=do: [do(name) for name in names]) / OPERATIONS)
    return dict(zip(ROWS, took, strict=True))


TABLE = program.Table(
    name="growth",
    title="rbdstore's operations in a pool of 100 and of 5,000 images",
    sides=SIDES,
    cases={"growth": program.Plan(growth, 15)},
    wanted=dict.fromkeys(ROWS, "<= 1.3"),
    unit="ms",
    ratio="times as long",
    note="A round has 20 operations of each kind, one after the other; told is what one took. A "
    "clone is one of an image in another pool.",
)

if __name__ == "__main__":
    program.main(__doc__, TABLE)
