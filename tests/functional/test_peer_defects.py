# SPDX-License-Identifier: Apache-2.0
"""What is known to go wrong with the stock drivers, one test a defect: it does not happen here.

The numbers are those of the list of defects that this library set out to mend.
"""

import hashlib
import io
import json
import logging
import subprocess
import sys
import threading
import time

import pytest
import rbd
import samples
import stores

import rbdstore
from rbdstore import exceptions
from rbdstore.drivers.rbd.image import RbdImage

MiB = samples.MiB
DATA = samples.pattern("defects", MiB)

FORMATS = pytest.mark.parametrize("clone_format", [1, 2], ids=["format 1", "format 2"])

# Purged when it is asked for.
DEFERRED = {"enable_deferred_deletion": True, "deferred_deletion_purge_interval": 3600}

# Runs the verbs, and reports every way of starting a process or of making a file.
AUDITED = """
import sys

seen = []
told = ("subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn", "tempfile.")

def hook(event, args):
    if event.startswith(told):
        seen.append((event, str(args)))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append((event, str(args)))

conf, fsid, root = sys.argv[1:]
sys.path.insert(0, root)
import rbdstore

def store(user, pool):
    return rbdstore.connect("rbd", rbd_ceph_conf=conf, rbd_user=user, rbd_pool=pool)

with store("glance", "images") as images, store("cinder", "volumes") as volumes:
    sys.addaudithook(hook)
    image = images.images.add("image-1", b"x" * 100000)
    assert len(b"".join(images.images.get(image.uri))) == 100000
    v = volumes.volumes
    v.clone("v1", image.uri)
    v.create_snapshot("v1", "s1")
    v.create_from_snapshot("v2", "v1", "s1")
    v.create_cloned_volume("v3", "v2")
    v.flatten("v3")
    v.stats()
    v.delete_snapshot("v1", "s1")
    for name in ("v1", "v2", "v3"):
        v.delete(name)
    images.images.delete(image.uri)
print(seen)
"""


@pytest.fixture
def raw(sandbox):
    with stores.foreign(sandbox) as client:
        yield client


@pytest.fixture
def images(sandbox):
    return stores.image_store(sandbox)


def until(is_so):
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def warnings(caplog):
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def make(volumes, raw, name):
    volumes.create(name, MiB)
    raw.write("volumes", name, DATA)


@FORMATS
def test_defect_01_deleted_clone_leaves_its_snapshot_on_the_source(sandbox, raw, clone_format):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    make(volumes, raw, "source")
    volumes.create_cloned_volume("clone", "source")
    volumes.delete("clone")
    assert raw.snaps("volumes", "source") == []
    volumes.create_cloned_volume("clone", "source")
    volumes.delete("source")
    volumes.delete("clone")
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}


@FORMATS
def test_defect_02_parents_are_cleaned_up_while_the_child_still_pins_them(
    sandbox, raw, clone_format
):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    make(volumes, raw, "v0")
    for number in range(4):
        volumes.create_cloned_volume(f"v{number + 1}", f"v{number}")
        volumes.delete(f"v{number}")
    assert volumes.get("v4").depth == 4
    assert raw.read("volumes", "v4") == DATA
    # The last one lets go, and all four above it go in one call.
    volumes.delete("v4")
    assert raw.images("volumes") == []
    assert raw.trash("volumes") == {}


def test_defect_03_a_deferred_deletion_removes_at_once(sandbox, raw):
    images, volumes = stores.admin_image_store(sandbox), stores.admin_volume_store(sandbox)
    image = images.add("image-1", DATA)
    volumes.clone("volume-1", image.uri)
    images.delete(image.uri, in_use="defer")
    ((image_id, _name),) = raw.trash("images").items()
    with raw.open("images", image_id=image_id, snap="snap", read_only=True) as opened:
        assert opened.read(0, MiB) == DATA
    volumes.delete("volume-1")
    assert raw.trash("images") == {}
    volumes = stores.volume_store(sandbox, **DEFERRED)
    make(volumes, raw, "volume-1")
    volumes.delete("volume-1")
    ((image_id, _name),) = raw.trash("volumes").items()
    with raw.open("volumes", image_id=image_id, read_only=True) as opened:
        assert opened.read(0, MiB) == DATA
    assert volumes.purge_deleted().purged == ("volume-1",)


