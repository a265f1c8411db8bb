# SPDX-License-Identifier: Apache-2.0
"""Any operations in any order, on stores and on a model of them, and all that is seen compared.

Some operations are wrong, and some are cut off at a call of the driver. A failure is printed as
the shortest sequence of operations that was found to lead to it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import random
import sys
import time

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from model import Model, Options, names_in
from worlds import OBJECT_SIZE, Stores, World

from rbdstore import exceptions

IMAGES = ("image-1", "image-2")
VOLUMES = ("a", "b", "c", "d", "e", "f")
SNAPSHOTS = ("s", "t")
EDGES = (0, 1, OBJECT_SIZE - 1, OBJECT_SIZE, OBJECT_SIZE + 1, 3 * OBJECT_SIZE)
MOST = 4 * OBJECT_SIZE


def run(world: World, examples: int, steps: int) -> None:
    """Try ``examples`` sequences of ``steps`` operations."""
    run_machine(lambda: StoreMachine(world), examples, steps)


def run_machine(make, examples: int, steps: int) -> None:
    """Run a state machine: always the same examples, but in a soak other ones and more."""
    soak = bool(os.environ.get("RBDSTORE_SOAK"))
    in_ci = bool(os.environ.get("CI"))
    stateful.run_state_machine_as_test(
        make,
        settings=hypothesis.settings(
            max_examples=examples * 10 if soak else examples,
            stateful_step_count=steps,
            derandomize=not soak,
            database=None,
            deadline=None,
            print_blob=True,
            # In CI a failure must not use up everybody's time; here and in a soak it is shrunk.
            phases=set(hypothesis.Phase) - ({hypothesis.Phase.shrink} if in_ci else set()),
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )


@dataclasses.dataclass(frozen=True)
class Fault:
    """The ``n``-th call of the driver fails: instead of being made, or once it was.

    :ivar again: the operation is repeated then; else, what became of it is looked at
    """

    n: int
    after: bool
    again: bool


def pattern(seed: int, length: int) -> bytes:
    """Bytes with holes: stretches of zeros, of one object and of less."""
    chosen = random.Random(seed)
    data = bytearray(chosen.randbytes(length))
    for _ in range(chosen.randrange(3)):
        start = chosen.randrange(0, MOST, OBJECT_SIZE // 2)
        stop = min(length, start + OBJECT_SIZE)
        data[start:stop] = bytes(max(0, stop - start))
    return bytes(data)


def chosen(choose):
    """One of what ``choose(machine)`` gives at that moment of the example."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choose(machine)))


