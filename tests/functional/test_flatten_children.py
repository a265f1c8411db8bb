# SPDX-License-Identifier: Apache-2.0
"""An image is deleted under its clones, which others write to: qemu-io, a client of its own."""

import pytest
import samples
import stores
from writers import Writer

from rbdstore import exceptions

MiB = samples.MiB
SIZE = 24 * MiB
DATA = samples.pattern("image", SIZE)


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
        Writer(sandbox, "volumes", "volume-1", SIZE) as volume,
        Writer(sandbox, "vms", "0f5f9e2e_disk", SIZE) as disk,
    ):
        for writer in (volume, disk):
            writer.wait_for_writes()
        images.delete(image.uri, in_use="flatten", progress_of=progress_of)
        assert raw.images("images") == []
        assert raw.trash("images") == {}
        # And on they go, without the image.
        for writer in (volume, disk):
            writer.wait_for_writes()
    assert volume.errors == disk.errors == []
    assert told
    assert sorted(begun) == ["vms/0f5f9e2e_disk", "volumes/volume-1"]
    assert raw.parent("volumes", "volume-1") is None
    assert raw.read("volumes", "volume-1") == volume.expected(DATA)
    assert raw.read("vms", "0f5f9e2e_disk") == disk.expected(DATA)
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
