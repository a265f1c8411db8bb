# SPDX-License-Identifier: Apache-2.0
"""Images become volumes on a real cluster: by whom, through whom, and one that boots.

What passes through this client is counted at the seam (:mod:`rbdstore.testing.faults`): calls that
move data, and there is no other way for data.
"""

import contextlib
import io
import json
import pathlib
import subprocess
import time

import containers
import pytest
import samples
import stores

from rbdstore import exceptions
from rbdstore.settings import Settings
from rbdstore.store import Store
from rbdstore.testing import faults

MiB, GiB = samples.MiB, samples.GiB
DATA = samples.pattern("image", 3 * MiB)

# A bootable disk that a package ships (grub-rescue-pc).
GRUB = pathlib.Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")

MOVES_DATA = {"Image.read", "Image.write", "Image.aio_read", "Image.aio_write", "Image.flatten"}


@pytest.fixture
def counted(sandbox):
    """Volumes as client.cinder, and the plan that counts the calls."""
    plan = faults.Plan()
    cluster = stores.store(sandbox, "cinder", "volumes")._cluster
    opened = Store(faults.FaultyCluster(cluster, plan), Settings(pool="volumes"))
    return opened.volumes, plan


@pytest.fixture
def big_image(raw):
    """Make an image of some size with data at both ends, and give its name's location."""
    made = []

    def make(name, size):
        raw.create("images", name, size)
        raw.write("images", name, DATA)
        raw.write("images", name, DATA, size - len(DATA))
        raw.snap("images", name, "snap")
        made.append(name)
        return f"rbd://{raw.client.get_fsid()}/images/{name}/snap"

    yield make
    for name in made:
        raw.remove("images", name)


def test_a_clone_moves_nothing_however_large_the_image_is(counted, raw, big_image):
    volumes, plan = counted
    calls = {}
    for size in (64 * MiB, GiB, 16 * GiB):
        uri = big_image(f"image-{size}", size)
        plan.watch()
        began = time.monotonic()
        made = volumes.create_from_image("volume-1", [uri], 2 * size, disk_format="raw")
        print(f"{size >> 20} MiB: {time.monotonic() - began:.3f} s")
        # How often a lease is renewed is a matter of time.
        calls[size] = sorted(call for call in plan.stop() if call != "Pool.lease")
        assert (made.method, made.size, made.depth) == ("clone", 2 * size, 1)
        assert raw.data_objects("volumes", "volume-1") == 0
        with raw.open("volumes", "volume-1", read_only=True) as image:
            assert image.read(0, len(DATA)) == DATA
            assert image.read(size - len(DATA), len(DATA) + MiB) == DATA + bytes(MiB)
            assert image.read(size // 2, MiB) == bytes(MiB)
        volumes.delete("volume-1")
    first, *others = calls.values()
    assert not MOVES_DATA & set(first)
    assert all(other == first for other in others)


def test_what_this_user_may_not_read_is_passed_over(counted, raw):
    volumes, _plan = counted
    raw.create("backups", "image-1", data=DATA)
    raw.snap("backups", "image-1", "snap")
    uri = f"rbd://{raw.client.get_fsid()}/backups/image-1/snap"
    made = volumes.create_from_image(
        "volume-1", [uri], 4 * MiB, disk_format="raw", open_image=lambda: io.BytesIO(DATA)
    )
    assert made.method == "copy"
    (passed_over,) = made.passed_over
    assert passed_over.location == uri
    assert "client.cinder" in passed_over.reason
    assert raw.read("volumes", "volume-1") == DATA + bytes(MiB)
    volumes.delete("volume-1")
    raw.remove("backups", "image-1")


def test_in_format_1_a_snapshot_must_be_protected(sandbox, raw):
    raw.create("images", "image-1", data=DATA)
    raw.snap("images", "image-1", "snap", protect=False)
    uri = f"rbd://{raw.client.get_fsid()}/images/image-1/snap"
    volumes = stores.volume_store(sandbox, clone_format=1)
    with pytest.raises(exceptions.NotCloneable, match="none of its locations"):
        volumes.create_from_image("volume-1", [uri], 4 * MiB, disk_format="raw")
    raw.remove("images", "image-1")


def test_qemu_img_writes_straight_into_the_volume(sandbox, raw, counted, tmp_path, monkeypatch):
    """Nothing of the disk passes through this process, or is kept on this host."""
    container = containers.make(tmp_path, DATA, "-c", "-O", "qcow2")
    scratch, programs = tmp_path / "scratch", tmp_path / "bin"
    scratch.mkdir()
    programs.mkdir()
    watched = containers.Watched(programs, monkeypatch)
    watched.do(f"stat -L -c '%F %s' /dev/fd/* >>{tmp_path}/kept")
    plan = counted[1]
    settings = Settings(pool="volumes", conversion_dir=str(scratch))
    cluster = stores.store(sandbox, "cinder", "volumes")._cluster
    volumes = Store(faults.FaultyCluster(cluster, plan), settings).volumes
    plan.watch()
    volumes.create_from_image(
        "volume-1", [], GiB, disk_format="qcow2", open_image=lambda: io.BytesIO(container)
    )
    assert not MOVES_DATA & set(plan.stop())
    with raw.open("volumes", "volume-1", read_only=True) as image:
        assert image.read(0, 4 * MiB) == DATA + bytes(MiB)
        assert image.size() == GiB
    # Zeros are not written.
    assert raw.data_objects("volumes", "volume-1") == 1
    kept = (tmp_path / "kept").read_text().splitlines()
    # Of all files that each run was given.
    assert [size for size in sizes(kept) if size > MiB] == 2 * [len(container)]
    assert list(scratch.iterdir()) == []
    volumes.delete("volume-1")


def sizes(lines):
    return [int(line.split()[-1]) for line in lines]


def test_a_bootable_image_boots_from_the_volume(sandbox, raw, tmp_path):
    disk = GRUB.read_bytes()
    images = stores.image_store(sandbox)
    stored = images.add("grub", containers.make(tmp_path, disk, "-c", "-O", "qcow2"))
    volumes = stores.volume_store(sandbox)
    made = volumes.create_from_image(
        "grub",
        [stored.uri],
        16 * MiB,
        disk_format="qcow2",
        open_image=lambda: images.get(stored.uri),
    )
    assert made.method == "copy"
    assert raw.read("volumes", "grub") == disk.ljust(16 * MiB, b"\0")
    images.delete(stored.uri)
    screen = tmp_path / "screen"
    with booted(volumes._pool.blockdev("grub"), screen) as qemu:
        wait_until(lambda: qemu.poll() is not None or b"GNU GRUB" in read(screen))
        assert qemu.poll() is None, qemu.stderr.read()
    volumes.delete("grub")


@contextlib.contextmanager
def booted(blockdev, screen):
    """A machine whose only disk is that, and whose text comes to a file as well."""
    disk = {"driver": "raw", "node-name": "disk", "file": blockdev}
    with subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            # Not the kernel's, which is not everywhere, and no faster in a machine in a machine.
            *("-machine", "pc,accel=tcg,graphics=off", "-m", "128", "-nodefaults"),
            *("-display", "none", "-vga", "std", "-serial", f"file:{screen}"),
            *("-blockdev", json.dumps(disk), "-device", "virtio-blk-pci,drive=disk"),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as qemu:
        try:
            yield qemu
        finally:
            # SIGTERM lets it close the image.
            qemu.terminate()


def read(path):
    return path.read_bytes() if path.exists() else b""


def wait_until(is_so):
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