def nearly_always(right, others):
    """One of ``right``, but about every twentieth time another one, which is wrong."""
    right, wrong = sorted(right), sorted(set(others) - set(right))
    return right * (20 // len(right)) + wrong[:1] if right else wrong


seeds = st.integers(0, 255)
sizes = st.sampled_from(EDGES) | st.integers(0, MOST)
new_sizes = st.none() | st.none() | sizes
faults = (
    st.none()
    | st.none()
    | st.none()
    | st.builds(Fault, st.integers(1, 40), st.booleans(), st.booleans())
)
options = st.builds(
    Options,
    max_clone_depth=st.sampled_from((5, 1, 2, 0)),
    flatten_target=st.sampled_from(("source", "destination")),
    flatten_volume_from_snapshot=st.booleans(),
)


def snapshots(model):
    return {(name, each) for name, found in model.volumes.items() for each in found.snapshots}


image = chosen(lambda machine: nearly_always(machine.model.images, IMAGES))
new_image = chosen(lambda m: nearly_always(set(IMAGES) - set(m.model.images), IMAGES))
volume = chosen(lambda machine: nearly_always(machine.model.volumes, VOLUMES))
new_volume = chosen(lambda m: nearly_always(set(VOLUMES) - set(m.model.volumes), VOLUMES))
new_volumes = st.lists(new_volume, min_size=2, max_size=3, unique=True)
snapshot = chosen(
    lambda machine: nearly_always(
        snapshots(machine.model), ((name, each) for name in VOLUMES for each in SNAPSHOTS)
    )
)
if_images = precondition(lambda self: self.model.images)
if_volumes = precondition(lambda self: self.model.volumes)
if_snapshots = precondition(lambda self: snapshots(self.model))
if_room = precondition(lambda self: len(self.model.volumes) < len(VOLUMES))
if_much_room = precondition(lambda self: len(self.model.volumes) < len(VOLUMES) - 2)


class StoreMachine(stateful.RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.model = Model(deep_flatten=world.deep_flatten)
        self.stores = Stores(world.connect)
        self.order = random.Random(0)
        # What was done, but was reported as failed, and not repeated.
        self.untold: list[tuple[str, tuple[object, ...]]] = []

    @initialize(options=options, seed=seeds, size=sizes)
    def begin(self, options, seed, size):
        self.order.seed(seed)
        self.do("reopen", options)
        # Not every example has the rules that would make them.
        self.do("add_image", IMAGES[0], pattern(seed, size), size)
        self.do("clone", VOLUMES[0], IMAGES[0], None)
        self.do("create_snapshot", VOLUMES[0], SNAPSHOTS[0])

    # Images

    @rule(name=new_image, seed=seeds, size=sizes, known=st.booleans(), fault=faults)
    def add_image(self, name, seed, size, known, fault):
        self.do("add_image", name, pattern(seed, size), size if known else None, fault=fault)

    @rule(name=new_image, size=sizes, more=st.sampled_from((-1, 1)))
    def add_image_of_another_size(self, name, size, more):
        self.do("add_image", name, bytes(size + 1), size + 1 + more)

    @if_images
    @rule(name=image, in_use=st.sampled_from(("refuse", "flatten", "defer")), fault=faults)
    def delete_image(self, name, in_use, fault):
        self.do("delete_image", name, in_use, fault=fault, stepwise=in_use == "flatten")
        self.compare()

    # Volumes

    @if_room
    @rule(name=new_volume, size=sizes, seed=seeds, fault=faults)
    def create(self, name, size, seed, fault):
        self.do("create", name, size, fault=fault)
        if name in self.model.volumes:
            self.write(name, 0, size, seed)

    @if_volumes
    @rule(name=volume, size=sizes, fault=faults)
    def extend(self, name, size, fault):
        self.do("extend", name, size, fault=fault)

    @if_volumes
    @rule(name=volume, new_name=new_volume, fault=faults)
    def rename(self, name, new_name, fault):
        self.do("rename", name, new_name, fault=fault)

    @if_volumes
    @rule(name=volume, fault=faults)
    def delete(self, name, fault):
        self.do("delete", name, fault=fault)

    @if_volumes
    @rule(name=volume, fault=faults)
    def flatten(self, name, fault):
        self.do("flatten", name, fault=fault)

    @if_volumes
    @rule(name=volume, offset=sizes, length=sizes, seed=seeds)
    def write(self, name, offset, length, seed):
        offset, length = self.within(name, offset, length)
        self.do("write", name, offset, pattern(seed, length))

    @if_volumes
    @rule(name=volume, offset=sizes, length=sizes)
    def discard(self, name, offset, length):
        self.do("discard", name, *self.within(name, offset, length))

    def within(self, name, offset, length):
        """The part of a stretch that is in the volume."""
        size = len(self.model.volumes[name].data) if name in self.model.volumes else 0
        offset = min(offset, size)
        return offset, min(length, size - offset)

    @if_volumes
    @rule(name=volume)
    def attach_or_detach(self, name):
        volume = self.model.volumes.get(name)
        self.do("detach" if volume and volume.attached else "attach", name)

    # Snapshots

    @if_volumes
    @rule(volume=volume, snapshot=st.sampled_from(SNAPSHOTS), fault=faults)
    def create_snapshot(self, volume, snapshot, fault):
        self.do("create_snapshot", volume, snapshot, fault=fault)

    @if_snapshots
    @rule(snapshot=snapshot, fault=faults)
    def delete_snapshot(self, snapshot, fault):
        self.do("delete_snapshot", *snapshot, fault=fault)

    @if_snapshots
    @rule(snapshot=snapshot, fault=faults)
    def revert(self, snapshot, fault):
        self.do("revert", *snapshot, fault=fault)

    # Volumes from other things

    @if_images
    @if_room
    @rule(name=new_volume, image=image, size=new_sizes, fault=faults)
    def clone(self, name, image, size, fault):
        self.do("clone", name, image, size, fault=fault)

    @if_snapshots
    @if_room
    @rule(name=new_volume, snapshot=snapshot, size=new_sizes, fault=faults)
    def create_from_snapshot(self, name, snapshot, size, fault):
        self.do("create_from_snapshot", name, *snapshot, size, fault=fault)

    @if_volumes
    @if_room
    @rule(name=new_volume, source=volume, size=new_sizes, fault=faults)
    def create_cloned_volume(self, name, source, size, fault):
        self.do("create_cloned_volumes", [name], source, size, fault=fault, stepwise=True)

    @if_volumes
    @if_much_room
    @rule(names=new_volumes, source=volume, size=new_sizes, fault=faults)
    def create_cloned_volumes(self, names, source, size, fault):
        self.do("create_cloned_volumes", names, source, size, fault=fault, stepwise=True)

    # All of it

    @rule(options=options)
    def reopen(self, options):
        self.do("reopen", options)
        self.compare()

    def teardown(self):
        try:
            # After a failure this would hide it.
            if sys.exception() is None:
                self.compare()
                self.delete_everything()
                left = self.world.leftovers()
                assert not left, left
        finally:
            self.stores.close()
            self.world.clear()

    def delete_everything(self):
        self.do("reopen", self.model.options)
        while self.model.volumes or self.model.images:
            verb, *arguments = self.order.choice(list(self.deletions()))
            self.do(verb, *arguments)
        # What would tell one who repeats it stays until somebody uses the name again.
        for verb, arguments in self.untold:
            for deletion in self.deletions_of(verb, *arguments):
                self.do(*deletion)

    def deletions_of(self, verb, *arguments):
        """How the names that an operation claimed are used again."""
        if verb in ("delete_snapshot", "delete_image"):
            yield verb, *arguments
        elif "image" in verb:
            yield "delete_image", arguments[0], "refuse"
        elif verb == "rename":
            yield from (("delete", name) for name in arguments)
        else:
            yield "delete", arguments[0]

    def deletions(self):
        """All ways to go on with deleting everything."""
        for name, volume in self.model.volumes.items():
            yield "delete", name
            for snapshot in volume.snapshots:
                yield "delete_snapshot", name, snapshot
        for name in self.model.images:
            for in_use in ("refuse", "flatten", "defer"):
                yield "delete_image", name, in_use

    # How an operation is carried out

    def do(self, verb, *arguments, fault=None, stepwise=False):
        """Carry an operation out on the model and on the stores, and compare what is seen.

        :param stepwise: one that is cut off may be done in part
        """
        expected = copy.deepcopy(self.model)
        refused = error_of(getattr(expected, verb), arguments)
        act = getattr(self.stores, verb)
        if refused is not None:
            raised = error_of(act, arguments)
            # A repetition of what was done, though nobody was told, succeeds, however late.
            done = [request(*each) for each in self.untold]
            late = request(verb, arguments) in done and not (
                verb == "rename" and refused is exceptions.Duplicate
            )
            assert raised is refused or (late and raised is None), (verb, arguments, raised)
        elif fault is None or not self.is_cut_off(fault, act, arguments):
            if fault is None:
                act(*arguments)
        elif fault.again or stepwise:
            act(*arguments)
        elif self.is_seen(expected):
            self.untold.append((verb, arguments))
        else:
            expected = self.model
        self.model = expected
        self.compare(names_in(*arguments))

    def is_cut_off(self, fault, act, arguments):
        """Carry an operation out with a fault; return whether it failed."""
        injected = exceptions.Timeout("injected")
        self.stores.plan.fail(fault.n, injected, after=fault.after)
        try:
            act(*arguments)
        except exceptions.Timeout as error:
            if error is not injected:
                raise
        else:
            return False
        finally:
            self.stores.plan.stop()
        # A lease that was let go of ends a moment later.
        time.sleep(0.01)
        return True

    def is_seen(self, expected):
        """Whether the stores are as ``expected``; if not, they are to be as they were before."""
        before, self.model = self.model, expected
        try:
            self.compare()
        except (AssertionError, exceptions.NotFound):
            return False
        finally:
            self.model = before
        return True

    def compare(self, names=None):
        """Compare all there is to see of some images and volumes; default: of all."""
        model, stores = self.model, self.stores
        if names is None:
            assert stores.names() == (sorted(model.images), sorted(model.volumes))
            names = (*model.images, *model.volumes)
        for name in names:
            if name in model.images:
                assert stores.see_image(name) == model.see_image(name), name
            elif name in model.volumes:
                assert_same(stores.see(name), model.see(name), name)
            elif name in VOLUMES:
                with contextlib.suppress(exceptions.ImageNotFound):
                    stores.see(name)
                    raise AssertionError(f"{name} is there")


def request(verb, arguments):
    """What a call has in common with one that may find it done."""
    # An image that is gone is gone, whatever was to become of its clones.
    return (verb, arguments[:1] if verb == "delete_image" else arguments)


def error_of(act, arguments):
    """The class of what ``act`` raises; None: it raises nothing."""
    try:
        act(*arguments)
    except exceptions.RbdStoreError as error:
        return type(error)
    return None


def assert_same(seen, expected, name):
    """Compare two views of a volume, and say in a line how they differ."""
    wrong = [
        f"{field.name}: {shown(getattr(seen, field.name))} is not "
        f"{shown(getattr(expected, field.name))}"
        for field in dataclasses.fields(seen)
        if getattr(seen, field.name) != getattr(expected, field.name)
    ]
    assert not wrong, f"{name}: {'; '.join(wrong)}"


def shown(value):
    if isinstance(value, bytes):
        return f"<{len(value)} bytes, {value.count(0)} of them zeros: {hash(value):x}>"
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    return value
