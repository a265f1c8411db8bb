# SPDX-License-Identifier: Apache-2.0
"""Every verb as every user: it works, or names what is lacking, and then nothing has changed.

What is named is a line for an operator's shell, and it is run: the verb works then. In CI each
user has one verb of each kind mended, in a soak every one.
"""

import contextlib
import inspect
import io
import os
import pathlib
import re
import shutil
import subprocess

import pools
import pytest
import samples
import stores

import rbdstore
from rbdstore import exceptions
from rbdstore.backups import BackupStore
from rbdstore.disks import DiskStore
from rbdstore.drivers.rbd import objects
from rbdstore.images import ImageStore
from rbdstore.store import Store
from rbdstore.testing.recipe import ROLES, Role
from rbdstore.testing.sandbox import CephSandbox
from rbdstore.trash.contents import Trash
from rbdstore.volumes import VolumeStore

MiB = samples.MiB
DATA = samples.pattern("rights", MiB)
POOLS = ("images", "volumes", "vms", "backups")
INSTANCE = "9c6b1a52-3a0f-4c52-8d5c-6d2f7f4d3e10"
DISK = f"{INSTANCE}_disk"

_SOAK = bool(os.environ.get("RBDSTORE_SOAK"))

# Glance as set-up guides made it for long, and a user of nothing at all.
GLANCE = Role("glance-narrow", osd=("profile rbd pool=images",), mgr=())
NOBODY = Role("nobody", osd=(), mgr=())
USERS = {role.name: role for role in (*ROLES, GLANCE, NOBODY)}

