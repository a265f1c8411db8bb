# SPDX-License-Identifier: Apache-2.0
"""Backups whose maker is killed between the steps in which their snapshot is made."""

import concurrent.futures
import json
import subprocess
import sys

import pools
import samples
import stores
import tenacity

MiB = samples.MiB

STEPS = ("added", "mapped", "marked", "told")

MAKER = """
import json, os, sys
import rbdstore
from rbdstore.drivers.rbd import image, reserving

conf, volume, backup_id, step = json.loads(sys.argv[1])

def die(*_arguments, **_options):
    os._exit(9)

class Lease:
    # It is checked twice: for the header, and, once the snap has its map, for the head's.
    calls = 0
    cookie = staticmethod(reserving.lease.cookie)

    def check(self, *arguments, real=reserving.lease.check, **options):
        self.calls += 1
        die() if self.calls == 2 else real(*arguments, **options)

if step == "added":
    reserving._copy_map = die
elif step == "mapped":
    reserving.lease = Lease()
elif step == "marked":
    reserving._tell = die
elif step == "told":
    image.RbdImage._open_anew = die

def store(user, pool):
    return rbdstore.connect(
        "rbd", rbd_ceph_conf=conf, rbd_user=user, rbd_pool=pool, rbd_lease_seconds=5
    )

volumes = store("cinder", "volumes").volumes
store("cinder-backup", "backups").backups.create(volumes, volume, backup_id)
"""


def make(sandbox, volume, backup_id, step=""):
    arguments = json.dumps([str(sandbox.conf_path), volume, backup_id, step])
    return subprocess.run([sys.executable, "-c", MAKER, arguments]).returncode


def make_again(sandbox, volume, backup_id):
    """Once the dead one's leases have run out."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(bool),
        stop=tenacity.stop_after_delay(90),
        wait=tenacity.wait_fixed(1),
    )
    retrying(make, sandbox, volume, backup_id)


def test_a_backup_can_be_repeated_and_so_can_its_increments(sandbox, raw):
    volumes = stores.volume_store(sandbox)
    backups = stores.store(sandbox, "cinder-backup", "backups").backups

    def try_all(step):
        wanted = {}
        volumes.create(step, 32 * MiB)
        for number, killed_at in enumerate((step, step, "")):
            backup_id = f"{step}-{number}"
            raw.write("volumes", step, samples.pattern(backup_id, (12 + 8 * number) * MiB))
            wanted[backup_id] = raw.read("volumes", step)
            if killed_at:
                assert make(sandbox, step, backup_id, killed_at) == 9
            make_again(sandbox, step, backup_id)
        for backup_id, data in wanted.items():
            assert backups.verify(backup_id).sound
            backups.restore(backup_id, volumes, f"restored-{backup_id}")
            assert raw.read("volumes", f"restored-{backup_id}") == data

    with concurrent.futures.ThreadPoolExecutor(len(STEPS)) as pool:
        list(pool.map(try_all, STEPS))
    for backup in backups.list():
        backups.delete(backup.id, volumes=volumes)
    for volume in volumes.list():
        volumes.delete(volume.name)
    pools.assert_empty(raw.client)
