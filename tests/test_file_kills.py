# SPDX-License-Identifier: Apache-2.0
"""A process that works on a data directory is killed again and again, at any moment.

Whatever it said is done is there when the directory is opened again, to the byte; what it was at
is done or not, and can be repeated; and once all is deleted nothing is left over.
"""

import collections
import contextlib
import functools
import os
import random
import time

import killable
import killing
import pytest

from rbdstore import spec

KILLS = int(os.environ.get("RBDSTORE_KILLS", "300"))
LONGEST = 0.06
# More than are done in that time.
OPERATIONS = 25
# So often everything is deleted.
ROUND = 30
DEPTH = 2


def unfinished(directory):
    """What only somebody who is at work would have there.

    A lease on an image, by its id, may stay until that is deleted or somebody takes it again.
    """
    by_id = tuple(
        spec.LEASE_PREFIX + lease("") for lease in (spec.reclaim_lease, spec.flatten_lease)
    )
    return [
        left
        for left in directory.cluster.leftovers()
        if left.startswith(("garbage", "tmp"))
        or (spec.LEASE_PREFIX in left and not any(lease in left for lease in by_id))
    ]


@pytest.mark.timeout(900)
def test_a_process_that_is_killed_again_and_again(tmp_path):
    dice = random.Random("kills")
    life = killing.Life(dice, DEPTH)
    opening = functools.partial(killable.Directory, tmp_path, DEPTH)
    cut_off = collections.Counter()
    for kill in range(KILLS):
        operations = life.some_operations(OPERATIONS)
        with killable.Worker(opening, operations) as worker:
            time.sleep(dice.uniform(0, LONGEST))
            done, error = worker.kill()
        assert error is None
        with contextlib.closing(opening()) as directory:
            directory.end_leases()
            if verb := life.look_after(directory, operations, done):
                cut_off[verb] += 1
            assert unfinished(directory) == []
            if kill % ROUND == 0 or kill == KILLS - 1:
                life.delete_all(directory)
                assert directory.cluster.leftovers() == []
    print(cut_off)
    # All but those that came after the last operation.
    assert cut_off.total() > KILLS // 2