IMAGE_VERBS = {
    "add": lambda w: w.images.add("image-2", DATA),
    "get": lambda w: b"".join(w.images.get(w.uri)),
    "uri": lambda w: w.images.uri("image-1"),
    "place": lambda w: w.images.place("image-1"),
    "get_size": lambda w: w.images.get_size(w.uri),
    "exists": lambda w: w.images.exists(w.uri),
    "list": lambda w: w.images.list(),
    "check_delete": lambda w: w.images.check_delete(w.uri, in_use="defer"),
    "delete": lambda w: w.images.delete(w.uri, in_use="defer"),
}
VOLUME_VERBS = {
    "get": lambda w: w.volumes.get("volume-1"),
    "list": lambda w: w.volumes.list(),
    "stats": lambda w: w.volumes.stats(),
    "create": lambda w: w.volumes.create("volume-2", MiB),
    "extend": lambda w: w.volumes.extend("volume-1", 2 * MiB),
    "rename": lambda w: w.volumes.rename("volume-1", "volume-2"),
    "delete": lambda w: w.volumes.delete("clone-1"),
    "purge_deleted": lambda w: w.volumes.purge_deleted(),
    "flatten": lambda w: w.volumes.flatten("clone-1"),
    "create_snapshot": lambda w: w.volumes.create_snapshot("volume-1", "snapshot-2"),
    "delete_snapshot": lambda w: w.volumes.delete_snapshot("volume-1", "snapshot-1"),
    "revert_to_snapshot": lambda w: w.volumes.revert_to_snapshot("volume-1", "snapshot-1"),
    "clone": lambda w: w.volumes.clone("volume-2", w.uri),
    "create_from_image": lambda w: w.volumes.create_from_image(
        "volume-2", [w.uri], MiB, disk_format="raw"
    ),
    "create_from_snapshot": lambda w: w.volumes.create_from_snapshot(
        "volume-2", "volume-1", "snapshot-1"
    ),
    "create_cloned_volume": lambda w: w.volumes.create_cloned_volume("volume-2", "volume-1"),
    "create_cloned_volumes": lambda w: w.volumes.create_cloned_volumes(["volume-2"], "volume-1"),
    "copy_to_image": lambda w: w.volumes.copy_to_image("volume-1", w.images, "image-2"),
    "connection_info": lambda w: w.volumes.connection_info("volume-1"),
    "snapshot_size": lambda w: w.volumes.snapshot_size("volume-1", "snapshot-1"),
    "rename_snapshot": lambda w: w.volumes.rename_snapshot("volume-1", "snapshot-1", "other"),
    "unprotect_snapshot": lambda w: w.volumes.unprotect_snapshot("volume-1", "snapshot-1"),
    "limits": lambda w: w.volumes.limits("volume-1"),
    "set_limits": lambda w: w.volumes.set_limits("volume-1", {"iops_limit": 500}),
    "switch_features": lambda w: w.volumes.switch_features(
        "volume-1", ["fast-diff"], enabled=False
    ),
    "reading": lambda w: read_all(w.volumes.reading("volume-1")),
    "copy_from": lambda w: w.volumes.copy_from(w.volumes, "volume-1", "volume-2"),
}
DISK_VERBS = {
    "name": lambda w: w.disks.name(INSTANCE),
    "names": lambda w: w.disks.names(),
    "exists": lambda w: w.disks.exists(DISK),
    "get_size": lambda w: w.disks.get_size(DISK),
    "parent": lambda w: w.disks.parent(DISK),
    "list": lambda w: w.disks.list(),
    "monitors": lambda w: w.disks.monitors(),
    "connection_info": lambda w: w.disks.connection_info(DISK),
    "is_cloneable": lambda w: w.disks.is_cloneable(w.uri, {"disk_format": "raw"}),
    "clone": lambda w: w.disks.clone(f"{DISK}.local", [w.uri], MiB),
    "import_image": lambda w: w.disks.import_image(f"{DISK}.local", io.BytesIO(DATA), MiB),
    "snapshot_to_image": lambda w: w.disks.snapshot_to_image(DISK, w.images, "image-2"),
    "resize": lambda w: w.disks.resize(DISK, 2 * MiB),
    "flatten": lambda w: w.disks.flatten(DISK),
    "create_snapshot": lambda w: w.disks.create_snapshot(DISK),
    "remove_snapshot": lambda w: w.disks.remove_snapshot(DISK, "snapshot-1"),
    "rollback_to_snapshot": lambda w: w.disks.rollback_to_snapshot(DISK, "snapshot-1"),
    "cleanup": lambda w: w.disks.cleanup(INSTANCE),
    "delete": lambda w: w.disks.delete(DISK),
    "delete_all": lambda w: w.disks.delete_all([DISK]),
}
BACKUP_VERBS = {
    "list": lambda w: w.backups.list(),
    "show": lambda w: w.backups.show("backup-1"),
    "create": lambda w: w.backups.create(w.volumes, "volume-1", "backup-2"),
    "restore": lambda w: w.backups.restore("backup-1", w.volumes, "volume-2"),
    "create_from_file": lambda w: w.backups.create_from_file(
        io.BytesIO(DATA), "volume-1", "backup-2"
    ),
    "restore_to_file": lambda w: w.backups.restore_to_file("backup-1", io.BytesIO()),
    "set_metadata": lambda w: w.backups.set_metadata("backup-1", "text"),
    "remove_metadata": lambda w: w.backups.remove_metadata("backup-2"),
    "metadata": lambda w: w.backups.metadata("backup-1"),
    "verify": lambda w: w.backups.verify("backup-1"),
    "export": lambda w: w.backups.export("backup-1", io.BytesIO()),
    "import_": lambda w: w.backups.import_(io.BytesIO(w.exported), "backup-2", volume="volume-1"),
    "delete": lambda w: w.backups.delete("backup-1", volumes=w.volumes),
    "prune": lambda w: w.backups.prune("volume-1", keep=0, volumes=w.volumes),
}
TRASH_VERBS = {
    "list": lambda w: w.store.trash.list(),
    "check_restore": lambda w: w.store.trash.check_restore("deleted-1"),
    "restore": lambda w: w.store.trash.restore("deleted-1"),
}
STORE_VERBS = {
    "tree": lambda w: w.store.tree("volume-1"),
    "forest": lambda w: w.store.forest(),
    "purge_deleted": lambda w: w.store.purge_deleted(),
    "gc": lambda w: w.store.gc(apply=True),
}
VERBS = {
    ImageStore: IMAGE_VERBS,
    VolumeStore: VOLUME_VERBS,
    DiskStore: DISK_VERBS,
    BackupStore: BACKUP_VERBS,
    Trash: TRASH_VERBS,
    Store: STORE_VERBS,
}
NAMES = {
    ImageStore: "images",
    VolumeStore: "volumes",
    DiskStore: "disks",
    BackupStore: "backups",
    Trash: "trash",
    Store: "store",
}
# Nova's user makes an image of a volume: it reads there, writes there, and writes in another pool.
MOST_LINES = 3
# What is done in this process alone.
NO_VERBS = {"close", "reset"}


