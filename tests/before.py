# SPDX-License-Identifier: Apache-2.0
"""What a page of the documentation takes for granted: things there are, and names for them.

Each function prepares one page, in its folder, with its ``rbdstore.conf``. It returns the names
that the page's Python has, and what stands in its text for something that only its reader knows.
"""

import contextlib
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import prometheus_client
from oslo_config import cfg
from oslo_utils import units

import rbdstore.metrics
from rbdstore import observing

DISK = b"all the bytes of a disk" * 100
NAMES = {"rbdstore": rbdstore, "units": units}


class Reader:
    """Whoever is about to follow a page; what they have open is closed when they have."""

    def __init__(self, stack):
        self.stack = stack

    def store(self, backend):
        return self.stack.enter_context(rbdstore.load("rbdstore.conf", backend))

    @property
    def images(self):
        return self.store("images").images

    @property
    def volumes(self):
        return self.store("volumes").volumes


def prepare(page, stack):
    known = PAGES.get(page, lambda _reader: None)
    names, real = known(Reader(stack)) or ({}, {})
    return NAMES | names, real


def image(reader):
    return reader.images.add("debian-12", DISK)


def volume(reader):
    reader.volumes.create("volume-1", 5 * units.Mi)


def wait_for(found):
    """What it finds at last."""
    deadline = time.monotonic() + 60
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result


def drafts(images):
    return [name for name in images._pool.list_images() if name.endswith(".partial")]


def is_left_alone(images, name):
    with images._pool.open(name) as image:
        return not image.watchers()


def died_in_an_upload(name, images):
    """Kill the command while it uploads, and wait until it does not look alive any more."""
    add = ("--backend", "images", "image", "add", "-", name)
    command = [sys.executable, "-m", "rbdstore.cli", *add]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"x" * 20 * units.Mi)
        process.stdin.flush()
        (draft,) = wait_for(lambda: drafts(images))
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    wait_for(lambda: is_left_alone(images, draft))


def backup(reader):
    volume(reader)
    return {"conf": "rbdstore.conf"}, {}


def configuration(reader):
    conf = cfg.ConfigOpts()
    conf(["--config-file", "rbdstore.conf"], project="service")
    return {"conf": conf}, {"/etc/my.conf": "rbdstore.conf"}


def command_line(reader):
    volume(reader)


def flatten(reader):
    reader.volumes.create("volume-1", units.Gi)
    reader.store("vms").disks.clone("9c1c3a2e_disk", [image(reader).uri], units.Gi)


def metrics(reader):
    """What the page switches on is for good; here other tests come after it."""

    def switch_off():
        observing.remove(rbdstore.metrics._enabled)
        prometheus_client.REGISTRY.unregister(rbdstore.metrics._enabled)
        rbdstore.metrics._enabled = None

    reader.stack.callback(switch_off)


def recovery(reader):
    """A host has died in an upload, another one is out of reach with a volume open."""
    import stores

    Path("disk.raw").write_bytes(DISK)
    died_in_an_upload("debian-12", reader.images)
    volumes = reader.volumes
    volumes.create("volume-1", units.Gi)
    ceph = types.SimpleNamespace(conf_path=os.environ["CEPH_CONF"])
    away = reader.stack.enter_context(stores.held_open(ceph, "volumes", "volume-1"))
    reader.stack.callback(away.kill)
    reader.store("backups").backups.create(volumes, "volume-1", "monday")


def images_to_volumes(reader):
    made, images, volumes = image(reader), reader.images, reader.store("volumes")
    glance = types.SimpleNamespace(
        images=types.SimpleNamespace(data=lambda _name: images.get(made.uri))
    )
    convert = ["qemu-img", "create", "-q", "-f", "qcow2", "debian-12.qcow2", "64M"]
    subprocess.run(convert, check=True)
    return {"store": volumes, "glance": glance}, {"<fsid>": volumes.fsid}


def instances(reader):
    return {"instance": "9c1c3a2e-7d3c-4a52-8f1e-0c8d9f4e2b11", "location": image(reader).uri}, {}


PAGES = {
    "developer/images-to-volumes": images_to_volumes,
    "developer/instances": instances,
    "operator/backup": backup,
    "operator/flatten": flatten,
    "operator/metrics": metrics,
    "operator/pictures": flatten,
    "operator/recovery": recovery,
    "operator/configuration": configuration,
    "reference/command-line": command_line,
}
