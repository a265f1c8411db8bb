# SPDX-License-Identifier: Apache-2.0
"""A cloud switches to this library and back, as ``doc/source/operator/switching.rst`` says.

The steps are read in that page, and done: files are changed, services restarted, commands run.
"""

import contextlib
import importlib.metadata
import re
import sqlite3

import cinder_service
import glance_service
import manual
import pools
import processes
import pytest
import rbd
import requests
import samples
import volume_data
from oslo_utils import units
from volume_data import name

from rbdstore.testing import recipe

GiB, MiB = units.Gi, units.Mi
DATA = samples.pattern("switched", 5 * MiB)
PAGE = "operator/switching"
BACKEND = glance_service.BACKEND


class Cloud:
    """A Glance and a Cinder that begin as that page says."""

    def __init__(self, ceph, raw, glance, cinder):
        self._ceph, self._raw = ceph, raw
        self._services = {"glance-api.conf": glance, "cinder.conf": cinder}
        self.glance, self.cinder = glance.client, cinder.client
        self._database = cinder.database

    def follow(self, title):
        """Do what a section says, step by step; return what each of its commands printed."""
        printed = []
        # Who is restarted: what is said of a service in two steps takes one start.
        stopped = []
        for step in manual.steps(PAGE, title):
            for block in step:
                if block.language == "ini":
                    service = self._services[block.file]
                    service.stop()
                    service.change(manual.options(block))
                    stopped.append(service)
                elif block.language == "sql":
                    with contextlib.closing(sqlite3.connect(self._database)) as database, database:
                        database.execute(block.text)
                else:
                    printed += map(self._run, self._meant(manual.commands(block)))
        for service in dict.fromkeys(stopped):
            service.start()
        return printed

    def _meant(self, commands):
        """Those for an ``<id>`` are for each that is in the trash of their pool."""
        for command in commands:
            if not any("<id>" in word for word in command):
                yield command
                continue
            (pool,) = {"volumes", "images"} & set(re.split("[ /]", " ".join(command)))
            depth = {image_id: self._depth(pool, image_id) for image_id in self._raw.trash(pool)}
            for image_id in sorted(depth, key=depth.get, reverse=True):
                yield [word.replace("<id>", image_id) for word in command]

    def _depth(self, pool, image_id):
        try:
            with self._raw.open(pool, image_id=image_id, read_only=True) as image:
                parent = image.parent_id()
        except rbd.ImageNotFound:
            return 0
        return 1 + self._depth(pool, parent)

    def _run(self, command):
        program, *arguments = command
        if program == "pip":
            return _would_install(*arguments)
        if program == "rbdstore":
            found = processes.program(program)
            return processes.run(found, *arguments, env={"CEPH_CONF": self._ceph.conf_path})
        return processes.run(program, *arguments, env=self._ceph.env())


def _would_install(verb, requirement):
    """It is installed already; there must be such extras of it."""
    name, extras = re.fullmatch(r"(\w+)\[([\w,]+)\]", requirement).groups()
    assert verb == "install"
    assert {*extras.split(",")} <= {*importlib.metadata.metadata(name).get_all("Provides-Extra")}
    return ""


@pytest.fixture
def cloud(own_glance, make_cinder, ceph, raw, nothing_left):
    glance = own_glance(glance_service.STOCK)
    cinder = make_cinder(
        {BACKEND: cinder_service.options(ceph, cinder_service.STOCK)},
        backup_driver=cinder_service.STOCK_BACKUP,
        glance=glance,
    )
    yield Cloud(ceph, raw, glance, cinder)
    cinder.stop()


def begins(raw, volume):
    return volume_data.begins(raw, volume, like=DATA)