@pytest.mark.parametrize("kind", VERBS, ids=lambda kind: kind.__name__)
def test_no_verb_is_missing(kind):
    verbs = {name for name, _method in inspect.getmembers(kind, inspect.isfunction)}
    assert {name for name in verbs if not name.startswith("_")} - NO_VERBS == set(VERBS[kind])


def read_all(reading):
    with reading as data:
        return b"".join(data)


@pytest.fixture(scope="module")
def sandbox():
    with (
        CephSandbox(paxos_propose_interval=0.01) as running,
        stores.more_users(running, GLANCE, NOBODY),
    ):
        yield running


@pytest.fixture(scope="module")
def raw(sandbox):
    with stores.foreign(sandbox) as client:
        yield client


@pytest.fixture(autouse=True)
def _empty_pools():
    """The world is one for all, and goes with the sandbox."""


class World:
    """An image, a volume with a snapshot, clones of the image, a backup, and a deleted volume.

    Made anew once it changed.
    """

    def __init__(self, sandbox, raw, admins):
        self.sandbox = sandbox
        self.raw = raw
        self._admins = admins
        self.uri = f"rbd://{sandbox.fsid}/images/image-1/snap"
        self.exported = b""
        self._made = None

    def make(self):
        """Return what there is in the pools, made where it was not."""
        if self._made is None or self._made != self.footprint():
            self._clear()
            self.raw.create("images", "image-1", data=DATA)
            self.raw.snap("images", "image-1", "snap")
            self.raw.clone("images", "image-1", "snap", "vms", DISK)
            self.raw.clone("images", "image-1", "snap", "volumes", "clone-1")
            self.raw.create("volumes", "volume-1", data=DATA)
            self.raw.snap("volumes", "volume-1", "snapshot-1", protect=False)
            self.raw.snap("vms", DISK, "snapshot-1", protect=False)
            self._back_up()
            self._delete()
            self._made = self.footprint()
        return self._made

    def _back_up(self):
        backups, volumes = (self._admins[pool] for pool in ("backups", "volumes"))
        backups.backups.create(volumes.volumes, "volume-1", "backup-1")
        stream = io.BytesIO()
        backups.backups.export("backup-1", stream)
        self.exported = stream.getvalue()

    def _delete(self):
        # In a store that is closed then, for it purges in the background.
        with rbdstore.connect(
            "rbd",
            rbd_ceph_conf=self.sandbox.conf_path,
            rbd_pool="volumes",
            enable_deferred_deletion=True,
            deferred_deletion_delay=86400,
        ) as deferring:
            deferring.volumes.create("deleted-1", MiB)
            deferring.volumes.delete("deleted-1")

    def _clear(self):
        for pool in POOLS:
            pools.clear(self.raw.client, pool)

    def footprint(self):
        """Every object of every pool, with its map: names, snapshots, parents, notes."""
        found = {}
        for pool in POOLS:
            with self.raw.ioctx(pool) as ioctx:
                for namespace, key in pools.objects(ioctx):
                    entries = objects.get_keys(ioctx, key)
                    # An empty index is as good as none.
                    if entries or key not in pools.BOOKKEEPING:
                        found[pool, namespace, key] = {
                            name: value
                            for name, value in entries.items()
                            if not name.endswith(("_timestamp", "snap_seq"))
                        }
        return found

    @contextlib.contextmanager
    def seen_by(self, user, folder):
        """The services as a user has them, connected anew: capabilities are looked up then."""
        conf = shutil.copy(self.sandbox.conf_path, folder / "ceph.conf")
        with contextlib.ExitStack() as stack:
            opened = {
                pool: stack.enter_context(
                    rbdstore.connect(
                        "rbd",
                        rbd_ceph_conf=str(conf),
                        rbd_user=user,
                        rbd_pool=pool,
                        rbd_lease_seconds=5,
                    )
                )
                for pool in POOLS
            }
            yield Seen(self, opened)