@pytest.mark.parametrize("deferred", [False, True], ids=["at once", "deferred"])
def test_defect_04_purging_empties_the_trash_of_everybody(sandbox, raw, deferred):
    volumes = stores.volume_store(sandbox, **(DEFERRED if deferred else {}))
    make(volumes, raw, "operators")
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().trash_move(ioctx, "operators", 0)
    trash = raw.trash("volumes")
    make(volumes, raw, "source")
    volumes.create_cloned_volume("clone", "source")
    volumes.delete("source")
    volumes.delete("clone")
    assert [one.why for one in volumes.purge_deleted().kept] == ["foreign"]
    assert raw.trash("volumes") == trash
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().trash_restore(ioctx, next(iter(trash)), "operators")
    assert raw.read("volumes", "operators") == DATA
    volumes.delete("operators")
    volumes.purge_deleted()


def test_defect_05_an_entry_whose_time_is_not_over_is_an_error_each_time(volumes, raw):
    raw.create("volumes", "source.deleted", data=DATA)
    raw.snap("volumes", "source.deleted", "clone.clone_snap")
    raw.clone("volumes", "source.deleted", "clone.clone_snap", "volumes", "clone")
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().trash_move(ioctx, "source.deleted", 3600)
    trash = raw.trash("volumes")
    volumes.delete("clone")
    assert raw.trash("volumes") == trash
    with raw.ioctx("volumes") as ioctx:
        rbd.RBD().trash_restore(ioctx, next(iter(trash)), "source")
    assert raw.read("volumes", "source") == DATA
    raw.remove("volumes", "source")


def test_defect_05_the_purge_tells_of_an_error_each_time(sandbox, raw, caplog):
    volumes = stores.volume_store(sandbox, **DEFERRED, deferred_deletion_delay=2)
    make(volumes, raw, "volume-1")
    with caplog.at_level(logging.WARNING):
        volumes.delete("volume-1")
        until(lambda: volumes.purge_deleted().purged == ("volume-1",))
    assert warnings(caplog) == []


def test_defect_06_the_purge_ends_for_good_at_the_first_outage(sandbox, raw, caplog):
    options = {**DEFERRED, "deferred_deletion_purge_interval": 1, "rbd_operation_timeout": 1}
    with rbdstore.connect(
        "rbd", rbd_ceph_conf=sandbox.conf_path, rbd_user="cinder", rbd_pool="volumes", **options
    ) as store:
        for name in ("volume-1", "volume-2"):
            store.volumes.create(name, MiB)
        store.volumes.delete("volume-1")
        until(lambda: raw.trash("volumes") == {})
        with caplog.at_level(logging.INFO, "rbdstore.trash.deferral"):
            sandbox.pause_daemon("osd.0")
            try:
                until(lambda: "stay in the trash until this works again" in caplog.text)
            finally:
                sandbox.resume_daemon("osd.0")
                sandbox.wait_ready()
            until(lambda: "works again" in caplog.messages[-1])
        assert len(warnings(caplog)) == 1
        store.volumes.delete("volume-2")
        until(lambda: raw.trash("volumes") == {})


@FORMATS
def test_defect_07_a_deletion_flattens_the_volumes_of_others(sandbox, raw, clone_format):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    make(volumes, raw, "source")
    volumes.create_snapshot("source", "snapshot-1")
    volumes.create_from_snapshot("clone", "source", "snapshot-1")
    with (
        stores.held_open(sandbox, "volumes", "source"),
        pytest.raises(exceptions.InUse),
    ):
        volumes.delete("source")
    volumes.delete_snapshot("source", "snapshot-1")
    with (
        stores.held_open(sandbox, "volumes", "source"),
        pytest.raises(exceptions.InUse),
    ):
        volumes.delete("source")
    volumes.delete("source")
    assert volumes.get("clone").depth == 1
    assert raw.data_objects("volumes", "clone") == 0
    assert raw.read("volumes", "clone") == DATA
    volumes.delete("clone")


