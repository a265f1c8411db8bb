# SPDX-License-Identifier: Apache-2.0
"""Stores on the sandbox for tests, and clients that know nothing of this library.

::

    import stores

    images = stores.image_store(sandbox)                       # as client.glance
    volumes = stores.volume_store(sandbox, clone_format=1)     # as client.cinder
    with stores.foreign(sandbox) as raw:                       # as client.admin
        raw.create("volumes", "volume-x", data=b"...")

Options are those of a backend's section. Everything is closed with the sandbox at the latest.
"""

import contextlib
import json
import pathlib
import subprocess
import sys

import pools
import rados
import rbd

import rbdstore
from rbdstore import spec
from rbdstore.drivers.rbd import settling
from rbdstore.testing.recipe import Role

# Where a child process finds this library, installed or not.
ROOT = pathlib.Path(rbdstore.__file__).parents[1]

# Cinder without a capability for the manager, so that its tasks are refused.
TASKLESS = Role(
    "cinder-taskless",
    osd=("profile rbd pool=volumes", "profile rbd-read-only pool=images"),
    mgr=(),
)

_HOLDER = """
import json, sys
import rados, rbd

conf, user, pool, name, data = json.loads(sys.argv[1])
with (
    rados.Rados(conffile=conf, rados_id=user) as cluster,
    cluster.open_ioctx(pool) as ioctx,
    rbd.Image(ioctx, name) as image,
):
    if data is not None:
        image.write(bytes.fromhex(data), 0)
        image.flush()
    print("open", flush=True)
    sys.stdin.readline()
"""


def store(sandbox, user, pool, **options):
    """Open a store; the sandbox closes it when it ends."""
    options.setdefault("rbd_lease_seconds", 5)
    opened = rbdstore.connect(
        "rbd", rbd_ceph_conf=sandbox.conf_path, rbd_user=user, rbd_pool=pool, **options
    )
    sandbox.addCleanup(opened.close)
    return opened


def image_store(sandbox, user="glance", pool="images", **options):
    return store(sandbox, user, pool, **options).images


def volume_store(sandbox, user="cinder", pool="volumes", clone_format=2, features=None, **options):
    return store(
        sandbox,
        user,
        pool,
        rbd_clone_format=str(clone_format),
        rbd_features=features and list(features),
        **options,
    ).volumes


def admin_image_store(sandbox, **options):
    return image_store(sandbox, user="admin", **options)


def admin_volume_store(sandbox, **options):
    return volume_store(sandbox, user="admin", **options)


@contextlib.contextmanager
def more_users(sandbox, *roles):
    """Give the cluster more users for a while (:class:`rbdstore.testing.recipe.Role`)."""
    keyring = pathlib.Path(sandbox.keyring_path)
    before = keyring.read_text()
    added = ""
    for role in roles:
        caps = [word for service, text in role.caps.items() for word in (service, text)]
        added += sandbox.ceph("auth", "get-or-create", f"client.{role.name}", *caps)
    keyring.write_text(before + added)
    try:
        yield
    finally:
        keyring.write_text(before)
        for role in roles:
            sandbox.ceph("auth", "rm", f"client.{role.name}")


@contextlib.contextmanager
def volume_store_as(sandbox, role, **options):
    """Give a volume store as a user that is there only for so long.

    Closed with the user: one of that name that is made later has another key, so what shared this
    client would be cut off from the monitors before long.
    """
    with (
        more_users(sandbox, role),
        rbdstore.connect(
            "rbd",
            rbd_ceph_conf=sandbox.conf_path,
            rbd_user=role.name,
            rbd_pool="volumes",
            **options,
        ) as opened,
    ):
        yield opened.volumes


@contextlib.contextmanager
def foreign(sandbox, user="admin", clone_format=2):
    """Give a :class:`Foreign`, a client of its own."""
    conf = {"rbd_default_clone_format": str(clone_format)}
    with rados.Rados(conffile=sandbox.conf_path, rados_id=user, conf=conf) as client:
        yield Foreign(client)


@contextlib.contextmanager
def held_open(sandbox, pool, name, user="admin", data=None):
    """Have another process hold an image open for writing, having written ``data`` there.

    Gives the process, to be killed or not.
    """
    arguments = [sandbox.conf_path, user, pool, name, data and data.hex()]
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "open\n"
            yield process
            with contextlib.suppress(BrokenPipeError):
                process.communicate("\n", timeout=30)
        finally:
            process.kill()