class Seen:
    def __init__(self, world, opened):
        self.uri = world.uri
        self._world = world
        self._opened = opened
        self.store = opened["volumes"]

    @property
    def images(self):
        return self._opened["images"].images

    @property
    def volumes(self):
        return self._opened["volumes"].volumes

    @property
    def disks(self):
        return self._opened["vms"].disks

    @property
    def backups(self):
        return self._opened["backups"].backups

    @property
    def exported(self):
        """The stream of the backup that there is."""
        return self._world.exported


@pytest.fixture(scope="module")
def world(sandbox, raw):
    with contextlib.ExitStack() as stack:
        admins = {
            pool: stack.enter_context(
                rbdstore.connect("rbd", rbd_ceph_conf=sandbox.conf_path, rbd_pool=pool)
            )
            for pool in ("backups", "volumes")
        }
        yield World(sandbox, raw, admins)


def line_of(error, user):
    """The line that mends it; its text names the user and a pool, too."""
    text = str(error)
    assert f"client.{user} may not" in text
    assert re.search(r"in pool (images|volumes|vms|backups)\b", text), text
    (line,) = re.findall(r"`(ceph auth get [^`]* ceph auth caps [^`]*)`", text)
    return line


def run_as_operator(sandbox, line):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        env=sandbox.env(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def caps_of(sandbox, user):
    ((found),) = sandbox.ceph_json("auth", "get", f"client.{user}")
    return {service: set(text.split(", ")) for service, text in found["caps"].items()}


@pytest.mark.parametrize("kind", VERBS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("user", USERS)
def test_it_works_or_says_what_is_lacking(world, tmp_path, user, kind):
    denied = {}
    with world.seen_by(user, tmp_path) as seen:
        for name, verb in VERBS[kind].items():
            before = world.make()
            try:
                verb(seen)
            except exceptions.PermissionDenied as error:
                denied[name] = line_of(error, user)
                assert world.footprint() == before, name
    if user in (role.name for role in ROLES):
        done = {f"``{NAMES[kind]}.{name}``": name not in denied for name in VERBS[kind]}
        assert done == {verb: user in users for verb, users in documented() if verb in done}
    for name in denied if _SOAK else sorted(denied)[:1]:
        world.make()
        mend(world, tmp_path, user, VERBS[kind][name], denied[name])


def documented():
    """Each verb on the page about rights, with the users that it says may do that."""
    page = pathlib.Path(__file__).parents[2] / "doc" / "source" / "operator" / "rights.rst"
    for line in page.read_text().splitlines():
        if found := re.match(r"   (``\w+\.\w+``),(.*)", line):
            yield found[1], set(found[2].replace(",", " ").split())


def test_the_page_has_each_verb():
    assert [verb for verb, _ in documented()] == [
        f"``{NAMES[kind]}.{name}``" for kind, verbs in VERBS.items() for name in verbs
    ]


def mend(world, folder, user, verb, line):
    """Run the line that the error named, and the verb; and take the capabilities away again.

    What works in several pools, or looks before it writes, wants a line for each.
    """
    lines = []
    try:
        while line is not None:
            assert line not in lines
            lines.append(line)
            assert len(lines) <= MOST_LINES
            had = caps_of(world.sandbox, user)
            run_as_operator(world.sandbox, line)
            has = caps_of(world.sandbox, user)
            assert all(had[service] <= has[service] for service in had)
            line = None
            with world.seen_by(user, folder) as seen:
                try:
                    verb(seen)
                except exceptions.PermissionDenied as error:
                    line = line_of(error, user)
    finally:
        caps = [word for pair in USERS[user].caps.items() for word in pair]
        world.sandbox.ceph("auth", "caps", f"client.{user}", *caps)
