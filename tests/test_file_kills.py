# SPDX-License-Identifier: Apache-2.0
"""A process that works on a data directory is killed again and again, at any moment.

Whatever it said is done is there when the directory is opened again, to the byte; what it was at
is done or not, and can be repeated; and once all is deleted nothing is left over.
"""

import collections
import contextlib
import copy
import os
import random
import time

import killable
import model
import pytest

from rbdstore import exceptions, spec

KILLS = int(os.environ.get("RBDSTORE_KILLS", "300"))
LONGEST = 0.06
# More than are done in that time.
OPERATIONS = 25
# So often everything is deleted.
ROUND = 30
SECTOR = 512
DEPTH = 2
OBJECT_SIZE = killable.OBJECT_SIZE
LARGEST = 4 * OBJECT_SIZE
IMAGES = ("image-1", "image-2")
VOLUMES = ("a", "b", "c", "d", "e", "f")
SNAPSHOTS = ("s", "t")

# One after the other, each is a request that the model may find wrong; then there is another.
VERBS = {
    "create": lambda dice: (dice.choice(VOLUMES), size(dice)),
    "write": lambda dice: (dice.choice(VOLUMES), offset(dice), dice.randbytes(OBJECT_SIZE)),
    "extend": lambda dice: (dice.choice(VOLUMES), size(dice)),
    "rename": lambda dice: tuple(dice.sample(VOLUMES, 2)),
    "delete": lambda dice: (dice.choice(VOLUMES),),
    "flatten": lambda dice: (dice.choice(VOLUMES),),
    "create_snapshot": lambda dice: (dice.choice(VOLUMES), dice.choice(SNAPSHOTS)),
    "delete_snapshot": lambda dice: (dice.choice(VOLUMES), dice.choice(SNAPSHOTS)),
    "revert": lambda dice: (dice.choice(VOLUMES), dice.choice(SNAPSHOTS)),
    "clone": lambda dice: (dice.choice(VOLUMES), dice.choice(IMAGES), None),
    "create_from_snapshot": lambda dice: (
        *dice.sample(VOLUMES, 2),
        dice.choice(SNAPSHOTS),
        None,
    ),
    "create_cloned_volumes": lambda dice: ([dice.choice(VOLUMES)], dice.choice(VOLUMES), None),
    "add_image": lambda dice: (dice.choice(IMAGES), dice.randbytes(size(dice)), None),
    "delete_image": lambda dice: (
        dice.choice(IMAGES),
        dice.choice(["refuse", "flatten", "defer"]),
    ),
}


def size(dice):
    return dice.randrange(1, LARGEST)


def offset(dice):
    return dice.randrange(0, LARGEST, OBJECT_SIZE // 4)


def some_operations(known, dice):
    """Operations that may follow each other."""
    state, operations = copy.deepcopy(known), []
    while len(operations) < OPERATIONS:
        verb = dice.choice(list(VERBS))
        arguments = VERBS[verb](dice)
        if may(state, verb, arguments):
            operations.append((verb, arguments))
    return operations


def may(state, verb, arguments):
    """Have it done in the model, if it can be done."""
    if verb == "write" and not fits(state, *arguments):
        return False
    with contextlib.suppress(exceptions.RbdStoreError):
        getattr(state, verb)(*arguments)
        return True
    return False


def fits(state, name, start, data):
    return name in state.volumes and start + len(data) <= len(state.volumes[name].data)


def seen(state, name):
    """What is seen of a volume; None: nothing."""
    if name not in state.volumes:
        return None
    found = state.see(name)
    return found.data, found.depth, found.snapshots


def check(directory, *states):
    """See that of each name there is what one of the states says."""
    volumes, images = directory.volumes(), directory.images()
    assert volumes in [set(state.volumes) for state in states]
    assert images in [set(state.images) for state in states]
    for name in volumes:
        data, *rest = directory.read(name)
        expected = [seen(state, name) for state in states if name in state.volumes]
        assert tuple(rest) in [tuple(each[1:]) for each in expected], name
        assert is_mixed(data, [each[0] for each in expected]), name
    for name in images:
        assert directory.read_image(name) in [
            state.images[name].moment.data for state in states if name in state.images
        ]


def is_mixed(data, contents):
    """Whether each sector is what one of ``contents`` has there: a write may be cut off."""
    contents = [each for each in contents if len(each) == len(data)]
    return all(
        any(data[start : start + SECTOR] == each[start : start + SECTOR] for each in contents)
        for start in range(0, len(data), SECTOR)
    )


def repeat(directory, verb, arguments, after):
    """Do again what was cut off, if it was; if it was done, that is what the model would say."""
    try:
        getattr(directory, verb)(*arguments)
    except exceptions.RbdStoreError as error:
        with pytest.raises(type(error)):
            getattr(copy.deepcopy(after), verb)(*arguments)


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


def delete_all(directory, known, dice):
    """Delete everything, in any order."""
    names = [*known.images, *known.volumes]
    for name in dice.sample(names, len(names)):
        if name in known.images:
            directory.delete_image(name, "defer")
        else:
            for snapshot in known.volumes[name].snapshots:
                directory.delete_snapshot(name, snapshot)
            directory.delete(name)


@pytest.mark.timeout(900)
def test_a_process_that_is_killed_again_and_again(tmp_path):
    dice = random.Random("kills")
    known = nothing()
    cut_off = collections.Counter()
    for kill in range(KILLS):
        operations = some_operations(known, dice)
        with killable.Worker(tmp_path, DEPTH, operations) as worker:
            time.sleep(dice.uniform(0, LONGEST))
            done, error = worker.kill()
        assert error is None
        for verb, arguments in operations[:done]:
            getattr(known, verb)(*arguments)
        with contextlib.closing(killable.Directory(tmp_path, DEPTH)) as directory:
            directory.end_leases()
            if done < len(operations):
                verb, arguments = operations[done]
                before = copy.deepcopy(known)
                getattr(known, verb)(*arguments)
                check(directory, before, known)
                repeat(directory, verb, arguments, known)
                cut_off[verb] += 1
            check(directory, known)
            assert unfinished(directory) == []
            if kill % ROUND == 0 or kill == KILLS - 1:
                delete_all(directory, known, dice)
                assert directory.cluster.leftovers() == []
                known = nothing()
    print(cut_off)
    # All but those that came after the last operation.
    assert cut_off.total() > KILLS // 2


def nothing():
    known = model.Model()
    known.options = model.Options(max_clone_depth=DEPTH)
    return known