class Foreign:
    """A client that uses librbd directly, as the stock drivers and operators do."""

    def __init__(self, client):
        self.client = client
        self.rbd = rbd.RBD()

    @contextlib.contextmanager
    def ioctx(self, pool):
        with self.client.open_ioctx(pool) as ioctx:
            yield ioctx

    @contextlib.contextmanager
    def open(self, pool, name=None, *, image_id=None, snap=None, read_only=False):
        with (
            self.ioctx(pool) as ioctx,
            rbd.Image(ioctx, name, snapshot=snap, read_only=read_only, image_id=image_id) as image,
        ):
            try:
                yield image
            finally:
                settling.settle(ioctx)

    def create(self, pool, name, size=None, *, data=b"", features=None):
        """Make an image that holds ``data``."""
        with self.ioctx(pool) as ioctx:
            self.rbd.create(
                ioctx, name, len(data) if size is None else size, features=_bits(features)
            )
        if data:
            self.write(pool, name, data)

    def write(self, pool, name, data, offset=0):
        with self.open(pool, name) as image:
            image.write(data, offset)
            image.flush()

    def read(self, pool, name, snap=None):
        """All of an image, as it is or at a snapshot."""
        with self.open(pool, name, snap=snap, read_only=True) as image:
            return image.read(0, image.size())

    def snap(self, pool, name, snap, *, protect=True):
        with self.open(pool, name) as image:
            image.create_snap(snap)
            if protect:
                image.protect_snap(snap)

    def clone(self, pool, name, snap, new_pool, new_name, *, features=None):
        with self.ioctx(pool) as source, self.ioctx(new_pool) as target:
            self.rbd.clone(source, name, snap, target, new_name, features=_bits(features))

    def remove(self, pool, name):
        """Remove an image with its snapshots, protected or not."""
        self.remove_snaps(pool, name)
        with self.ioctx(pool) as ioctx:
            self.rbd.remove(ioctx, name)

    def remove_snaps(self, pool, name):
        for snap in self.snaps(pool, name):
            self.remove_snap(pool, name, snap)

    def remove_snap(self, pool, name, snap):
        with self.open(pool, name) as image:
            if image.is_protected_snap(snap):
                image.unprotect_snap(snap)
            image.remove_snap(snap)

    def rename(self, pool, name, new_name):
        with self.ioctx(pool) as ioctx:
            self.rbd.rename(ioctx, name, new_name)

    def flatten(self, pool, name):
        with self.open(pool, name) as image:
            image.flatten()

    def images(self, pool):
        with self.ioctx(pool) as ioctx:
            return sorted(self.rbd.list(ioctx))

    def trash(self, pool):
        """The names that the images in the trash had, by id."""
        with self.ioctx(pool) as ioctx:
            return {entry["id"]: entry["name"] for entry in self.rbd.trash_list(ioctx)}

    def snaps(self, pool, name):
        """The names of an image's snapshots, those in the trash not among them."""
        user = rbd.RBD_SNAP_NAMESPACE_TYPE_USER
        with self.open(pool, name, read_only=True) as image:
            return [snap["name"] for snap in image.list_snaps() if snap["namespace"] == user]

    def parent(self, pool, name):
        """Pool, image and snapshot that an image was cloned from; None where it has no parent."""
        with self.open(pool, name, read_only=True) as image:
            try:
                return image.parent_info()
            except rbd.ImageNotFound:
                return None

    def reader(self, pool, name):
        """Have an image open for reading."""
        return self.open(pool, name, read_only=True)

    def size(self, pool, name):
        with self.reader(pool, name) as image:
            return image.size()

    def object_size(self, pool, name):
        with self.reader(pool, name) as image:
            return image.stat()["obj_size"]

    def features(self, pool, name):
        with self.reader(pool, name) as image:
            bits = image.features()
            return {feature for feature, bit in _FEATURES.items() if bits & bit}

    def is_protected(self, pool, name, snap):
        with self.reader(pool, name) as image:
            return image.is_protected_snap(snap)

    def children(self, pool, name, snap):
        """The names of a snapshot's clones, those in the trash among them."""
        with self.open(pool, name, snap=snap, read_only=True) as image:
            return [child["image"] for child in image.list_children2()]

    def is_claimed(self, pool, name):
        """Whether somebody is at work on a name."""
        return spec.lease_object(name) in self.objects(pool)

    def objects(self, pool):
        """The names of all RADOS objects of a pool, in every namespace."""
        with self.ioctx(pool) as ioctx:
            return sorted(key for _namespace, key in pools.objects(ioctx))

    def state(self):
        """Everything that an operation which failed must have left as it was, but the bytes."""
        found = {}
        for pool in ("images", "volumes"):
            found[pool, "trash"] = self.trash(pool)
            # The record of what was cloned from an image stays, emptied, as long as the image.
            found[pool, "leases"] = [key for key in self.objects(pool) if ".lease." in key]
            for name in self.images(pool):
                with self.open(pool, name, read_only=True) as image:
                    snaps = [(snap["id"], snap["name"]) for snap in image.list_snaps()]
                    found[pool, name] = (image.id(), image.size(), snaps, self.parent(pool, name))
        return found

    def data_objects(self, pool, name):
        """How many RADOS objects hold an image's own data."""
        with self.open(pool, name, read_only=True) as image:
            prefix = image.stat()["block_name_prefix"]
        return sum(key.startswith(prefix) for key in self.objects(pool))

    def flip(self, pool, name, offset):
        """Damage a byte where an image and its snapshots have it."""
        key, start = self._object(pool, name, offset)
        with self.client.open_ioctx(pool) as ioctx:
            found = ioctx.read(key, 1, start)
            ioctx.write(key, bytes([found[0] ^ 1]), start)

    def lose(self, pool, name, offset):
        """Have an object of an image, and of its snapshots, be no more."""
        with self.client.open_ioctx(pool) as ioctx:
            ioctx.remove_object(self._object(pool, name, offset)[0])

    def _object(self, pool, name, offset):
        with self.open(pool, name, read_only=True) as image:
            stat = image.stat()
        number, start = divmod(offset, stat["obj_size"])
        return f"{stat['block_name_prefix']}.{number:016x}", start


_FEATURES = {
    "layering": rbd.RBD_FEATURE_LAYERING,
    "striping": rbd.RBD_FEATURE_STRIPINGV2,
    "exclusive-lock": rbd.RBD_FEATURE_EXCLUSIVE_LOCK,
    "object-map": rbd.RBD_FEATURE_OBJECT_MAP,
    "fast-diff": rbd.RBD_FEATURE_FAST_DIFF,
    "deep-flatten": rbd.RBD_FEATURE_DEEP_FLATTEN,
}


def _bits(features):
    return None if features is None else sum(_FEATURES[name] for name in features)
