# SPDX-License-Identifier: Apache-2.0
"""A process that carries out one operation, and is killed in it as by SIGKILL.

::

    killed.at(place, "volumes", "volumes.create_cloned_volume", "volume-2", "volume-1",
              before="Pool.rename")

has a store over the pool ``volumes`` make a clone, and die right before it gives it its name.
"""

import json
import signal
import subprocess
import sys

import places

# What is left by the dead is free soon; and yet no process is held up for so long that it loses
# its lease while it is alive.
LEASE_SECONDS = 4

_CODE = """
import json, operator, os, signal, sys
import rbdstore
from rbdstore import store
from rbdstore.testing import faults

driver, options, others, verb, arguments, call = json.loads(sys.argv[1])


class Plan(faults.Plan):
    def call(self, name):
        if name == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().call(name)


named = {
    "<images>": lambda: rbdstore.connect(driver, **others["images"]).images,
    "<volumes>": lambda: rbdstore.connect(driver, **others["volumes"]).volumes,
}
opened = rbdstore.connect(driver, **options)
cut_off = store.Store(faults.FaultyCluster(opened._cluster, Plan()), opened._settings)
arguments = [bytes.fromhex(each[1]) if isinstance(each, list) else each for each in arguments]
arguments = [named[each]() if each in named else each for each in arguments]
operator.attrgetter(verb)(cut_off)(*arguments)
"""

IMAGES = "<images>"
"""Among the arguments: the images of the pool ``images``."""
VOLUMES = "<volumes>"
"""Among the arguments: the volumes of the pool ``volumes``."""


def data(content):
    """Bytes among the arguments."""
    return ["bytes", content.hex()]


def at(place, pool, verb, *arguments, before, **options):
    """Have ``verb`` killed before it calls ``before``, such as ``Pool.rename``."""
    options = place.options(pool, rbd_lease_seconds=LEASE_SECONDS, **options)
    others = {name: place.options(name) for name in ("images", "volumes")}
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            _CODE,
            json.dumps([place.driver, options, others, verb, arguments, before]),
        ],
        cwd=places.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stdout
