# SPDX-License-Identifier: Apache-2.0
"""Any calls of the seam in any order, on two drivers side by side, which must answer the same.

Many calls are wrong: of names that are missing or taken, of stretches beyond the end, of snaps
that have children. Compared are what is returned and the classes of errors, and, after each call,
what there is. Ids and addresses are every driver's own: they are numbered as they are first seen.

Not compared: extents, which are as fine as a driver likes; and what one handle sees of the changes
made by another, so each call but a few has a handle of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses

from hypothesis import stateful
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from machine import pattern, run_machine
from worlds import OBJECT_SIZE, World

from rbdstore import driver, exceptions

POOLS = ("volumes", "images")
NAMES = ("a", "b", "c")
SNAPS = ("s", "t")
# Those that the interface speaks of.
FEATURES = {"layering", "exclusive-lock", "deep-flatten"}
NO_ID = "10ffffffffff"
NO_SNAP_ID = 1 << 30
ENDLESS = 60.0


def run(one: World, other: World, examples: int, steps: int) -> None:
    """Try ``examples`` sequences of ``steps`` calls: always the same ones, but in a soak."""
    run_machine(lambda: SideBySide(one, other), examples, steps)


class Side:
    """One of the drivers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster = world.connect()
        self.pools = {name: self.cluster.open_pool(name) for name in POOLS}
        self.held: dict[tuple[str, str], driver.Image] = {}
        self.image_ids: list[str] = []
        self.snap_ids: list[int] = []

    def close(self) -> None:
        for image in self.held.values():
            image.close()
        self.cluster.close()
        self.world.clear()

    def image_id(self, number: int) -> str:
        return self.image_ids[number] if number < len(self.image_ids) else NO_ID

    def snap_id(self, image: driver.Image, name: str) -> int:
        found = [snap.id for snap in image.snaps() if snap.name == name]
        return found[0] if found else NO_SNAP_ID

    def answer(self, call):
        """What a call gives, or the class of its error, in terms that both sides share."""
        try:
            return self.shared(call(self))
        except exceptions.RbdStoreError as error:
            return type(error)

    def shared(self, value):
        match value:
            case list():
                return [self.shared(each) for each in value]
            case driver.Snap():
                return dataclasses.replace(value, id=_number(self.snap_ids, value.id))
            case driver.Child() | driver.Parent() | driver.TrashEntry():
                number = _number(self.image_ids, value.image_id)
                return dataclasses.replace(value, image_id=number)
        return value

    def look(self):
        """All there is."""
        return {name: self.look_at_pool(pool) for name, pool in self.pools.items()}

    def look_at_pool(self, pool):
        names = sorted(pool.list_images())
        trash = sorted(pool.trash_list(), key=lambda entry: (entry.name, self.known(entry)))
        return (
            {
                name: self.answer(lambda _side, name=name: self.look_at(pool, name))
                for name in names
            },
            [self.shared(entry) for entry in trash],
        )

    def known(self, entry):
        return self.image_ids.index(entry.image_id)

    def look_at(self, pool, name):
        with pool.open(name) as image:
            number = _number(self.image_ids, image.id)
            snaps = image.snaps()
            # Ceph adds to the features what is done with the image.
            features = image.features() & FEATURES - {"operations"}
            seen = [number, self.look_at_data(image), features, image.metadata()]
            for snap in snaps:
                image.set_snap(snap.id)
                seen += [snap, self.look_at_data(image)]
            children = [sorted(image.children(snap.id), key=_by_name) for snap in snaps]
            return [*seen, children, len(image.watchers())]

    def look_at_data(self, image):
        size = image.size()
        parent = self.shared(image.parent())
        # More is not written anywhere.
        return size, image.object_size, parent, image.read(0, min(size, 8 * OBJECT_SIZE))


def _number(known, found):
    if found not in known:
        known.append(found)
    return known.index(found)


def _by_name(child):
    return child.pool, child.image, child.image_id


places = st.tuples(
    st.sampled_from((*POOLS[:1] * 3, *POOLS)), st.sampled_from((*NAMES[:1], *NAMES))
)
names = st.sampled_from(NAMES)
snaps = st.sampled_from(SNAPS)
seeds = st.integers(0, 255)
sizes = st.sampled_from((0, 1, OBJECT_SIZE, OBJECT_SIZE + 1, 3 * OBJECT_SIZE)) | st.integers(
    0, 4 * OBJECT_SIZE
)
ids = st.integers(0, 8)
mostly = st.sampled_from((True, True, True, True, False))
keys = st.sampled_from(("key-1", "key-2"))
cookies = st.sampled_from(("mine", "theirs"))


