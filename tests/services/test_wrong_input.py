# SPDX-License-Identifier: Apache-2.0
"""Wrong input (:mod:`wrong`), for every argument of every method: refused, and nothing changed.

Each test tries one kind of argument wherever there is one, and names every entry of the table
that was not refused as it should be.
"""

import array
import ctypes
import decimal
import fractions
import inspect
import io

import pytest
import samples
import wrong
from wrong import bodies, locations

from rbdstore import exceptions, sizes
from rbdstore.disks import DiskStore
from rbdstore.images import ImageStore
from rbdstore.volumes import VolumeStore

MiB = samples.MiB
DATA = samples.pattern("image", 1000)

# Every argument of every method: a value that is right, and what kind of argument it is.
IMAGES = {
    "add": {
        "image_id": ("image-2", "new name"),
        "data": (b"data", "body"),
        "size": (None, "size or none"),
        "hashing_algo": ("sha512", "algorithm"),
        "progress": (None, "callback"),
    },
    "get": {
        "uri": ("<uri>", "location"),
        "offset": (0, "size"),
        "length": (None, "size or none"),
    },
    "uri": {"image_id": ("image-1", "new name")},
    "place": {"image_id": ("image-1", "new name")},
    "get_size": {"uri": ("<uri>", "location")},
    "exists": {"uri": ("<uri>", "location")},
    "list": {},
    "check_delete": {"uri": ("<uri>", "location"), "in_use": ("refuse", "policy")},
    "delete": {
        "uri": ("<uri>", "location"),
        "in_use": ("refuse", "policy"),
        "progress_of": (None, "callback of clones"),
    },
}
_EXPORT = {
    "images": ("<images>", "images"),
    "image_id": ("image-2", "new name"),
    "method": ("auto", "method"),
    "flatten": ("inline", "flatten mode"),
    "hashing_algo": (None, "algorithm or none"),
    "progress": (None, "callback"),
}
VOLUMES = {
    "close": {},
    "purge_deleted": {},
    "get": {"name": ("source", "name")},
    "list": {},
    "stats": {},
    "create": {"name": ("volume-1", "new name"), "size": (MiB, "size")},
    "extend": {"name": ("source", "new name"), "size": (2 * MiB, "size")},
    "rename": {"name": ("source", "new name"), "new_name": ("volume-1", "new name")},
    "delete": {"name": ("source", "new name"), "wait": (0, "wait"), "fence": (False, "flag")},
    "flatten": {"name": ("source", "new name"), "progress": (None, "callback")},
    "create_snapshot": {
        "volume": ("source", "new name"),
        "snapshot": ("snapshot-2", "snapshot"),
    },
    "delete_snapshot": {
        "volume": ("source", "new name"),
        "snapshot": ("snapshot-1", "snapshot"),
    },
    "revert_to_snapshot": {
        "volume": ("source", "new name"),
        "snapshot": ("snapshot-1", "snapshot"),
        "wait": (0, "wait"),
        "fence": (False, "flag"),
    },
    "snapshot_size": {"volume": ("source", "name"), "snapshot": ("snapshot-1", "snapshot")},
    "rename_snapshot": {
        "volume": ("source", "new name"),
        "snapshot": ("snapshot-1", "snapshot"),
        "new_name": ("snapshot-2", "snapshot"),
    },
    "unprotect_snapshot": {
        "volume": ("source", "new name"),
        "snapshot": ("snapshot-1", "snapshot"),
    },
    "limits": {"name": ("source", "name")},
    "set_limits": {"name": ("source", "new name"), "wanted": ({}, "limits")},
    "switch_features": {
        "name": ("source", "new name"),
        "features": ([], "features"),
        "enabled": (True, "flag"),
    },
    "reading": {"name": ("source", "new name")},
    "copy_from": {
        "other": ("<volumes>", "volumes"),
        "source": ("source", "new name"),
        "name": ("volume-1", "new name"),
    },
    "clone": {
        "name": ("volume-1", "new name"),
        "uri": ("<uri>", "any location"),
        "size": (None, "size or none"),
        "disk_format": ("raw", "format"),
    },
    "create_from_image": {
        "name": ("volume-1", "new name"),
        "locations": ([], "list of locations"),
        "size": (MiB, "size"),
        "disk_format": ("raw", "disk format"),
        "open_image": (lambda: DATA, "opener"),
        "progress": (None, "callback"),
    },
    "create_from_snapshot": {
        "name": ("volume-1", "new name"),
        "volume": ("source", "new name"),
        "snapshot": ("snapshot-1", "snapshot"),
        "size": (None, "size or none"),
    },
    "create_cloned_volume": {
        "name": ("volume-1", "new name"),
        "source": ("source", "new name"),
        "size": (None, "size or none"),
    },
    "create_cloned_volumes": {
        "names": (["volume-1"], "list of names"),
        "source": ("source", "new name"),
        "size": (None, "size or none"),
    },
    "copy_to_image": {"volume": ("source", "new name"), **_EXPORT},
    "connection_info": {"name": ("source", "name")},
}
_IMPORT = {
    "locations": ([], "list of locations"),
    "size": (MiB, "size"),
    "disk_format": ("raw", "disk format"),
    "open_image": (lambda: DATA, "opener"),
    "progress": (None, "callback"),
}
_SNAPSHOT = {"disk": ("source", "new name"), "snapshot": ("snapshot-1", "snapshot")}
DISKS = {
    "name": {"instance_uuid": ("instance", "new name"), "kind": ("", "kind of disk")},
    "names": {"instance_uuid": (None, "new name or none")},
    "exists": {"disk": ("source", "name"), "snapshot": (None, "snapshot or none")},
    "monitors": {},
    "get_size": {"disk": ("source", "name")},
    "parent": {"disk": ("source", "name")},
    "list": {"instance_uuid": (None, "new name or none")},
    "connection_info": {"disk": ("source", "name")},
    "is_cloneable": {
        "location": ("<uri>", "judged"),
        "image_meta": ({"disk_format": "raw"}, "metadata"),
    },
    "clone": {"disk": ("disk", "new name"), **_IMPORT},
    "import_image": {
        "disk": ("disk", "new name"),
        "data": (DATA, "body"),
        "size": (MiB, "size"),
        "disk_format": ("raw", "disk format"),
        "progress": (None, "callback"),
    },
    "snapshot_to_image": {"disk": ("source", "new name"), **_EXPORT},
    "resize": {
        "disk": ("source", "new name"),
        "size": (MiB, "size"),
        "allow_shrink": (False, "flag"),
    },
    "flatten": {"disk": ("source", "new name"), "progress": (None, "callback")},
    "create_snapshot": _SNAPSHOT,
    "remove_snapshot": _SNAPSHOT,
    "rollback_to_snapshot": {**_SNAPSHOT, "wait": (0, "wait"), "fence": (False, "flag")},
    "cleanup": {"instance_uuid": ("instance", "new name"), "fence": (False, "flag")},
    "delete": {"disk": ("source", "new name"), "fence": (False, "flag")},
    "delete_all": {"disks": (["source"], "list of names"), "fence": (False, "flag")},
}

