# SPDX-License-Identifier: Apache-2.0
"""Backups of a volume of 10 GiB, beside Cinder's way of making them, and beside bare copies.

``python bench/backups.py [backups] [deep_copies] [bare_copies] [chains] [--pairs N] [--out FOLDER]
[--resume] [--quick]``
"""

import contextlib
import functools
import itertools
import random
import statistics
import time

from backup_sides import PIECE, USERS, Bare, Client, Copy, GiB, MiB, Ours, Stock, Volume
from measuring import ceph, program
from measuring.rounds import Case, seconds

KiB = 1 << 10
# The monitors gather for a second from when they last did something, which is less than a second
# ago in an idle cluster, too: a manager's report and its line of log come every two seconds. So
# for how long a snapshot waits is chance, up to a second, and is to be, whatever came before.
PAUSES = 1.2, 3.2

FULL = "full, of 1 GiB of data"
CHANGES = {
    "increment, 1 % (100 MiB) changed": (GiB // 10, PIECE),
    "increment, 10 % (1 GiB) changed": (GiB, PIECE),
    "increment, 10 MiB changed": (10 * MiB, PIECE),
    "increment, 64 KiB in each of 1,000 objects": (1000 * 64 * KiB, 64 * KiB),
}
RESTORE_FULL, RESTORE_LAST = "restore of the full one", "restore of the last increment"


@contextlib.contextmanager
def quickly(given):
    """Have the monitors gather nothing, for what is not timed."""
    gather(given, 0.05)
    yield
    gather(given, 1)


def gather(given, interval):
    given.ceph.ceph("tell", "mon.a", "config", "set", "paxos_propose_interval", str(interval))


@contextlib.contextmanager
def backups(kinds, changes, given):
    """Measure a full backup, increments and restores."""
    client = Client(given)
    numbers = itertools.count()
    pauses = random.Random("pauses")

    def measure(kind):
        took = {}

        def timed(row, do, *args):
            time.sleep(pauses.uniform(*PAUSES))
            took[row] = seconds(do, *args)

        with quickly(given):
            volume = Volume(given, f"volume-{next(numbers)}")
            side = kind(given, volume)
        timed(FULL, side.full)
        for row, change in changes.items():
            volume.change(*change)
            timed(row, side.increment)
        restored = f"{volume.name}-restored"
        timed(RESTORE_FULL, side.restore, 0, restored)
        with quickly(given):
            if not changes:
                client.check_same(volume.name, restored)
            client.remove("volumes", restored)
        if changes:
            timed(RESTORE_LAST, side.restore, -1, restored)
        with quickly(given):
            if changes:
                client.check_same(volume.name, restored)
                client.remove("volumes", restored)
            side.forget()
            volume.remove()
        for pool in USERS:
            ceph.check_empty(given.ceph, pool)
        return took

    # Memory that the machine has not used yet is slow: that is not to count for the first side.
    with quickly(given):
        for kind in () if given.quick else kinds.values():
            measure(kind)
    sides = {name: functools.partial(measure, kind) for name, kind in kinds.items()}
    yield Case(sides, swapping=True)


def lengthened(volume, side, count):
    """Make increments; the seconds of the last three, by their median."""
    took = []
    for _ in range(count):
        volume.change(STEP)
        took.append(seconds(side.increment))
    return statistics.median(took[-3:])


@contextlib.contextmanager
def chains(given):
    """One side begins a chain, the other one ends it."""
    length = 6 if given.quick else 30
    client = Client(given)
    chain = []

    def restored(side, number, volume=None):
        """The second time, in memory that the machine has used before."""
        for _ in range(2):
            took = seconds(side.restore, number, "volume-3")
            if volume is not None:
                client.check_same(volume.name, "volume-3")
            client.remove("volumes", "volume-3")
        return took

    def begin():
        volume = Volume(given, "volume-1")
        side = Ours(given, volume)
        chain[:] = volume, side
        took = {}
        side.full()
        took[INCREMENT] = lengthened(volume, side, 4)
        # Of as much as the last one is of: the chain's own full one has less data.
        other = Volume(given, "volume-2")
        for _ in range(length):
            other.change(STEP)
        whole = Ours(given, other)
        whole.full()
        took[RESTORE] = restored(whole, 0)
        whole.forget()
        other.remove()
        return took

    def end():
        volume, side = chain
        took = {}
        took[INCREMENT] = lengthened(volume, side, length - 4)
        took[RESTORE] = restored(side, -1, volume)
        side.forget()
        volume.remove()
        return took

    yield Case(dict(zip(ENDS, (begin, end), strict=True)))
    for pool in USERS:
        ceph.check_empty(given.ceph, pool)


STOCK = {"rbdstore": Ours, "export-diff, import-diff": Stock}
COPIES = {"rbdstore": Ours, "rbd deep cp": Copy}
BARE = {"rbdstore": Ours, "bare librbd": Bare}
ENDS = ("at the beginning", "at the end")
# All that a chain has, and three copies of it, is in the memory of the machine.
STEP = 48 * MiB
INCREMENT, RESTORE = "an increment of 48 MiB", "a restore"
# What was overwritten is kept by snapshots, on both sides.
LARGE = {"memstore device bytes": 14 << 30}
NOTE = (
    "A volume of 10 GiB; each object of 4 MiB that is written or changed is so at a random place, "
    "and the percents are those of the volume. Either side reads and writes each pool as the user "
    "whose it is in production, client.cinder and client.cinder-backup. "
)
PAUSED = (
    "Each is timed after a pause of 1.2 to 3.2 seconds, as chance has it, and so is for how long "
    "a snapshot waits for the monitors: up to a second. The sides begin the rounds in turn; "
    "before the first round there is one that is not told. "
)


def plan(kinds, changes, lasts):
    return program.Plan(functools.partial(backups, kinds, changes), lasts, settings=LARGE)


BACKUPS = program.Table(
    name="backups",
    title="Backups, beside a snapshot and `rbd export-diff | rbd import-diff`",
    sides=tuple(STOCK),
    cases={"backups": plan(STOCK, CHANGES, 85)},
    wanted={
        FULL: ">= 2",
        "increment, 1 % (100 MiB) changed": ">= 1",
        "increment, 10 % (1 GiB) changed": ">= 1.5",
    },
    note=NOTE + PAUSED + "The pipe is what Cinder's Ceph backup driver does, without what that "
    "does besides. A restore is one into a new volume, whose creation is timed. Restored volumes "
    "are compared with the backed-up ones.",
)

COPYING = program.Table(
    name="deep_copies",
    title="Full backups, beside `rbd deep cp`",
    sides=tuple(COPIES),
    cases={"deep cp": plan(COPIES, {}, 25)},
    wanted={},
    note=NOTE + PAUSED + "A deep copy has no checksums, and knows no increments.",
)

BARE_COPYING = program.Table(
    name="bare_copies",
    title="Full backups, beside a snapshot and the reads and writes alone",
    sides=tuple(BARE),
    cases={"bare": plan(BARE, {}, 20)},
    wanted={},
    note=NOTE + PAUSED + "The bare copy tells what the machine allows: with librbd it makes "
    "the snapshot, and reads and writes the same, eight pieces of each in flight. It has no "
    "checksums, and no one can tell whether all of it is there.",
)

CHAINS = program.Table(
    name="chains",
    title="A chain of 30 increments",
    sides=ENDS,
    cases={"chain": program.Plan(chains, 35, settings=LARGE | {"paxos propose interval": 0.05})},
    wanted={INCREMENT: "<= 1.3", RESTORE: "<= 1.5"},
    ratio="times as long",
    note=NOTE + "The monitors gather for 0.05 seconds, for their second would hide the rest. Told "
    "is, of the increments, the median of the 2nd to the 4th and of the 28th to the 30th; of the "
    "restores, that of a full backup and that of the 30th increment, of as much data.",
)

if __name__ == "__main__":
    program.main(__doc__, BACKUPS, COPYING, BARE_COPYING, CHAINS)