@pytest.mark.parametrize("target", ["source", "destination"])
def test_defect_08_a_failed_flatten_at_the_limit_leaks_clone_and_snapshot(
    sandbox, raw, target, monkeypatch
):
    options = {"rbd_max_clone_depth": 1, "rbd_flatten_target": target}
    volumes = stores.volume_store(sandbox, **options)

    def fail(self, **_options):
        raise exceptions.ClusterError("injected", spec=self.spec)

    with monkeypatch.context() as patch:
        patch.setattr(RbdImage, "flatten", fail)
        make(volumes, raw, "v0")
        volumes.create_cloned_volume("v1", "v0")
        with pytest.raises(exceptions.ClusterError, match="injected"):
            volumes.create_cloned_volumes(["v2", "v3"], "v1")
        with pytest.raises(exceptions.ClusterError, match="injected"):
            volumes.flatten("v1")
    assert raw.images("volumes") == ["v0", "v1"]
    assert raw.snaps("volumes", "v1") == []
    assert not [key for key in raw.objects("volumes") if ".lease." in key]
    with raw.open("volumes", "v1", read_only=True) as opened:
        assert list(opened.watchers_list()) == []
    # Nothing of it stands in the way.
    assert volumes.get("v1").depth == 1
    volumes.create_cloned_volumes(["v2", "v3"], "v1")
    for name in ("v0", "v1", "v2", "v3"):
        assert raw.read("volumes", name) == DATA
        volumes.delete(name)