TABLES = {
    "name": wrong.NAMES,
    "new name": wrong.NEW_NAMES,
    "snapshot": wrong.SNAPSHOTS,
    "snapshot or none": [entry for entry in wrong.SNAPSHOTS if entry.value is not None],
    "list of names": wrong.LISTS_OF_NAMES,
    "size": wrong.SIZES + wrong.NO_SIZE,
    "size or none": wrong.SIZES,
    "location": wrong.LOCATIONS + wrong.ELSEWHERE,
    "any location": wrong.LOCATIONS,
    "policy": wrong.POLICIES,
    "algorithm": wrong.ALGORITHMS,
    "algorithm or none": [entry for entry in wrong.ALGORITHMS if entry.value is not None],
    "new name or none": [entry for entry in wrong.NEW_NAMES if entry.value is not None],
    "images": wrong.IMAGE_STORES,
    "volumes": wrong.VOLUME_STORES,
    "limits": wrong.LIMITS,
    "features": wrong.FEATURES,
    "method": wrong.METHODS,
    "flatten mode": wrong.FLATTEN_MODES,
    "flag": wrong.FLAGS,
    "kind of disk": wrong.KINDS,
    "metadata": wrong.METADATA,
    "callback of clones": wrong.CALLBACKS_OF_CLONES,
    "wait": wrong.WAITS,
    "format": wrong.FORMATS,
    "disk format": wrong.DISK_FORMATS,
    "list of locations": wrong.LISTS_OF_LOCATIONS,
    "opener": wrong.OPENERS,
    "callback": wrong.CALLBACKS,
}


