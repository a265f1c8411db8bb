# SPDX-License-Identifier: Apache-2.0
"""Those who do things at random and are killed again and again, and what must be there then.

A :class:`Life` makes up operations on names of its own, for a :class:`killable.Worker` to carry
out, and has a :class:`model.Model` that says what they come to. When the worker has been killed,
whatever it said is done must be there, to the byte; what it was at is done or not, and can be
repeated.
"""

import contextlib
import copy

import killable
import model
import pytest

from rbdstore import exceptions

OBJECT_SIZE = killable.OBJECT_SIZE
LARGEST = 4 * OBJECT_SIZE
SECTOR = 512

# Each is a request that the model may find wrong; then there is another.
VERBS = {
    "create": lambda life: (life.volume(), life.size()),
    "write": lambda life: (life.volume(), life.offset(), life.dice.randbytes(OBJECT_SIZE)),
    "extend": lambda life: (life.volume(), life.size()),
    "rename": lambda life: tuple(life.dice.sample(life.volumes, 2)),
    "delete": lambda life: (life.volume(),),
    "flatten": lambda life: (life.volume(),),
    "create_snapshot": lambda life: (life.volume(), life.snapshot()),
    "delete_snapshot": lambda life: (life.volume(), life.snapshot()),
    "revert": lambda life: (life.volume(), life.snapshot()),
    "clone": lambda life: (life.volume(), life.dice.choice([*life.images, *life.common]), None),
    "create_from_snapshot": lambda life: (
        *life.dice.sample(life.volumes, 2),
        life.snapshot(),
        None,
    ),
    "create_cloned_volumes": lambda life: ([life.volume()], life.volume(), None),
    "add_image": lambda life: (life.image(), life.dice.randbytes(life.size()), None),
    "delete_image": lambda life: (life.image(), life.dice.choice(["refuse", "flatten", "defer"])),
}


class Life:
    """What one of them does and knows.

    :ivar known: what must be there; of ``common`` images, which nobody deletes, too
    :ivar dice: a :class:`random.Random`
    """

    def __init__(self, dice, depth, *, name="", common=None):
        self.dice = dice
        self.images = [f"{name}image-{number}" for number in (1, 2)]
        self.volumes = [f"{name}{letter}" for letter in "abcdef"]
        self.common = dict(common or {})
        self._depth = depth
        self.forget()

    def forget(self):
        """Know of nothing any more."""
        self.known = model.Model()
        self.known.options = model.Options(max_clone_depth=self._depth)
        for name, data in self.common.items():
            self.known.add_image(name, data, None)

    # What to do

    def volume(self):
        return self.dice.choice(self.volumes)

    def image(self):
        return self.dice.choice(self.images)

    def snapshot(self):
        return self.dice.choice("st")

    def size(self):
        return self.dice.randrange(1, LARGEST)

    def offset(self):
        return self.dice.randrange(0, LARGEST, OBJECT_SIZE // 4)

    def some_operations(self, count):
        """Verbs with their arguments, which may follow each other."""
        state, operations = copy.deepcopy(self.known), []
        while len(operations) < count:
            verb = self.dice.choice(list(VERBS))
            arguments = VERBS[verb](self)
            if _may(state, verb, arguments):
                operations.append((verb, arguments))
        return operations

    # What must be there

    def look_after(self, opened, operations, done):
        """See what is there after so many of the operations; repeat the one that was cut off.

        :param opened: a :class:`killable.Opened`
        :return: the verb of that; None: all were done
        """
        for verb, arguments in operations[:done]:
            getattr(self.known, verb)(*arguments)
        if done == len(operations):
            self.check(opened, self.known)
            return None
        verb, arguments = operations[done]
        before = copy.deepcopy(self.known)
        getattr(self.known, verb)(*arguments)
        self.check(opened, before, self.known)
        _repeat(opened, verb, arguments, self.known)
        self.check(opened, self.known)
        return verb

    def check(self, opened, *states):
        """See that of each name there is what one of the states says."""
        volumes = opened.volumes() & set(self.volumes)
        images = opened.images() & {*self.images, *self.common}
        for found, expected in (
            (volumes, [set(state.volumes) for state in states]),
            (images, [set(state.images) for state in states]),
        ):
            assert found in expected, f"{found} is there, not one of {expected}"
        for name in volumes:
            data, *rest = opened.read(name)
            expected = [_seen(state, name) for state in states if name in state.volumes]
            assert tuple(rest) in [tuple(each[1:]) for each in expected], name
            assert _is_mixed(data, [each[0] for each in expected]), name
        for name in images:
            assert opened.read_image(name) in [
                state.images[name].moment.data for state in states if name in state.images
            ]

    def delete_all(self, opened):
        """Delete everything of its own, in any order."""
        names = sorted({*self.known.images, *self.known.volumes} - set(self.common))
        for name in self.dice.sample(names, len(names)):
            if name in self.known.images:
                opened.delete_image(name, "defer")
            else:
                for snapshot in self.known.volumes[name].snapshots:
                    opened.delete_snapshot(name, snapshot)
                opened.delete(name)
        self.forget()


def _may(state, verb, arguments):
    """Have it done in the model, if it can be done."""
    if verb == "write" and not _fits(state, *arguments):
        return False
    with contextlib.suppress(exceptions.RbdStoreError):
        getattr(state, verb)(*arguments)
        return True
    return False


def _fits(state, name, start, data):
    return name in state.volumes and start + len(data) <= len(state.volumes[name].data)


def _seen(state, name):
    found = state.see(name)
    return found.data, found.depth, found.snapshots


def _is_mixed(data, contents):
    """Whether each sector is what one of ``contents`` has there: a write may be cut off."""
    contents = [each for each in contents if len(each) == len(data)]
    return all(
        any(data[start : start + SECTOR] == each[start : start + SECTOR] for each in contents)
        for start in range(0, len(data), SECTOR)
    )


def _repeat(opened, verb, arguments, after):
    """Do again what was cut off, if it was; if it was done, that is what the model would say."""
    try:
        getattr(opened, verb)(*arguments)
    except exceptions.RbdStoreError as error:
        with pytest.raises(type(error)):
            getattr(copy.deepcopy(after), verb)(*arguments)
