# SPDX-License-Identifier: Apache-2.0
"""A third party's driver, installed as a package of its own and chosen in a .conf file.

It has the interface of :mod:`rbdstore.driver` and not one verb, and gets all of them.
"""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "example_driver"

CONFIGURATION = """\
[rbdstore]
enabled_backends = mem:memory, images:memory
default_backend = mem

[mem]
memory_cluster = one
rbd_pool = volumes
rbd_max_clone_depth = 3
rbd_lease_seconds = 1

[images]
memory_cluster = one
rbd_pool = images
rbd_store_chunk_size = 1
"""

# What a user of the library writes: nothing in it knows of the driver.
JOB = """\
import hashlib
import io
import json
import random
import sys

import rbdstore
from rbdstore import doctor, exceptions
from rbdstore.spec import ImageSpec

MiB = 1 << 20
conf = sys.argv[1]
said = {"modules": [name for name in ("rados", "rbd") if name in sys.modules]}


def stored(store, name, data, offset=0):
    # The bytes of a volume are its users' to write: the block device is not this library's.
    pool = store._cluster.open_pool(store._settings.pool)
    with pool.open(name, read_only=False) as image:
        image.write(offset, data)
        image.flush()


def content(store, name):
    pool = store._cluster.open_pool(store._settings.pool)
    with pool.open(name) as image:
        return image.read(0, image.size())


def fails(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{call.__name__}{args} did not raise {kind.__name__}")


# What a service does is tried, by a doctor that knows nothing of the driver either.
with doctor.Examination(conf) as examination:
    results = [*examination.look(), *examination.attempt()]
said["doctor"] = [doctor.worst(results), sum(each.check == "undo" for each in results)]

with rbdstore.load(conf) as store, rbdstore.load(conf, "images") as glance:
    images, volumes = glance.images, store.volumes

    # Images: add, get, get_size, exists, list
    data = random.Random(1).randbytes(3 * MiB + 17)
    image = images.add("debian-12", io.BytesIO(data), len(data))
    assert image.size == len(data)
    assert image.checksum == hashlib.md5(data).hexdigest()
    assert image.os_hash_value == hashlib.sha512(data).hexdigest()
    assert b"".join(images.get(image.uri)) == data
    assert b"".join(images.get(image.uri, 5, MiB)) == data[5 : 5 + MiB]
    assert images.get(image.uri).size == images.get_size(image.uri) == len(data)
    streamed = images.add("streamed", iter([data[:MiB], data[MiB:]]))
    assert b"".join(images.get(streamed.uri)) == data
    empty = images.add("empty", b"", 0)
    assert images.get_size(empty.uri) == 0
    assert [each.uri for each in images.list()] == [image.uri, empty.uri, streamed.uri]
    fails(exceptions.Duplicate, images.add, "debian-12", data)
    fails(exceptions.InvalidBody, images.add, "short", data, len(data) + 1)
    assert len(images.list()) == 3
    images.delete(streamed.uri)
    images.delete(empty.uri)
    assert not images.exists(streamed.uri)
    fails(exceptions.ImageNotFound, images.delete, streamed.uri)

    # Volumes: create, extend, rename, get
    volumes.create("empty", MiB)
    assert content(store, "empty") == bytes(MiB)
    volumes.extend("empty", 2 * MiB)
    volumes.rename("empty", "still-empty")
    assert volumes.get("still-empty").size == 2 * MiB
    fails(exceptions.ImageNotFound, volumes.get, "empty")
    fails(exceptions.InvalidSize, volumes.extend, "still-empty", MiB)
    volumes.delete("still-empty")
    volumes.delete("still-empty")

    # clone, snapshots, revert
    made = volumes.clone("volume-1", image.uri, size=4 * MiB)
    assert (made.size, made.depth) == (4 * MiB, 1)
    assert made.parent == ImageSpec("images", "debian-12", "snap")
    expected = bytearray(data.ljust(4 * MiB, b"\\0"))
    assert content(store, "volume-1") == expected
    volumes.create_snapshot("volume-1", "snapshot-1")
    stored(store, "volume-1", b"changed", 100)
    assert content(store, "volume-1")[100:107] == b"changed"
    volumes.revert_to_snapshot("volume-1", "snapshot-1")
    assert content(store, "volume-1") == expected
    stored(store, "volume-1", b"later", 2 * MiB - 2)
    latest = bytearray(expected)
    latest[2 * MiB - 2 : 2 * MiB + 3] = b"later"
    fails(exceptions.Duplicate, volumes.create_snapshot, "volume-1", "snapshot-1")
    assert volumes.get("volume-1").snapshots == ("snapshot-1",)
    busy = fails(exceptions.InUse, volumes.delete, "volume-1")
    assert busy.snapshots == ("snapshot-1",)

    # Volumes from snapshots and from volumes
    assert volumes.create_from_snapshot("volume-2", "volume-1", "snapshot-1").depth == 2
    assert content(store, "volume-2") == expected
    assert volumes.create_cloned_volume("volume-3", "volume-1", 5 * MiB).size == 5 * MiB
    assert content(store, "volume-3") == latest + bytes(MiB)
    many = volumes.create_cloned_volumes(["volume-4", "volume-5"], "volume-3")
    assert [each.name for each in many] == ["volume-4", "volume-5"]
    assert content(store, "volume-4") == content(store, "volume-5") == latest + bytes(MiB)
    # The limit is three: this flattens its source first.
    assert volumes.get("volume-5").depth == 3
    assert volumes.create_cloned_volume("volume-6", "volume-5").depth == 1
    assert content(store, "volume-6") == latest + bytes(MiB)
    stored(store, "volume-5", b"mine alone", 7)
    assert content(store, "volume-6") == latest + bytes(MiB)
    assert volumes.flatten("volume-2").parent is None
    assert content(store, "volume-2") == expected

    held = fails(exceptions.InUse, images.delete, image.uri)
    assert ImageSpec("volumes", "volume-1") in held.children
    stats = volumes.stats()
    assert (stats.images, stats.provisioned) == (6, (4 + 4 + 5 + 5 + 5 + 5) * MiB)
    assert stats.total == stats.free + stats.used
    names = [f"volume-{number}" for number in range(1, 7)]
    assert [each.name for each in volumes.list()] == names

    # Everything goes, in an order in which nothing is free to go
    images.delete(image.uri, in_use="defer")
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete_snapshot("volume-1", "snapshot-1")
    for name in names:
        volumes.delete(name)
        fails(exceptions.ImageNotFound, volumes.get, name)
    assert list(volumes.list()) == list(images.list()) == []

    left = {}
    for pool in store._cluster.list_pools():
        found = store._cluster.open_pool(pool)._found
        left[pool] = [*found.images, *found.names, *found.trash, *found.objects]
    said["left"] = {pool: found for pool, found in left.items() if found}
    said["driver"] = type(store._cluster).__module__

fails(exceptions.RbdStoreError, lambda: store.volumes)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the package where nothing else is, as its users would."""
    folder = tmp_path_factory.mktemp("third-party")
    target = folder / "site"
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [*command, "--no-index", "--no-deps", "--target", target, wheel(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return target


def wheel(folder):
    """Build the package as its pyproject.toml says.

    Not by setuptools: where an environment sees the system's packages, a new setuptools finds
    libraries there that are too old for it.
    """
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    about = f"{project['name'].replace('-', '_')}-{project['version']}"
    files = {
        path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")
    }
    files[f"{about}.dist-info/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    files[f"{about}.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{about}.dist-info/entry_points.txt"] = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    record = f"{about}.dist-info/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    made = folder / f"{about}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made


def run(installed, code, *args):
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_driver_chosen_in_a_conf_file_carries_every_verb(installed, tmp_path):
    conf = tmp_path / "service.conf"
    conf.write_text(CONFIGURATION)
    done = run(installed, JOB, str(conf))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "doctor": ["pass", 2],
        "modules": [],
        "left": {},
        "driver": "rbdstore_memory.driver",
    }


def test_its_options_are_in_the_sample(installed):
    done = run(
        installed,
        "from oslo_config import generator\ngenerator.main(['--namespace', 'rbdstore'])",
    )
    assert done.returncode == 0, done.stderr
    assert "[memory]" in done.stdout
    assert "#memory_cluster = memory" in done.stdout


def test_its_package_holds_no_verb():
    words = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    for verb in ("create_snapshot", "create_from_snapshot", "create_cloned_volume", "StoredImage"):
        assert verb not in words
