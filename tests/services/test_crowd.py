# SPDX-License-Identifier: Apache-2.0
"""Four processes of several threads that do everything, on one cluster, for half a minute.

Nothing that anybody was told is done is lost, nothing is left in the end, and there are no errors
but those that a race explains (:mod:`crowd`). ``RBDSTORE_CROWD_SECONDS`` lets it take longer, and
``RBDSTORE_CROWD_THREADS`` lets there be more in each process.
"""

import collections
import os
import pickle

import crowd
import pytest
import racers

SECONDS = float(os.environ.get("RBDSTORE_CROWD_SECONDS", "30"))
PROCESSES = 4
THREADS = int(os.environ.get("RBDSTORE_CROWD_THREADS", "2"))

# However slow the machine is, each member does everything once, and deletes what it made.
PATIENCE = SECONDS + 600

# No lease may run out here: the machine may be slow, but nobody dies.
OPTIONS = {"rbd_lease_seconds": 60, "rbd_store_chunk_size": 1, "rbd_max_clone_depth": 2}


@pytest.mark.timeout(2 * PATIENCE)
def test_nobody_loses_anything_in_a_crowd(place, images, volumes, tmp_path):
    with (
        racers.running(place, PROCESSES // 2, **OPTIONS) as some,
        racers.running(place, PROCESSES // 2, rbd_flatten_target="destination", **OPTIONS) as rest,
    ):
        processes = [*some, *rest]
        paths = [tmp_path / str(number) for number in range(PROCESSES)]
        for number, (process, path) in enumerate(zip(processes, paths, strict=True)):
            members = range(number * THREADS + 1, (number + 1) * THREADS + 1)
            process.begin(crowd.work, path, SECONDS, members)
        wait_for(processes)
        everybody = [known for path in paths for known in pickle.loads(path.read_bytes())]

        done = sum((done for *_, done in everybody), collections.Counter())
        print(*(f"{count:6} {what}" for what, count in sorted(done.items())), sep="\n")
        assert set(done) >= {f"own {verb}" for verb in crowd.OWN}
        assert set(done) >= {f"shared {verb}" for verb in crowd.RACES}

        for owned_volumes, owned_images, _ in everybody:
            for name, known in owned_volumes.items():
                assert known.is_seen(*crowd.see(volumes._pool, name)), name
            for name, stamps in owned_images.items():
                assert b"".join(images.get(images._uri(name))) == crowd.content(stamps), name
        owned = {name for owned_volumes, *_ in everybody for name in owned_volumes}
        assert {volume.name for volume in volumes.list()} - set(crowd.VOLUMES) == owned

        # Somebody is at work on what cannot be deleted yet, and is done when all are.
        for turn in range(5):
            for number, process in enumerate(processes):
                process.begin(crowd.clear, 100 * turn + number)
            wait_for(processes)
            if not volumes.list() and not images.list():
                break


def wait_for(processes):
    outcomes = [process.outcome(PATIENCE) for process in processes]
    assert set(outcomes) == {"ok"}, "\n".join(outcomes)
