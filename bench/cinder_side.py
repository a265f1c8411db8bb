# SPDX-License-Identifier: Apache-2.0
"""Cinder's own RBD driver class at work, in a process of its own.

eventlet patches this process as it does Cinder's services. :class:`volume_sides.Cinder` starts
it: ``python bench/cinder_side.py CEPH_CONF POOL``. It reads a request a line, ``[what,
*arguments]`` in JSON, and answers each with a line, until there are no more.
"""

# The services patch everything before they import anything.
# ruff: noqa: E402
import eventlet

eventlet.monkey_patch()

import json
import sys
import time
import types
import uuid
import warnings

from oslo_config import cfg

warnings.filterwarnings("ignore")

from cinder import objects

objects.register_all()

from cinder.volume import configuration, driver
from cinder.volume.drivers import rbd as cinder_rbd


class Driver(cinder_rbd.RBDDriver):
    """Of volumes whose type says nothing. What it says is in Cinder's database."""

    def _is_replicated_type(self, volume_type):
        return False

    def _is_multiattach_type(self, volume_type):
        return False

    def _qos_specs_from_volume_type(self, volume_type):
        return None


def open_driver(conf_path, pool):
    """The driver, set up as the volume service does it."""
    conf = cfg.CONF
    conf([], project="cinder", default_config_files=[])
    conf.register_opts(cinder_rbd.RBD_OPTS, group="rbd")
    for name, value in {
        "rbd_pool": pool,
        "rbd_user": "admin",
        "rbd_ceph_conf": conf_path,
        "rbd_max_clone_depth": 5,
        # The pool has more than Cinder's volumes: what they take has to be looked at.
        "rbd_exclusive_cinder_pool": False,
    }.items():
        conf.set_override(name, value, group="rbd")
    section = configuration.Configuration(driver.volume_opts, config_group="rbd")
    section.append_config_values(cinder_rbd.RBD_OPTS)
    made = Driver(execute=None, configuration=section, host="host@rbd#rbd")
    made.do_setup(None)
    return made


class Row(types.SimpleNamespace):
    """A row of Cinder's database."""

    def __getitem__(self, name):
        return getattr(self, name)

    def get(self, name, default=None):
        return getattr(self, name, default)


def volume():
    number = str(uuid.uuid4())
    return Row(
        id=number,
        name_id=number,
        name=f"volume-{number}",
        size=1,
        use_quota=True,
        volume_type=None,
        volume_type_id=None,
        encryption_key_id=None,
        admin_metadata={},
        replication_status=None,
        host="host@rbd#rbd",
    )


def snapshot(of):
    number = str(uuid.uuid4())
    name = f"snapshot-{number}"
    return Row(id=number, name=name, volume=of, volume_name=of.name, volume_size=of.size)


def seconds(do, *args):
    begun = time.perf_counter()
    do(*args)
    return time.perf_counter() - begun


class Requests:
    def __init__(self, made):
        self._driver = made

    def clones(self, count, threads):
        """Seconds to make clones of one volume, and to delete them."""
        source = volume()
        self._driver.create_volume(source)
        clones = [volume() for _ in range(count)]
        pool = eventlet.GreenPool(threads)
        took = [
            self._each(pool, lambda new: self._driver.create_cloned_volume(new, source), clones),
            self._each(pool, self._driver.delete_volume, clones),
        ]
        self._driver.delete_volume(source)
        return took

    def _each(self, pool, do, things):
        return seconds(lambda: [None for _ in pool.imap(do, things)])

    def operations(self, pause):
        """Seconds of each operation, with a pause before it."""
        source, clone = volume(), volume()
        snap = snapshot(source)
        took = {}
        for row, do, *args in (
            ("create", self._driver.create_volume, source),
            ("create_snapshot", self._driver.create_snapshot, snap),
            ("create_from_snapshot", self._driver.create_volume_from_snapshot, clone, snap),
            ("delete, a clone", self._driver.delete_volume, clone),
            ("delete_snapshot", self._driver.delete_snapshot, snap),
            ("delete", self._driver.delete_volume, source),
        ):
            time.sleep(pause)
            took[row] = seconds(do, *args)
        return took

    def stats(self):
        """Seconds to find out what the pool holds, and how many GiB that are."""
        took = seconds(self._driver.get_volume_stats, True)
        return took, self._driver.get_volume_stats(False)["provisioned_capacity_gb"]


def main(conf_path, pool):
    requests = Requests(open_driver(conf_path, pool))
    answers = sys.stdout
    # Nothing else is an answer.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(requests, what)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