class SideBySide(stateful.RuleBasedStateMachine):
    def __init__(self, one: World, other: World) -> None:
        super().__init__()
        self.sides = [Side(one), Side(other)]

    def teardown(self):
        for side in self.sides:
            side.close()

    def both(self, call):
        """Make a call on both sides, and compare what it gives and what is there then."""
        one, other = (side.answer(call) for side in self.sides)
        assert one == other, f"answers: {one} and {other}"
        one, other = (side.look() for side in self.sides)
        assert one == other, f"what is there then: {one} and {other}"

    def on_image(self, place, call, *, writable=True, snap=None):
        """Make a call of an image, opened for that."""
        pool, name = place

        def opened(side):
            with side.pools[pool].open(name, read_only=not writable) as image:
                if snap is not None:
                    image.set_snap(side.snap_id(image, snap))
                return call(side, image)

        self.both(opened)

    @initialize(size=sizes, seed=seeds)
    def begin(self, size, seed):
        self.create(("volumes", "a"), size, 16)
        self.write(("volumes", "a"), 0, size, seed, True)
        self.create_snap(("volumes", "a"), "s", True)

    # Pools

    @rule(place=places, size=sizes, order=st.sampled_from((16, 16, 12, None, 60)))
    def create(self, place, size, order):
        self.both(lambda side: side.pools[place[0]].create(place[1], size, order=order))

    @rule(source=places, snap=snaps, place=places)
    def clone(self, source, snap, place):
        def call(side):
            pools = side.pools
            return pools[place[0]].clone(pools[source[0]], source[1], snap, place[1])

        self.both(call)

    @rule(place=places, name=names)
    def rename(self, place, name):
        self.both(lambda side: side.pools[place[0]].rename(place[1], name))

    @rule(place=places)
    def remove(self, place):
        self.both(lambda side: side.pools[place[0]].remove(place[1]))

    @rule(place=places)
    def clear_debris(self, place):
        self.both(lambda side: side.pools[place[0]].clear_debris(place[1]))

    @rule()
    def open_nothing(self):
        self.both(lambda side: side.pools["volumes"].open())
        self.both(lambda side: side.pools["volumes"].open("a", image_id=side.image_id(0)))

    @rule(name=st.sampled_from(("nowhere", "volumes")), namespace=st.sampled_from(("", "none")))
    def open_pool(self, name, namespace):
        self.both(lambda side: side.cluster.open_pool(name, namespace).name)

    # Trash

    @rule(place=places)
    def trash_move(self, place):
        self.both(lambda side: side.pools[place[0]].trash_move(place[1]))

    @rule(number=ids, pool=st.sampled_from(POOLS))
    def trash_get(self, number, pool):
        self.both(lambda side: side.pools[pool].trash_get(side.image_id(number)))

    @rule(number=ids, place=places)
    def trash_restore(self, number, place):
        self.both(lambda side: side.pools[place[0]].trash_restore(side.image_id(number), place[1]))

    @rule(number=ids, pool=st.sampled_from((*POOLS[:1] * 3, *POOLS)))
    def trash_remove(self, number, pool):
        self.both(lambda side: side.pools[pool].trash_remove(side.image_id(number)))

    @rule(place=places)
    def trash_move_for_long_and_remove(self, place):
        pool, name = place
        self.both(lambda side: side.pools[pool].trash_move(name, delay=3600))
        for number in range(len(self.sides[0].image_ids)):
            self.trash_remove(number, pool)

    # Small objects

    @rule(key=keys, name=names, value=st.binary(max_size=3))
    def set_keys(self, key, name, value):
        self.both(lambda side: side.pools["volumes"].set_keys(key, {name: value}))
        self.look_at_object(key)

    @rule(key=keys, names=st.lists(names, max_size=2))
    def remove_keys(self, key, names):
        self.both(lambda side: side.pools["volumes"].remove_keys(key, names))
        self.look_at_object(key)

    @rule(key=keys)
    def remove_object(self, key):
        self.both(lambda side: side.pools["volumes"].remove_object(key))
        self.look_at_object(key)

    @rule(key=keys, cookie=cookies, renew=st.booleans(), seconds=st.sampled_from((ENDLESS, 0.001)))
    def lease(self, key, cookie, renew, seconds):
        def call(side):
            pool = side.pools["volumes"]
            taken = pool.lease(key, cookie, seconds, cookie, renew=renew)
            # One that soon ends is one that has ended, on both sides.
            while taken and seconds < 1 and pool.lease(key, cookie, seconds, cookie, renew=True):
                pass
            return taken

        self.both(call)
        self.look_at_object(key)

    @rule(key=keys, cookie=cookies, data=st.binary(max_size=3))
    def write_leased(self, key, cookie, data):
        self.both(lambda side: side.pools["volumes"].write_leased(key, cookie, data))
        self.look_at_object(key)

    @rule(key=keys, cookie=cookies)
    def remove_leased(self, key, cookie):
        self.both(lambda side: side.pools["volumes"].remove_leased(key, cookie))
        self.look_at_object(key)

    def look_at_object(self, key):
        self.both(lambda side: side.pools["volumes"].get_keys(key))
        self.both(lambda side: side.pools["volumes"].read_object(key))
        self.both(lambda side: side.pools["volumes"].lease_owner(key))

    # Data

    @rule(place=places, offset=sizes, length=sizes, snap=st.none() | snaps)
    def read(self, place, offset, length, snap):
        self.on_image(
            place, lambda _side, image: image.read(offset, length), writable=False, snap=snap
        )

    @rule(place=places, offset=sizes, length=sizes, seed=seeds, writable=mostly)
    def write(self, place, offset, length, seed, writable):
        def call(_side, image):
            image.write(offset, pattern(seed, length))
            image.flush()

        self.on_image(place, call, writable=writable)

    @rule(place=places, snap=snaps, length=sizes)
    def write_to_a_snap(self, place, snap, length):
        self.on_image(
            place, lambda _side, image: image.write(0, bytes(length)), writable=False, snap=snap
        )

    @rule(place=places, offset=sizes, length=sizes, writable=mostly)
    def discard(self, place, offset, length, writable):
        self.on_image(place, lambda _side, image: image.discard(offset, length), writable=writable)

    @rule(place=places, size=sizes, allow_shrink=st.booleans(), writable=mostly)
    def resize(self, place, size, allow_shrink, writable):
        def call(_side, image):
            image.resize(size, allow_shrink=allow_shrink)
            return image.size()

        self.on_image(place, call, writable=writable)

    @rule(place=places, writable=mostly)
    def flatten(self, place, writable):
        self.on_image(place, lambda _side, image: image.flatten(), writable=writable)

    # Snaps

    @rule(place=places, snap=snaps, writable=mostly)
    def create_snap(self, place, snap, writable):
        self.on_image(place, lambda _side, image: image.create_snap(snap), writable=writable)

    @rule(place=places, snap=snaps, new_name=snaps, writable=mostly)
    def rename_snap(self, place, snap, new_name, writable):
        self.on_image(
            place, lambda _side, image: image.rename_snap(snap, new_name), writable=writable
        )

    @rule(place=places, snap=snaps, writable=mostly)
    def remove_snap(self, place, snap, writable):
        self.on_image(
            place,
            lambda side, image: image.remove_snap(side.snap_id(image, snap)),
            writable=writable,
        )

    @rule(place=places, snap=snaps, writable=mostly)
    def protect_snap(self, place, snap, writable):
        self.on_image(place, lambda _side, image: image.protect_snap(snap), writable=writable)

    @rule(place=places, snap=snaps, writable=mostly)
    def unprotect_snap(self, place, snap, writable):
        self.on_image(place, lambda _side, image: image.unprotect_snap(snap), writable=writable)

    @rule(place=places, snap=snaps, writable=mostly)
    def rollback(self, place, snap, writable):
        self.on_image(place, lambda _side, image: image.rollback(snap), writable=writable)

    @rule(place=places, snap=snaps)
    def look_at_a_snap(self, place, snap):
        def call(side, image):
            image.children(side.snap_id(image, snap))

        self.on_image(place, call, writable=False)
        self.on_image(place, lambda _side, image: image.size(), writable=False, snap=snap)

    # Handles

    @rule(place=places, key=names, value=st.text("xyz", min_size=1, max_size=3), writable=mostly)
    def set_metadata(self, place, key, value, writable):
        self.on_image(
            place, lambda _side, image: image.set_metadata(key, value), writable=writable
        )

    @rule(place=places)
    def hold(self, place):
        """Have an image open for writing from here on."""

        def call(side):
            if place not in side.held:
                side.held[place] = side.pools[place[0]].open(place[1], read_only=False)
            return side.held[place].size()

        self.both(call)

    @rule(place=places, offset=sizes, length=sizes, seed=seeds)
    def write_to_held(self, place, offset, length, seed):
        def call(side):
            if place in side.held:
                side.held[place].write(offset, pattern(seed, length))
                side.held[place].flush()

        self.both(call)

    @rule(place=places)
    def release(self, place):
        def call(side):
            with contextlib.suppress(KeyError):
                side.held.pop(place).close()

        self.both(call)

    @rule(
        place=places,
        call=st.sampled_from(
            ("size", "snaps", "parent", "flush", "watchers", "metadata", "features", "flatten")
        ),
    )
    def use_after_close(self, place, call):
        def closed(_side, image):
            image.close()
            image.close()
            return getattr(image, call)()

        self.on_image(place, closed)
