# SPDX-License-Identifier: Apache-2.0
"""One pass of ``rbdstore gc`` over a large pool: one request at a time, and eight; and its memory.

``python bench/collecting.py [--images N] [--runs N] [--far MS]`` prints the medians of several
runs. Half of the images are volumes, half are clones of one of them. The two sides take turns;
each pass is in a process of its own, so that the most memory that it has taken is that pass's.
With ``--far`` each message of an OSD's is held up for up to so many milliseconds, as a network
would.
"""

import argparse
import concurrent.futures
import pathlib
import re
import statistics
import subprocess
import sys

from measuring import ceph, machine
from measuring.results import grid
from measuring.rounds import seconds
from pools import fill

from rbdstore import parallel
from rbdstore.testing.sandbox import CephSandbox

SIDES = {"one at a time": 1, "eight at a time": 8}
# So many clones share a snapshot.
BATCH = 500


def plant(sandbox, count):
    """Make the images, and a few leftovers: drafts that nobody is making."""
    volumes = [f"volume-{number}" for number in range(count // 2)]
    clones = [f"clone-{number}" for number in range(count - len(volumes))]
    fill(sandbox, "volumes", volumes)
    fill(sandbox, "volumes", [f"volume-{number}.01234567.partial" for number in range(10)])
    with (
        ceph.connect(sandbox.conf_path, "volumes") as store,
        concurrent.futures.ThreadPoolExecutor(2) as executor,
    ):
        batches = [clones[start : start + BATCH] for start in range(0, len(clones), BATCH)]
        list(
            executor.map(
                lambda names: store.volumes.create_cloned_volumes(names, "volume-0"), batches
            )
        )


def memory(what):
    """A figure of this process, in MiB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) / 1024


def one(conf, most):
    """In a process of its own: seconds, MiB before, the most MiB, and how much was found."""
    parallel.MOST = most
    with ceph.connect(conf, "volumes") as store:
        store.volumes.stats()
        before, found = memory("VmRSS"), []
        took = seconds(lambda: found.append(store.gc()))
        print(took, before, memory("VmHWM"), len(found[0].findings))


def conf_of(sandbox, far):
    """What the passes connect by; it is gone with the sandbox."""
    path = sandbox.path / "far.conf"
    settings = ceph.FAR.replace("0.03", str(far / 1000)) if far else ""
    path.write_text(pathlib.Path(sandbox.conf_path).read_text() + settings)
    return str(path)


def measured(conf, most):
    said = subprocess.run(
        [sys.executable, __file__, "--one", conf, str(most)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return [float(figure) for figure in said.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--far", type=float, default=0, metavar="MS")
    parser.add_argument("--one", nargs=2, metavar=("CONF", "MOST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], int(arguments.one[1]))
        return
    with CephSandbox() as sandbox:
        made = seconds(plant, sandbox, arguments.images)
        print(f"{arguments.images} images made in {made:.0f} s; load {machine.load()}", flush=True)
        conf = conf_of(sandbox, arguments.far)
        found = {side: [] for side in SIDES}
        for _ in range(arguments.runs):
            for side, most in SIDES.items():
                found[side].append(measured(conf, most))
                print(side, *(f"{figure:.2f}" for figure in found[side][-1]), flush=True)
    rows = []
    for side, figures in found.items():
        took, before, most, count = map(statistics.median, zip(*figures, strict=True))
        rows.append((side, f"{took:.2f}", f"{before:.0f}", f"{most:.0f}", f"{count:.0f}"))
    print(grid(("", "s", "MiB before", "MiB at the most", "found"), rows))


if __name__ == "__main__":
    main()
