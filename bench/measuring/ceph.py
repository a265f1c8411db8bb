# SPDX-License-Identifier: Apache-2.0
"""What the programs need of the cluster that they measure on."""

import os
import pathlib

import rados
import rbd

import rbdstore

# Each message of an OSD's is held up for 0 to 30 ms before the client sees it.
FAR = """
[client]
ms_inject_delay_type = osd
ms_inject_delay_max = 0.03
ms_inject_delay_probability = 1
"""


def connect(conf, pool, *, user="admin", **options):
    """This library's store."""
    return rbdstore.connect(
        "rbd", rbd_ceph_conf=str(conf), rbd_user=user, rbd_pool=pool, **options
    )


def far(given):
    """A ceph.conf of clients that are far away from the cluster; returns its path."""
    path = given.folder / f"{given.ceph.fsid}.conf"
    path.write_text(pathlib.Path(given.ceph.conf_path).read_text() + FAR)
    return str(path)


def processor_seconds(ceph):
    """How long the daemons have been at work, on any core."""
    ticks = 0
    for pid_file in (ceph.path / "run").glob("*.pid"):
        stat = pathlib.Path("/proc", pid_file.read_text().strip(), "stat").read_text()
        # The name of the program, in brackets, may have spaces.
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def remove_everything(ceph, pool):
    """Remove all images with librbd alone, and tell how many there were, with how many snapshots.

    :raises RuntimeError: there is more than that
    """
    images = snaps = 0
    with (
        rados.Rados(conffile=ceph.conf_path, rados_id="admin") as client,
        client.open_ioctx(pool) as ioctx,
    ):
        for name in rbd.RBD().list(ioctx):
            images += 1
            with rbd.Image(ioctx, name) as image:
                for snap in list(image.list_snaps()):
                    snaps += 1
                    if image.is_protected_snap(snap["name"]):
                        image.unprotect_snap(snap["name"])
                    image.remove_snap(snap["name"])
            rbd.RBD().remove(ioctx, name)
    check_empty(ceph, pool)
    return images, snaps


def check_empty(ceph, pool):
    """:raises RuntimeError: anything of an image is there, or of this library"""
    with (
        rados.Rados(conffile=ceph.conf_path, rados_id="admin") as client,
        client.open_ioctx(pool) as ioctx,
    ):
        kinds = ("rbd_id.", "rbd_header.", "rbd_data.", "rbd_object_map.", "rbdstore.")
        left = [found.key for found in ioctx.list_objects() if found.key.startswith(kinds)]
        trash = list(rbd.RBD().trash_list(ioctx))
    if left or trash:
        raise RuntimeError(f"left behind: {left[:5]}, in the trash {trash[:5]}")
