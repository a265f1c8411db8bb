# SPDX-License-Identifier: Apache-2.0
"""A pool of 1,000 volumes: its statistics, and the list of what is in it.

``python bench/pools.py [stats] [listing] [--pairs N] [--out FOLDER] [--resume] [--quick]``
"""

import concurrent.futures
import contextlib
import functools

import rados
import rbd
from measuring import ceph, program
from measuring.rounds import Case, seconds
from volume_sides import Cinder, GiB

CHAINS = 10
DEPTH = 4


def fill(sandbox, pool, names, size=GiB):
    """Make empty images with librbd alone."""
    with (
        rados.Rados(conffile=sandbox.conf_path, rados_id="admin") as client,
        client.open_ioctx(pool) as ioctx,
        concurrent.futures.ThreadPoolExecutor(4) as executor,
    ):
        list(executor.map(lambda name: rbd.RBD().create(ioctx, name, size), names))


def count_of(given):
    return 100 if given.quick else 1000


@contextlib.contextmanager
def stats(row, given):
    count = count_of(given)
    fill(given.ceph, "volumes", [f"volume-{number}" for number in range(count)])

    def ours():
        found = []
        took = seconds(lambda: found.append(store.volumes.stats()))
        check(found[0].provisioned // GiB)
        return {row: 1000 * took}

    def theirs():
        took, provisioned = cinder.ask("stats")
        check(provisioned)
        return {row: 1000 * took}

    def check(provisioned):
        if provisioned != count:
            raise RuntimeError(f"{provisioned} GiB are provisioned, not {count}")

    conf = given.ceph.conf_path
    with ceph.connect(conf, "volumes") as store, Cinder(conf) as cinder:
        # Connects.
        store.volumes.stats()
        yield Case({"rbdstore": ours, "Cinder": theirs})


# The list


def plant(store, sandbox, count):
    """Half of them stand alone, the others are clones of one, but for some chains."""
    volumes = store.volumes
    fill(sandbox, "volumes", [f"volume-{number}" for number in range(count // 2)])
    chained = CHAINS * (DEPTH - 1)
    names = [f"clone-{number}" for number in range(count - count // 2 - chained)]
    volumes.create_cloned_volumes(names, "volume-0")
    for depth in range(1, DEPTH):
        with concurrent.futures.ThreadPoolExecutor(CHAINS) as executor:
            list(executor.map(functools.partial(lengthen, volumes, depth), range(CHAINS)))


def lengthen(volumes, depth, chain):
    source = f"chain-{chain}-{depth - 1}" if depth > 1 else f"clone-{chain}"
    volumes.create_cloned_volume(f"chain-{chain}-{depth}", source)


def opened(ioctx):
    """What ``volumes.list()`` tells, with librbd, one after the other."""
    found = {}
    for name in rbd.RBD().list(ioctx):
        with rbd.Image(ioctx, name, read_only=True) as image:
            above = parents(ioctx, image)
            found[name] = image.size(), above[0] if above else None, len(above)
    return found


def opened_used(ioctx):
    """What a forest tells: how many bytes of its own each has, too."""
    found = opened(ioctx)
    for name, told in found.items():
        used = []
        with rbd.Image(ioctx, name, read_only=True) as image:
            image.diff_iterate(
                0,
                image.size(),
                None,
                lambda _offset, length, exists, used=used: used.append(length * exists),
                include_parent=False,
                whole_object=True,
            )
        found[name] = (*told, sum(used))
    return found


def parents(ioctx, image):
    """The names above it, the next one first."""
    found = []
    with contextlib.ExitStack() as stack, contextlib.suppress(rbd.ImageNotFound):
        while True:
            found.append(image.parent_info()[1])
            image = stack.enter_context(rbd.Image(ioctx, found[-1], read_only=True))
    return found


@contextlib.contextmanager
def listing(given):
    count = count_of(given)
    conf = given.ceph.conf_path

    def ours():
        found, forest = [], []
        took = {
            LIST: seconds(lambda: found.extend(store.volumes.list())),
            FOREST: seconds(lambda: forest.append(store.forest())),
        }
        seen["ours"] = {
            each.name: (each.size, each.parent.image if each.parent else None, each.depth)
            for each in found
        }
        return took

    def theirs():
        found = []
        took = {
            LIST: seconds(lambda: found.append(opened(ioctx))),
            FOREST: seconds(opened_used, ioctx),
        }
        if found[0] != seen["ours"] or len(found[0]) != count:
            raise RuntimeError("the lists differ")
        return took

    seen = {}
    with (
        ceph.connect(conf, "volumes") as store,
        rados.Rados(conffile=conf, rados_id="admin") as client,
        client.open_ioctx("volumes") as ioctx,
    ):
        plant(store, given.ceph, count)
        yield Case({"rbdstore": ours, "librbd": theirs})


STATS_ROW = "1,000 volumes"
LIST, FOREST = "size, parent and depth", "the same, and the bytes used"

STATS = program.Table(
    name="stats",
    title="Statistics of a shared pool of 1,000 volumes",
    sides=("rbdstore", "Cinder"),
    cases={STATS_ROW: program.Plan(functools.partial(stats, STATS_ROW), 10)},
    wanted={STATS_ROW: ">= 50"},
    unit="ms",
    note="Cinder's driver with `rbd_exclusive_cinder_pool = false`, which is what makes it look "
    "at what others have in the pool.",
)

LISTING = program.Table(
    name="listing",
    title="List of 1,000 volumes",
    sides=("rbdstore", "librbd"),
    cases={"1,000 volumes": program.Plan(listing, 30)},
    wanted={},
    note="500 stand alone; the others are clones of one, or of these, up to four deep. `librbd` "
    "is the plain binding, opening one after the other, and its parents; both lists are seen to "
    "be the same. The first row is `volumes.list()`, the second `forest()`.",
)

if __name__ == "__main__":
    program.main(__doc__, STATS, LISTING)