class Things:
    """One of everything that a user of a cloud has."""

    def __init__(self, cloud, raw):
        self._glance, self._cinder, self._raw = cloud.glance, cloud.cinder, raw
        client = self._cinder
        self.image = self._glance.add(DATA)
        self.from_image = client.create(1, imageRef=self.image, volume_type=BACKEND)
        self.snapshot = client.create_snapshot(self.from_image["id"])
        self.from_snapshot = client.create(1, snapshot_id=self.snapshot["id"])
        self.clone = client.create(1, source_volid=self.from_snapshot["id"])
        self.backup = client.create_backup(self.from_image["id"])
        self.made = client.create(1, volume_type=BACKEND)

    def use(self):
        """Do something with each, and see that its data is there."""
        client, raw = self._cinder, self._raw
        assert self._glance.download(self.image) == DATA
        for volume in (self.from_image, self.from_snapshot, self.clone):
            assert begins(raw, volume) == DATA
        more = [
            client.create(1, snapshot_id=self.snapshot["id"]),
            client.create(1, source_volid=self.clone["id"]),
            client.create(1, imageRef=self.image, volume_type=BACKEND),
            client.restore(self.backup["id"], self.made["id"]),
        ]
        for volume in more:
            assert begins(raw, volume) == DATA
        raw.write("volumes", name(self.from_image), b"later")
        client.revert(self.from_image["id"], self.snapshot["id"])
        assert begins(raw, self.from_image) == DATA
        assert client.extend(self.clone["id"], 2)["size"] == 2
        assert raw.size("volumes", name(self.clone)) == 2 * GiB
        client.detach(client.attach(self.clone["id"])["id"])
        for volume in more[:-1]:
            client.delete(volume["id"])

    def delete(self):
        client = self._cinder
        client.delete_backup(self.backup["id"])
        for volume in (self.made, self.clone, self.from_snapshot):
            client.delete(volume["id"])
        client.delete_snapshot(self.snapshot["id"])
        client.delete(self.from_image["id"])
        self._glance.delete(self.image)
        assert client.list() == self._glance.list() == {}


def leak(client):
    """Have the stock driver leave something: a volume whose clone goes after it."""
    volume = client.create(1, volume_type=BACKEND)
    clone = client.create(1, source_volid=volume["id"])
    client.delete(volume["id"])
    client.delete(clone["id"])
    return f"{name(volume)}.deleted"


@pytest.mark.timeout(1800)
def test_a_cloud_switches_and_goes_back(cloud, raw, admin):
    theirs = Things(cloud, raw)
    leaked = leak(cloud.cinder)
    assert leaked in raw.images("volumes")
    before = cloud.glance.show(theirs.image)

    told = cloud.follow("To rbdstore")
    assert leaked in told[-2]
    assert leaked not in raw.images("volumes")
    (glance,) = (role for role in recipe.ROLES if role.name == "glance")
    assert cloud._ceph.ceph_json("auth", "get", "client.glance")[0]["caps"] == glance.caps
    assert cloud.glance.show(theirs.image) == before
    with pytest.raises(requests.HTTPError, match="409"):
        cloud.glance.delete(theirs.image)
    theirs.use()
    theirs.delete()
    pools.assert_empty(admin)
    ours = Things(cloud, raw)

    cloud.follow("And back")
    ours.use()
    ours.delete()
    assert {name(ours.from_image), name(ours.from_snapshot)} & {*raw.trash("volumes").values()}
    cloud.follow("What stays then")
    pools.assert_empty(admin, ["images", "volumes", "vms"])
    notes = [f"rbdstore.backup.{ours.backup['id']}", "rbdstore.backups"]
    assert pools.leftovers(admin, "backups") == notes
    pools.clear(admin, "backups")


def test_the_page_is_about_what_is_tested(ceph):
    """The files that it begins with are those of the services here, but for one path."""
    shown = {block.file: manual.options(block) for block in manual.begin(PAGE)}
    glance, cinder = shown["glance-api.conf"], shown["cinder.conf"]
    used = {
        "rbd_store_ceph_conf": (glance[BACKEND], glance_service.options(ceph)),
        "rbd_ceph_conf": (cinder[BACKEND], cinder_service.options(ceph, cinder_service.STOCK)),
    }
    for conf, (section, options) in used.items():
        assert section.pop(conf) == "/etc/ceph/ceph.conf"
        options.pop(conf)
        section.pop("volume_backend_name", None)
        assert section == {option: str(value) for option, value in options.items()}
    assert glance["DEFAULT"] == {"enabled_backends": f"{BACKEND}:{glance_service.STOCK}"}
    assert cinder["DEFAULT"]["backup_driver"] == cinder_service.STOCK_BACKUP
