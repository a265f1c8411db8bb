# SPDX-License-Identifier: Apache-2.0
"""An image is deleted under its clones, which others write to: qemu-io, a client of its own."""

import contextlib
import subprocess
import threading

import pytest
import samples
import stores

from rbdstore import exceptions

MiB = samples.MiB
KiB = samples.KiB
SIZE = 24 * MiB
DATA = samples.pattern("image", SIZE)
STEP = 16 * KiB
LEAST_WRITES = 20


class Writer:
    """qemu-io, which writes a stretch after the other, and knows which were acknowledged."""

    def __init__(self, sandbox, pool, name):
        target = f"rbd:{pool}/{name}:id=admin:conf={sandbox.conf_path}"
        # Nothing that it acknowledges may be in a cache only.
        self._process = subprocess.Popen(
            ["qemu-io", "-f", "raw", "-t", "none", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.written = {}
        self.errors = []
        self._stopping = threading.Event()
        self._many = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._thread.start()
        return self

    def wait_for_writes(self):
        assert self._many.wait(60), self.errors

    def _write(self):
        count = 0
        while not self._stopping.is_set() and not self.errors:
            # All over the image, and again, each time with other bytes.
            offset = count * 7 * STEP % SIZE
            byte = count % 255 + 1
            said = self._do(f"write -P {byte} {offset} {STEP}", "wrote ")
            if said != f"wrote {STEP}/{STEP} bytes at offset {offset}":
                self.errors.append(said)
                break
            self.written[offset] = byte
            count += 1
            if count >= LEAST_WRITES:
                self._many.set()

    def _do(self, command, beginning):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            said = line.rpartition("qemu-io> ")[2].strip()
            if said.startswith(beginning) or "failed" in said or "error" in said:
                return said
        return "it has ended"

    def __exit__(self, *_error):
        self._stopping.set()
        self._thread.join(60)
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate("quit\n", timeout=60)
        self._process.kill()

    def expected(self):
        found = bytearray(DATA)
        for offset, byte in self.written.items():
            found[offset : offset + STEP] = bytes([byte]) * STEP
        return found


def test_clones_in_use_go_on_while_they_are_flattened_and_the_image_is_deleted(sandbox, raw):
    # Many objects, so that some are written to before they are flattened, and some after.
    images = stores.admin_image_store(sandbox, rbd_store_chunk_size=1)
    image = images.add("image-1", DATA)
    volumes = stores.admin_volume_store(sandbox)
    disks = stores.store(sandbox, "admin", "vms").volumes
    volumes.clone("volume-1", image.uri)
    disks.clone("0f5f9e2e_disk", image.uri)
    begun, told = [], []

    def progress_of(clone):
        begun.append(str(clone))
        return lambda done, total: told.append((done, total))

    with (
        Writer(sandbox, "volumes", "volume-1") as volume,
        Writer(sandbox, "vms", "0f5f9e2e_disk") as disk,
    ):
        for writer in (volume, disk):
            writer.wait_for_writes()
        images.delete(image.uri, in_use="flatten", progress_of=progress_of)
        assert raw.images("images") == []
        assert raw.trash("images") == {}
        # And on they go, without the image.
        for writer in (volume, disk):
            writer._many.clear()
            writer.wait_for_writes()
    assert volume.errors == disk.errors == []
    assert told
    assert sorted(begun) == ["vms/0f5f9e2e_disk", "volumes/volume-1"]
    assert raw.parent("volumes", "volume-1") is None
    assert raw.read("volumes", "volume-1") == volume.expected()
    assert raw.read("vms", "0f5f9e2e_disk") == disk.expected()
    volumes.delete("volume-1", wait=60)
    disks.delete("0f5f9e2e_disk", wait=60)


def test_a_snapshot_of_an_old_clone_that_needs_the_image_is_named(sandbox, raw):
    """Without deep-flatten, a clone's snapshot keeps the parent that the clone has let go of."""
    images = stores.admin_image_store(sandbox)
    volumes = stores.admin_volume_store(sandbox, features=samples.OLD_FEATURES)
    image = images.add("image-1", DATA)
    for name in ("volume-1", "volume-2"):
        volumes.clone(name, image.uri)
    volumes.create_snapshot("volume-1", "snapshot-1")
    with pytest.raises(exceptions.InUse) as caught:
        images.delete(image.uri, in_use="flatten")
    text = str(caught.value)
    assert "snapshots of theirs were made before and need it (delete them first)" in text
    assert "volumes/volume-1@snapshot-1" in text
    assert "volume-2" not in text
    assert b"".join(images.get(image.uri)) == DATA
    volumes.delete_snapshot("volume-1", "snapshot-1")
    images.delete(image.uri, in_use="flatten")
    assert raw.images("images") == []
    for name in ("volume-1", "volume-2"):
        assert raw.read("volumes", name) == DATA
        volumes.delete(name)
