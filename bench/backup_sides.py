# SPDX-License-Identifier: Apache-2.0
"""Who backs up a volume: this library, Cinder's way, and bare copies; and the volume."""

import collections
import concurrent.futures
import contextlib
import random
import subprocess
import time

import rados
import rbd
from measuring import ceph

MiB, GiB = 1 << 20, 1 << 30
PIECE = 4 * MiB
IN_FLIGHT = 8
# Whose client works on which pool, as in production.
USERS = {"volumes": "cinder", "backups": "cinder-backup"}


class Client:
    """librbd alone, on the pools of a case."""

    def __init__(self, given, user="admin"):
        self._conf = given.ceph.conf_path
        self._user = user

    @contextlib.contextmanager
    def ioctx(self, pool):
        with (
            rados.Rados(conffile=self._conf, rados_id=self._user) as client,
            client.open_ioctx(pool) as ioctx,
        ):
            yield ioctx

    @contextlib.contextmanager
    def open(self, pool, name, snap=None):
        with (
            self.ioctx(pool) as ioctx,
            rbd.Image(ioctx, name, snapshot=snap, read_only=snap is not None) as image,
        ):
            yield image

    def create(self, pool, name, size):
        with self.ioctx(pool) as ioctx:
            rbd.RBD().create(ioctx, name, size)

    def remove(self, pool, name):
        with self.open(pool, name) as image:
            for snap in list(image.list_snaps()):
                image.remove_snap(snap["name"])
        with self.ioctx(pool) as ioctx:
            rbd.RBD().remove(ioctx, name)

    def check_same(self, name, other):
        """:raises RuntimeError: two volumes differ"""
        with self.open("volumes", name) as one, self.open("volumes", other) as another:
            for offset in sorted({*self.written(one), *self.written(another)}):
                if one.read(offset, PIECE) != another.read(offset, PIECE):
                    raise RuntimeError(f"{other} is not what {name} is")

    @staticmethod
    def written(image):
        offsets = []

        def meet(offset, _length, exists):
            if exists:
                offsets.append(offset)

        image.diff_iterate(0, image.size(), None, meet, whole_object=True)
        return offsets


class Volume:
    """A volume of 10 GiB with 1 GiB of data; a tenth of that where it is only tried."""

    def __init__(self, given, name):
        self._scale = 10 if given.quick else 1
        self.size = 10 * GiB // self._scale
        self.name = name
        self._client = Client(given)
        # Both sides back up the same.
        self._random = random.Random("volume")
        self._client.create("volumes", name, self.size)
        self._write(range(0, self.size, 10 * PIECE), PIECE)

    def change(self, length, piece=PIECE):
        """Write so many bytes anew, in pieces that lie anywhere, each in an object of its own."""
        count = length // self._scale // piece
        self._write(self._random.sample(range(0, self.size, PIECE), count), piece)

    def snap(self, name):
        with self._client.open("volumes", self.name) as image:
            image.create_snap(name)

    def remove(self):
        self._client.remove("volumes", self.name)

    def _write(self, offsets, length):
        with self._client.open("volumes", self.name) as image:
            for offset in offsets:
                image.write(self._random.randbytes(length), offset)
            image.flush()


class Ours:
    def __init__(self, given, volume):
        self._stack = contextlib.ExitStack()
        self._backups = self._open(given, "backups").backups
        self._volumes = self._open(given, "volumes").volumes
        self._volume = volume
        self._made = []

    def _open(self, given, pool):
        opened = ceph.connect(given.ceph.conf_path, pool, user=USERS[pool])
        return self._stack.enter_context(opened)

    def full(self):
        self._create(False)

    def increment(self):
        self._create(True)

    def _create(self, incremental):
        backup_id = f"{self._volume.name}-{len(self._made)}"
        self._made.append(backup_id)
        self._backups.create(self._volumes, self._volume.name, backup_id, incremental=incremental)

    def restore(self, number, name):
        self._backups.restore(self._made[number], self._volumes, name)

    def forget(self):
        for backup_id in reversed(self._made):
            self._backups.delete(backup_id)
        self._stack.close()