@pytest.fixture
def images(place):
    """As who may do everything: nothing is to be refused for want of a right."""
    return place.images("admin")


@pytest.fixture
def volumes(place):
    return place.volumes("admin")


@pytest.fixture
def image(images):
    stored = images.add("image-1", DATA)
    yield stored
    images.delete(stored.uri)


@pytest.fixture
def scene(place, images, volumes, image, raw):
    """An image, and one of its name in the other pool; a volume with a snapshot."""
    raw.create("volumes", "image-1", data=b"not to be reached")
    raw.snap("volumes", "image-1", "snap")
    volumes.create("source", MiB)
    raw.write("volumes", "source", DATA)
    volumes.create_snapshot("source", "snapshot-1")
    yield Scene(place, images, volumes, image.uri, raw)
    assert raw.read("volumes", "image-1", "snap") == b"not to be reached"
    assert raw.read("volumes", "source", "snapshot-1")[: len(DATA)] == DATA
    assert raw.read("images", "image-1", "snap") == DATA
    raw.remove("volumes", "image-1")
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")


class Scene:
    def __init__(self, place, images, volumes, uri, raw):
        self.place = place
        disks = place.store("volumes", "admin").disks
        self.services = [(images, IMAGES), (volumes, VOLUMES), (disks, DISKS)]
        self._given = {"<uri>": uri, "<images>": images, "<volumes>": volumes}
        self.uri = uri
        self._raw = raw

    def calls(self, kind):
        """Every method with an argument of that kind: its name, and itself as a call of that."""
        for service, methods in self.services:
            for method, arguments in methods.items():
                right = {
                    name: self._given.get(value, value) if isinstance(value, str) else value
                    for name, (value, _kind) in arguments.items()
                }
                for name, (_value, its_kind) in arguments.items():
                    if its_kind == kind:
                        yield (
                            f"{type(service).__name__}.{method}({name})",
                            self._call(getattr(service, method), name, right),
                        )

    @staticmethod
    def _call(method, name, right):
        return lambda value: method(**{**right, name: value})

    def refuse(self, kind):
        """See that every argument of a kind is refused, by every method, changing nothing."""
        table = wrong.at(self.place.fsid, TABLES[kind])
        methods = list(self.calls(kind))
        assert methods
        found = []
        before = self._raw.state()
        for name, method in methods:
            found += [f"{name}: {fault}" for fault in wrong.faults(table, method)]
            if self._raw.state() != before:
                found.append(f"{name}: something was changed")
                before = self._raw.state()
        assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("service", "methods"),
    [(ImageStore, IMAGES), (VolumeStore, VOLUMES), (DiskStore, DISKS)],
    ids=["images", "volumes", "disks"],
)
def test_every_method_is_tried_with_every_argument(service, methods):
    public = {
        name: list(inspect.signature(method).parameters)[1:]
        for name, method in inspect.getmembers(service, inspect.isfunction)
        if not name.startswith("_")
    }
    assert {name: list(arguments) for name, arguments in methods.items()} == public
    kinds = {kind for arguments in methods.values() for _value, kind in arguments.values()}
    # Of a location that is judged, what is wrong with it is the verdict.
    assert kinds <= {*TABLES, "body", "judged"}


@pytest.mark.parametrize("kind", TABLES)
def test_wrong_arguments(scene, kind):
    scene.refuse(kind)


# Bodies


def test_wrong_bodies(images, unchanged):
    table = wrong.UNREADABLE + wrong.BODIES
    found = wrong.faults(table, lambda body, size: images.add("image-1", body, size))
    assert not found, "\n".join(found)


