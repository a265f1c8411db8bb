# SPDX-License-Identifier: Apache-2.0
"""What a page of the documentation takes for granted: things there are, and names for them.

Each function prepares one page, in its folder, with its ``rbdstore.conf``. It returns the names
that the page's Python has, and what stands in its text for something that only its reader knows.
"""

import subprocess
import types

from oslo_config import cfg
from oslo_utils import units

import rbdstore

DISK = b"all the bytes of a disk" * 100
NAMES = {"rbdstore": rbdstore, "units": units}


def prepare(page, stack):
    """:param stack: what is to be closed when the page has been followed"""

    def store(backend):
        return stack.enter_context(rbdstore.load("rbdstore.conf", backend))

    known = PAGES.get(page)
    names, real = known(store) if known else ({}, {})
    return NAMES | names, real


def image(store):
    return store("images").images.add("debian-12", DISK)


def volume(store):
    store("volumes").volumes.create("volume-1", 5 * units.Mi)


def backup(store):
    volume(store)
    return {"conf": "rbdstore.conf"}, {}


def configuration(store):
    conf = cfg.ConfigOpts()
    conf(["--config-file", "rbdstore.conf"], project="service")
    return {"conf": conf}, {"/etc/my.conf": "rbdstore.conf"}


def command_line(store):
    volume(store)
    return {}, {}


def images_to_volumes(store):
    made, images, volumes = image(store), store("images").images, store("volumes")
    glance = types.SimpleNamespace(
        images=types.SimpleNamespace(data=lambda _name: images.get(made.uri))
    )
    convert = ["qemu-img", "create", "-q", "-f", "qcow2", "debian-12.qcow2", "64M"]
    subprocess.run(convert, check=True)
    return {"store": volumes, "glance": glance}, {"<fsid>": volumes.fsid}


def instances(store):
    return {"instance": "9c1c3a2e-7d3c-4a52-8f1e-0c8d9f4e2b11", "location": image(store).uri}, {}


PAGES = {
    "developer/images-to-volumes": images_to_volumes,
    "developer/instances": instances,
    "operator/backup": backup,
    "operator/configuration": configuration,
    "reference/command-line": command_line,
}
