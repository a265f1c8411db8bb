# SPDX-License-Identifier: Apache-2.0
"""Forests of clones, deleted in every order: nobody loses a byte, and nothing stays.

Each test grows ten volumes by every way of cloning, and deletes them one by one. After each step
all that is left is compared with a model that knows nothing of how it is done on disk.
"""

import dataclasses
import random

import pytest
import samples

from rbdstore import exceptions

SIZE = 64 * 1024
COUNT = 10
WAYS = ("image", "snapshot", "volume", "many")


@dataclasses.dataclass(eq=False)
class Moment:
    """What a clone was made from: some bytes, and what those were cloned from themselves."""

    data: bytes
    parent: "Moment | None" = None


@dataclasses.dataclass(eq=False)
class Tree:
    """The model of one volume.

    :ivar moments: what was cloned from it, by the user's snapshot it was; or without a name
    """

    data: bytearray
    parent: Moment | None
    moments: list[Moment] = dataclasses.field(default_factory=list)
    snapshots: dict[str, Moment] = dataclasses.field(default_factory=dict)

    @property
    def depth(self):
        count, above = 0, self.parent
        while above is not None:
            count, above = count + 1, above.parent
        return count


class Forest:
    """Volumes in the cluster, and their model."""

    def __init__(self, volumes, raw, image, features, seed):
        self.volumes = volumes
        self.raw = raw
        self.uri = image.uri
        self.image = Moment(samples.pattern("image", SIZE))
        self.features = features
        self.random = random.Random(seed)
        self.trees = {}

    # Growing

    def grow(self, shape):
        """Make volumes: in a chain, in a fan around the first, or anyhow."""
        self._plant("image", None)
        while len(self.trees) < COUNT:
            source = {
                "chain": f"volume-{len(self.trees) - 1}",
                "fan": "volume-0",
                "anyhow": self.random.choice(list(self.trees)),
            }[shape]
            self._plant(self.random.choice(WAYS if shape == "anyhow" else WAYS[1:]), source)
            if shape == "anyhow" and self.random.random() < 0.2:
                self.flatten(self.random.choice(list(self.trees)))
        self.check()

    def _plant(self, way, source):
        name = f"volume-{len(self.trees)}"
        if way == "image":
            self.volumes.clone(name, self.uri)
            self._add(name, self.image)
        elif way == "snapshot":
            snapshot = f"snapshot-{name}"
            self.volumes.create_snapshot(source, snapshot)
            moment = self._moment(source)
            self.trees[source].snapshots[snapshot] = moment
            self._write(source)
            self.volumes.create_from_snapshot(name, source, snapshot)
            self._add(name, moment)
        elif way == "volume":
            self.volumes.create_cloned_volume(name, source)
            self._add(name, self._moment(source))
        else:
            names = [f"volume-{len(self.trees) + more}" for more in range(2)]
            self.volumes.create_cloned_volumes(names, source)
            # In clone format 1 each has a snapshot of its own, of the same bytes.
            for each in names:
                self._add(each, self._moment(source))

    def _moment(self, source):
        tree = self.trees[source]
        tree.moments.append(Moment(bytes(tree.data), tree.parent))
        return tree.moments[-1]

    def _add(self, name, moment):
        self.trees[name] = Tree(bytearray(moment.data), moment)
        self._write(name)

    def _write(self, name):
        data = self.random.randbytes(4096)
        offset = self.random.randrange(SIZE // 4096) * 4096
        self.raw.write("volumes", name, data, offset)
        self.trees[name].data[offset : offset + 4096] = data

    # Changing

    def flatten(self, name):
        self.volumes.flatten(name)
        tree = self.trees[name]
        tree.parent = None
        if self.features is None:
            # Today's images are flattened with their snapshots, early ones without.
            for moment in tree.moments:
                moment.parent = None

    def delete_snapshots(self, name):
        for snapshot in list(self.trees[name].snapshots):
            self.volumes.delete_snapshot(name, snapshot)
            del self.trees[name].snapshots[snapshot]

    def delete(self, name):
        self.volumes.delete(name)
        del self.trees[name]

    def has_cloned_snapshots(self, name):
        needed = {tree.parent for tree in self.trees.values()}
        return any(moment in needed for moment in self.trees[name].snapshots.values())

    # Checking

    def check(self, most=COUNT):
        """Compare all bytes, and the lineage of ``most`` volumes: looking deep down is slow."""
        assert self.raw.images("volumes") == sorted([*self.trees, *self._hidden()])
        for name, tree in self.trees.items():
            assert self.raw.read("volumes", name) == tree.data, name
            for snapshot, moment in tree.snapshots.items():
                assert self.raw.read("volumes", name, snapshot) == moment.data, name
        for name in self.random.sample(list(self.trees), min(most, len(self.trees))):
            found, tree = self.volumes.get(name), self.trees[name]
            assert found.depth == tree.depth, name
            assert (found.parent is None) == (tree.parent is None), name
            assert found.snapshots == tuple(tree.snapshots), name

    def _hidden(self):
        return [name for name in self.raw.images("volumes") if name.endswith(".deleted")]


# Each shape meets both clone formats and both kinds of features, one of the formats the old ones;
# all with all would take minutes.
CASES = (
    ("chain", "forward", "before", 1),
    ("chain", "reverse", "after", 2),
    ("fan", "forward", "after", 1),
    ("fan", "random", "before", 2),
    ("anyhow", "forward", "before", 1),
    ("anyhow", "random", "after", 2),
)


@pytest.mark.parametrize(("shape", "order", "snapshots", "old"), CASES)
def test_a_forest(place, shape, order, snapshots, old, clone_format):
    features = samples.OLD_FEATURES if clone_format == old else None
    images = place.images(features=features)
    volumes = place.volumes(clone_format=clone_format, features=features, rbd_max_clone_depth=100)
    image = images.add("image-1", samples.pattern("image", SIZE))
    with place.raw() as raw:
        forest = Forest(volumes, raw, image, features, f"{shape} {order} {clone_format}")
        forest.grow(shape)
        waiting = list(forest.trees)
        if order == "reverse":
            waiting.reverse()
        elif order == "random":
            forest.random.shuffle(waiting)
        if snapshots == "before":
            for name in waiting:
                forest.delete_snapshots(name)
            forest.check()
        while waiting:
            name = waiting.pop(0)
            if forest.has_cloned_snapshots(name):
                with pytest.raises(exceptions.InUse):
                    volumes.delete(name)
                waiting.append(name)
                continue
            forest.delete_snapshots(name)
            forest.delete(name)
            forest.check(most=2)
        assert raw.images("volumes") == []
        assert raw.trash("volumes") == {}
        assert raw.snaps("images", "image-1") == ["snap"]
        assert raw.read("images", "image-1") == samples.pattern("image", SIZE)
    images.delete(image.uri)
