# SPDX-License-Identifier: Apache-2.0
"""Cinder's own RBD driver class at work: 50 clones of one volume made and deleted.

Run by :mod:`clones`, in a process of its own, because eventlet patches it as it does Cinder's
services: ``python bench/cinder_clones.py CEPH_CONF COUNT THREADS``. Prints the seconds that it
took to make the clones, and to delete them, as JSON.
"""

# The services patch everything before they import anything.
# ruff: noqa: E402
import eventlet

eventlet.monkey_patch()

import argparse
import json
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


def open_driver(conf_path, pool, user):
    """The driver, set up as the volume service does it."""
    conf = cfg.CONF
    conf([], project="cinder", default_config_files=[])
    conf.register_opts(cinder_rbd.RBD_OPTS, group="rbd")
    for name, value in {
        "rbd_pool": pool,
        "rbd_user": user,
        "rbd_ceph_conf": conf_path,
        "rbd_max_clone_depth": 5,
    }.items():
        conf.set_override(name, value, group="rbd")
    section = configuration.Configuration(driver.volume_opts, config_group="rbd")
    section.append_config_values(cinder_rbd.RBD_OPTS)
    made = Driver(execute=None, configuration=section, host="host@rbd#rbd")
    made.do_setup(None)
    return made


class Volume(types.SimpleNamespace):
    """A row of Cinder's database."""

    def __init__(self):
        number = str(uuid.uuid4())
        super().__init__(
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

    def __getitem__(self, name):
        return getattr(self, name)

    def get(self, name, default=None):
        return getattr(self, name, default)


def seconds(do, things, pool):
    begun = time.perf_counter()
    for _ in pool.imap(do, things):
        pass
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("conf_path")
    parser.add_argument("count", type=int)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    made = open_driver(arguments.conf_path, "volumes", "admin")
    source = Volume()
    made.create_volume(source)
    clones = [Volume() for _ in range(arguments.count)]
    pool = eventlet.GreenPool(arguments.threads)
    took = [
        seconds(lambda clone: made.create_cloned_volume(clone, source), clones, pool),
        seconds(made.delete_volume, clones, pool),
    ]
    made.delete_volume(source)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