class Stock:
    """What Cinder's Ceph backup driver does: a snapshot, and two processes with a pipe between.

    Its driver asks Cinder's database, connects and looks at lists besides.
    """

    def __init__(self, given, volume):
        self._conf = given.ceph.conf_path
        self._client = Client(given)
        self._volume = volume
        self._base = f"{volume.name}.backup.backup-0"
        self._snaps = []

    def full(self):
        self._client.create("backups", self._base, self._volume.size)
        self._back_up()

    def increment(self):
        self._back_up("--from-snap", self._snaps[-1])

    def _back_up(self, *since):
        snap = f"backup.backup-{len(self._snaps)}.snap.{time.time()}"
        self._snaps.append(snap)
        self._volume.snap(snap)
        self._pipe([*since, f"volumes/{self._volume.name}@{snap}"], f"backups/{self._base}")

    def restore(self, number, name):
        self._client.create("volumes", name, self._volume.size)
        # It makes a snapshot of that name there, too, which Cinder's driver leaves.
        self._pipe([f"backups/{self._base}@{self._snaps[number]}"], f"volumes/{name}")

    def _pipe(self, exported, imported):
        with subprocess.Popen(
            [*self._rbd(exported[-1]), "export-diff", *exported, "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as source:
            command = [*self._rbd(imported), "import-diff", "-", imported]
            subprocess.run(command, stdin=source.stdout, stderr=subprocess.DEVNULL, check=True)

    def _rbd(self, spec):
        return ["rbd", "--id", USERS[spec.partition("/")[0]], "--conf", self._conf]

    def forget(self):
        self._client.remove("backups", self._base)


class Copy(Stock):
    """A deep copy by librbd: of all of an image, with its snapshots."""

    def full(self):
        self._snaps.append("backup-0")
        self._volume.snap("backup-0")
        self._copy(f"volumes/{self._volume.name}", f"backups/{self._base}")

    def restore(self, number, name):
        self._copy(f"backups/{self._base}", f"volumes/{name}")

    def _copy(self, source, target):
        # It may write to both pools.
        rbd = self._rbd("backups/")
        subprocess.run([*rbd, "deep", "cp", "--no-progress", source, target], check=True)


class Bare(Copy):
    """What it takes to make a snapshot, and to read and to write as much: no more than that."""

    def __init__(self, given, volume):
        super().__init__(given, volume)
        self._stack = contextlib.ExitStack()
        self._ioctxs = {
            pool: self._stack.enter_context(Client(given, user).ioctx(pool))
            for pool, user in USERS.items()
        }

    def full(self):
        source, target = self._ioctxs["volumes"], self._ioctxs["backups"]
        with rbd.Image(source, self._volume.name) as image:
            image.create_snap("backup-0")
        self._copy_between(source, self._volume.name, "backup-0", target, self._base)

    def restore(self, number, name):
        source, target = self._ioctxs["backups"], self._ioctxs["volumes"]
        self._copy_between(source, self._base, None, target, name)

    def _copy_between(self, source, name, snap, target, new_name):
        rbd.RBD().create(target, new_name, self._volume.size)
        with (
            rbd.Image(source, name, snapshot=snap, read_only=True) as read,
            rbd.Image(target, new_name) as written,
        ):
            self._pass_on(read, written)

    def forget(self):
        super().forget()
        self._stack.close()

    @staticmethod
    def _pass_on(source, target):
        """Eight reads and eight writes are in flight."""
        reading, writing = collections.deque(), collections.deque()

        def write():
            offset, data = reading.popleft()
            writing.append(begun(target.aio_write, data.result(), offset))
            if len(writing) > IN_FLIGHT:
                writing.popleft().result()

        for offset in Client.written(source):
            if len(reading) == IN_FLIGHT:
                write()
            reading.append((offset, begun(source.aio_read, offset, PIECE)))
        while reading:
            write()
        for written in writing:
            written.result()
        target.flush()


def begun(operation, *args):
    """What is to be of a read or a write by librbd, of all the bytes."""
    future = concurrent.futures.Future()

    def end(completion, data=b""):
        code = completion.get_return_value()
        if code < 0:
            future.set_exception(RuntimeError(f"librbd tells of error {code}"))
        else:
            future.set_result(data)

    operation(*args, end)
    return future