def test_a_body_is_not_read_when_another_argument_is_wrong(images, unchanged):
    body = io.BytesIO(b"data")
    for arguments in (
        {"image_id": "image/1"},
        {"size": -1},
        {"hashing_algo": "sha513"},
        {"progress": "print"},
    ):
        with pytest.raises(exceptions.InvalidInput):
            images.add(**{"image_id": "image-1", "data": body, **arguments})
    assert body.tell() == 0


def test_an_error_of_the_body_comes_out_as_it_is(images, unchanged):
    for error in (bodies.BodyBrokeError("halfway"), KeyboardInterrupt(), SystemExit(), OSError()):
        for size in (None, 30 * MiB):
            with pytest.raises(type(error)) as caught:
                images.add("image-1", torn(b"x" * 9 * MiB, error), size)
            assert caught.value is error
            assert getattr(error, "__notes__", []) == []


def torn(data, error):
    yield data
    raise error


# What is only wrong here: sizes and locations for what there is


def test_sizes_that_would_lose_data(scene, images, volumes, raw):
    before = raw.state()
    image, uri = len(DATA), scene.uri
    for size in (0, 1, image - 1):
        with pytest.raises(exceptions.InvalidSize):
            volumes.clone("volume-1", uri, size)
    for size in (0, 1, MiB - 1):
        for shrink in (
            lambda size=size: volumes.extend("source", size),
            lambda size=size: volumes.create_from_snapshot(
                "volume-1", "source", "snapshot-1", size
            ),
            lambda size=size: volumes.create_cloned_volume("volume-1", "source", size),
            lambda size=size: volumes.create_cloned_volumes(["a", "b"], "source", size),
        ):
            with pytest.raises(exceptions.InvalidSize):
                shrink()
    for offset in (image + 1, 1 << 40):
        with pytest.raises(exceptions.InvalidSize, match="beyond its end"):
            images.get(uri, offset)
    assert raw.state() == before


def test_sizes_that_the_cluster_cannot_hold(scene, images, volumes, raw):
    before = raw.state()
    for size in (sizes.MAX_SIZE, sizes.MAX_SIZE - 1):
        for make in (
            lambda size=size: volumes.create("volume-1", size),
            lambda size=size: volumes.extend("source", size),
            lambda size=size: volumes.clone("volume-1", scene.uri, size),
            lambda size=size: volumes.create_from_snapshot(
                "volume-1", "source", "snapshot-1", size
            ),
            lambda size=size: volumes.create_cloned_volume("volume-1", "source", size),
            lambda size=size: images.add("image-2", b"data", size),
        ):
            with pytest.raises(exceptions.InvalidSize):
                make()
    assert raw.state() == before


def test_locations_that_cannot_be_cloned(scene, place, volumes, raw):
    before = raw.state()
    for uri, error in {
        f"rbd://{locations.OTHER_FSID}/images/image-1/snap": exceptions.NotCloneable,
        "rbd://image-1": exceptions.NotCloneable,
        f"rbd://{place.fsid}/nowhere/image-1/snap": exceptions.PoolNotFound,
        f"rbd://{place.fsid}/IMAGES/image-1/snap": exceptions.PoolNotFound,
        f"rbd://{place.fsid}/images/image-2/snap": exceptions.ImageNotFound,
        f"rbd://{place.fsid}/images/image-1/other": exceptions.SnapshotNotFound,
        f"rbd://{place.fsid}/images/image-%2531/snap": exceptions.ImageNotFound,
    }.items():
        with pytest.raises(error):
            volumes.clone("volume-1", uri)
    assert raw.state() == before


def test_only_an_image_is_deleted_not_another_snapshot_of_it(scene, place, images, raw):
    before = raw.state()
    with pytest.raises(exceptions.InvalidLocation, match="names the snapshot other"):
        images.delete(f"rbd://{place.fsid}/images/image-1/other")
    assert raw.state() == before