def test_defect_08_flattening_at_the_limit_is_not_limited_in_number(sandbox, raw):
    volumes = stores.volume_store(
        sandbox,
        rbd_max_clone_depth=1,
        rbd_flatten_mode="task",
        rbd_concurrent_flatten_operations=1,
    )
    make(volumes, raw, "source")
    numbers = range(4)
    volumes.create_cloned_volumes([f"deep-{number}" for number in numbers], "source")
    threads = [
        threading.Thread(
            target=volumes.create_cloned_volume, args=(f"clone-{number}", f"deep-{number}")
        )
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        tasks = json.loads(
            raw.client.mgr_command('{"prefix": "rbd task list", "format": "json"}', b"")[1]
        )
        seen.append(len(tasks))
        time.sleep(0.05)
    assert max(seen) == 1
    for number in numbers:
        assert volumes.get(f"deep-{number}").depth == 0
        assert volumes.get(f"clone-{number}").depth == 1
        for name in (f"deep-{number}", f"clone-{number}"):
            assert raw.read("volumes", name) == DATA
            volumes.delete(name)
    volumes.delete("source")


def test_defect_09_depth_counts_clones_of_volumes_only(sandbox, images, raw):
    volumes = stores.volume_store(sandbox, rbd_max_clone_depth=3)
    image = images.add("image-1", DATA)
    assert volumes.clone("v1", image.uri).depth == 1
    volumes.create_snapshot("v1", "s1")
    assert volumes.create_from_snapshot("v2", "v1", "s1").depth == 2
    volumes.delete_snapshot("v1", "s1")
    volumes.delete("v1")
    assert volumes.get("v2").depth == 2
    assert volumes.create_cloned_volume("v3", "v2").depth == 3
    # At the limit, counting an image of another pool and a parent in the trash.
    assert volumes.create_cloned_volume("v4", "v3").depth == 1
    assert volumes.get("v3").depth == 0
    for name in ("v2", "v3", "v4"):
        assert raw.read("volumes", name) == DATA
        volumes.delete(name)
    images.delete(image.uri)


@FORMATS
def test_defect_10_a_roll_back_fails_and_hides_the_first_error(sandbox, raw, clone_format):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    make(volumes, raw, "source")
    volumes.create_snapshot("source", "snapshot-1")
    too_large = 1 << 52
    for attempt in (
        lambda: volumes.create_cloned_volume("clone", "source", too_large),
        lambda: volumes.create_cloned_volumes(["clone-1", "clone-2"], "source", too_large),
        lambda: volumes.create_from_snapshot("clone", "source", "snapshot-1", too_large),
    ):
        with pytest.raises(exceptions.InvalidInput) as caught:
            attempt()
        assert getattr(caught.value, "__notes__", []) == []
        assert raw.images("volumes") == ["source"]
        assert raw.snaps("volumes", "source") == ["snapshot-1"]
    volumes.delete_snapshot("source", "snapshot-1")
    volumes.delete("source")


def test_defect_15_connect_timeouts_bound_every_data_operation(sandbox, raw):
    volumes = stores.volume_store(sandbox, rados_connect_timeout=1, rados_connection_retries=1)
    volumes.create("volume-1", MiB)
    sandbox.pause_daemon("osd.0")
    try:
        resume = threading.Timer(3, sandbox.resume_daemon, ["osd.0"])
        resume.start()
        assert volumes.extend("volume-1", 2 * MiB).size == 2 * MiB
    finally:
        resume.join()
    volumes.delete("volume-1")


def test_defect_17_the_state_of_an_upload_lives_on_the_store(images):
    sizes = (3 * MiB, 9 * MiB, MiB, 0, 70 * MiB)
    stored = [
        images.add(f"image-{number}", io.BytesIO(bytes(size))) for number, size in enumerate(sizes)
    ]
    assert tuple(image.size for image in stored) == sizes
    for image, size in zip(stored, sizes, strict=True):
        assert image.checksum == hashlib.md5(bytes(size)).hexdigest()
        assert images.get_size(image.uri) == size
        images.delete(image.uri)


def test_defect_18_the_default_user_is_the_string_none_and_chunk_sizes_are_not_checked(sandbox):
    for user in ({}, {"rbd_user": None}):
        with rbdstore.connect(
            "rbd", rbd_ceph_conf=sandbox.conf_path, rbd_pool="images", **user
        ) as store:
            image = store.images.add("image-1", DATA)
            store.images.delete(image.uri)
    for size in (0, 3, 7, -8, 2.5, "x", 1 << 20):
        with pytest.raises(exceptions.ConfigError, match="rbd_store_chunk_size"):
            rbdstore.connect(
                "rbd",
                rbd_ceph_conf=sandbox.conf_path,
                rbd_pool="images",
                rbd_store_chunk_size=size,
            )


@FORMATS
def test_defect_19_a_refused_deletion_leaves_an_image_without_its_snapshot(
    sandbox, raw, images, clone_format
):
    volumes = stores.volume_store(sandbox, clone_format=clone_format)
    image = images.add("image-1", DATA)
    volumes.clone("volume-1", image.uri)
    with pytest.raises(exceptions.InUse):
        images.delete(image.uri)
    with raw.open("images", "image-1", read_only=True) as opened:
        assert opened.is_protected_snap("snap")
    assert raw.trash("images") == {}
    assert images.exists(image.uri)
    assert volumes.clone("volume-2", image.uri).depth == 1
    for name in ("volume-1", "volume-2"):
        volumes.delete(name)
    images.delete(image.uri)


def test_defect_20_commands_are_run_and_temporary_files_are_made(sandbox):
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, sandbox.conf_path, sandbox.fsid, str(stores.ROOT)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_defect_21_the_watcher_of_a_crashed_client_blocks_a_deletion(sandbox, volumes, raw):
    make(volumes, raw, "volume-1")
    with stores.held_open(sandbox, "volumes", "volume-1", data=b"x") as client:
        client.kill()
        client.wait()
        with pytest.raises(exceptions.InUse, match="wait"):
            volumes.delete("volume-1")
        assert raw.trash("volumes") == {}
        volumes.delete("volume-1", wait=60)
    assert raw.images("volumes") == []


def test_defect_22_a_resize_may_shrink(volumes, raw):
    make(volumes, raw, "volume-1")
    with pytest.raises(exceptions.InvalidSize):
        volumes.extend("volume-1", MiB - 1)
    assert raw.read("volumes", "volume-1") == DATA
    volumes.create_snapshot("volume-1", "snapshot-1")
    for attempt in (
        lambda: volumes.create_cloned_volume("clone", "volume-1", MiB - 1),
        lambda: volumes.create_from_snapshot("clone", "volume-1", "snapshot-1", MiB - 1),
    ):
        with pytest.raises(exceptions.InvalidSize):
            attempt()
    assert raw.images("volumes") == ["volume-1"]
    volumes.delete_snapshot("volume-1", "snapshot-1")
    volumes.delete("volume-1")
