# SPDX-License-Identifier: Apache-2.0
"""Backups on a real Ceph: of a filesystem in use, in a long chain, and over two clusters."""

import random
import subprocess
import threading

import pools
import pytest
import samples
import stores

from rbdstore import settings, store
from rbdstore.testing import faults
from rbdstore.testing.sandbox import CephSandbox

MiB = samples.MiB


def backup_store(sandbox):
    return stores.store(sandbox, "cinder-backup", "backups").backups


def clear(volumes, backups):
    for backup in backups.list():
        backups.delete(backup.id, volumes=volumes)
    for volume in volumes.list():
        volumes.delete(volume.name)


# A filesystem


def filesystem(folder, size):
    """The bytes of an ext4 filesystem with files in it."""
    files = folder / "files"
    files.mkdir()
    for number in range(20):
        (files / f"file-{number}").write_bytes(samples.pattern(number, 100_000))
    path = folder / "filesystem"
    with path.open("wb") as opened:
        opened.truncate(size)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", files, path], check=True)
    return path.read_bytes()


def check_filesystem(folder, data):
    path = folder / "restored"
    path.write_bytes(data)
    done = subprocess.run(["e2fsck", "-fn", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_filesystem_that_is_written_meanwhile(sandbox, raw, volumes, tmp_path):
    """Its blocks are written by another client; each backup is the bytes of its own moment."""
    backups = backup_store(sandbox)
    size = 48 * MiB
    data = filesystem(tmp_path, size)
    volumes.create("volume", size)
    raw.write("volumes", "volume", data)
    stop = threading.Event()
    scratch = size
    volumes.extend("volume", size + 16 * MiB)

    def write():
        """As a guest does beside its filesystem: always the same bytes, or others beyond it."""
        choose = random.Random(1)
        with raw.open("volumes", "volume") as image:
            while not stop.is_set():
                at = choose.randrange(0, size, 64 * 1024)
                image.write(data[at : at + 64 * 1024], at)
                image.write(choose.randbytes(4096), scratch + choose.randrange(0, 16 * MiB, 4096))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            backups.create(volumes, "volume", f"backup-{number}")
    finally:
        stop.set()
        writer.join()
    with volumes.pool.open("volume") as image:
        snaps = {snap.name.rpartition(".")[2]: snap for snap in image.snaps()}
    for number in range(4):
        assert backups.verify(f"backup-{number}").sound
        backups.restore(f"backup-{number}", volumes, "restored")
        restored = raw.read("volumes", "restored")
        with volumes.pool.open("volume") as image:
            image.set_snap(snaps[f"backup-{number}"].id)
            assert restored == image.read(0, image.size())
        check_filesystem(tmp_path, restored[:size])
        volumes.delete("restored")
    clear(volumes, backups)
    pools.assert_empty(raw.client)


# A long chain


def test_a_chain_of_thirty_costs_what_one_of_two_does(sandbox, raw, volumes, counting):
    """In calls of the driver, and bytes; how long it takes the benchmarks tell."""
    backups, plan = counting
    volumes.create("volume", 64 * MiB)
    raw.write("volumes", "volume", samples.pattern("volume", 24 * MiB))
    costs = []
    for number in range(31):
        raw.write("volumes", "volume", samples.pattern(number, 4 * MiB), 4 * MiB * (number % 16))
        plan.watch()
        made = backups.create(volumes, "volume", f"backup-{number:02}")
        costs.append([*plan.stop()])
        assert made.kind == ("incremental" if number else "full")
        assert number == 0 or made.stored == 4 * MiB
    data = [call for call in costs[30] if "aio" in call]
    assert data == [call for call in costs[2] if "aio" in call]
    # What grows is the look at the manifests of the chain, and at a part of each.
    assert len(costs[30]) <= len(costs[2]) + 28 * 5
    plan.watch()
    backups.restore("backup-30", volumes, "restored")
    restored = plan.stop()
    assert raw.read("volumes", "restored") == raw.read("volumes", "volume")
    assert restored.count("Image.aio_read") == 16
    clear(volumes, backups)
    pools.assert_empty(raw.client)


@pytest.fixture
def counting(sandbox):
    plan = faults.Plan()
    real = stores.store(sandbox, "cinder-backup", "backups")
    cluster = faults.FaultyCluster(real._cluster, plan)
    return store.Store(cluster, settings.Settings(pool="backups")).backups, plan


# Two clusters


def test_volumes_are_backed_up_to_another_cluster(sandbox, raw, volumes):
    with CephSandbox(pools=["backups"]) as other, stores.foreign(other) as there:
        backups = backup_store(other)
        volumes.create("volume", 20 * MiB)
        raw.write("volumes", "volume", samples.pattern("volume", 9 * MiB))
        first = raw.read("volumes", "volume")
        backups.create(volumes, "volume", "backup-1")
        raw.write("volumes", "volume", b"later", 12 * MiB)
        assert backups.create(volumes, "volume", "backup-2").kind == "incremental"
        assert there.images("backups") == ["volume.backup.backup-1"]
        assert raw.images("backups") == []
        backups.restore("backup-1", volumes, "restored")
        assert raw.read("volumes", "restored") == first
        backups.restore("backup-1", volumes, "volume")
        assert raw.read("volumes", "volume") == first
        clear(volumes, backups)
        pools.assert_empty(there.client)
    pools.assert_empty(raw.client)