def test_what_is_unfinished_is_no_image(images, raw, place):
    raw.create("images", "image-1.12ab34cd.partial", data=b"half")
    for uri in (
        "rbd://image-1.12ab34cd.partial",
        f"rbd://{place.fsid}/images/image-1.12ab34cd.partial/snap",
    ):
        for look in (images.get, images.get_size, images.exists, images.delete):
            with pytest.raises(exceptions.InvalidLocation, match="reserved"):
                look(uri)
    raw.remove("images", "image-1.12ab34cd.partial")


# What only looks wrong


def test_names_and_sizes_of_other_types(volumes, raw):
    name, snapshot = wrong.Named.VOLUME, wrong.Named.SNAPSHOT
    made = volumes.create(name, wrong.Index(MiB))
    assert (type(made.name), type(made.size)) == (str, int)
    assert raw.images("volumes") == [name.value]
    assert volumes.extend(name, wrong.Index(2 * MiB)).size == 2 * MiB
    assert volumes.get(wrong.Text(name.value)).name == name.value
    volumes.create_snapshot(name, snapshot)
    assert volumes.get(name).snapshots == (snapshot.value,)
    assert raw.state()["volumes", name.value]
    made = volumes.create_from_snapshot(wrong.Text("a"), name, snapshot, wrong.Index(3 * MiB))
    assert made.size == 3 * MiB
    volumes.create_cloned_volume(wrong.Text("b"), wrong.Text("a"), wrong.Index(4 * MiB))
    volumes.revert_to_snapshot(name, snapshot)
    volumes.rename(wrong.Text("a"), wrong.Text("c"))
    assert raw.images("volumes") == ["b", "c", name.value]
    for each, wait in {"b": 0.0, "c": fractions.Fraction(1, 3)}.items():
        volumes.flatten(wrong.Text(each))
        volumes.delete(wrong.Text(each), wait=wait)
    volumes.delete_snapshot(name, snapshot)
    volumes.delete(name, wait=decimal.Decimal("0.5"))


def test_lists_of_names_of_other_types(volumes, raw):
    volumes.create("source", MiB)
    assert volumes.create_cloned_volumes((), "source") == []
    assert volumes.create_cloned_volumes(iter(()), "source", 5) == []
    for number, kind in enumerate((list, tuple, set, dict.fromkeys, iter)):
        (made,) = volumes.create_cloned_volumes(kind([f"clone-{number}"]), "source")
        assert made.name == f"clone-{number}"
    generated = (wrong.Text(f"generated-{number}") for number in range(2))
    made = volumes.create_cloned_volumes(generated, "source")
    assert [type(volume.name) for volume in made] == [str, str]
    for volume in volumes.list():
        volumes.delete(volume.name)


def test_locations_and_ranges_of_other_types(images, volumes, place):
    image = images.add(wrong.Text("image-1"), b"0123456789", wrong.Index(10))
    for uri in (
        wrong.Text(image.uri),
        f"rbd://{place.fsid}/%69mages/image%2D1/%73nap",
        wrong.Text("rbd://image-1"),
    ):
        assert b"".join(images.get(uri, wrong.Index(2), wrong.Index(3))) == b"234"
        assert images.get_size(uri) == 10
        assert images.exists(uri)
    volumes.clone("volume-1", wrong.Text(image.uri), wrong.Index(20), disk_format="raw")
    volumes.delete("volume-1")
    images.delete(wrong.Text(image.uri), in_use=wrong.Text("refuse"))


@pytest.mark.parametrize("size", [None, 16], ids=["unknown size", "known size"])
def test_bodies_of_other_types(images, size):
    data = b"sixteen bytes..."
    wide = array.array("Q", data)
    for body in (
        bytearray(data),
        [memoryview(wide)],
        [memoryview(data).cast("B", (4, 4))],
        [memoryview(ctypes.c_uint64.from_buffer(wide)), memoryview(data)[8:]],
        bodies.Reader(memoryview(wide)),
        bodies.Reader(bytearray(data), b"", b"after its end"),
        (data[i : i + 1] for i in range(16)),
        {data: None},
    ):
        image = images.add("image-1", body, size, hashing_algo=wrong.Text("sha256"))
        assert (image.size, image.os_hash_algo) == (16, "sha256")
        assert b"".join(images.get(image.uri)) == data
        images.delete(image.uri)
