# SPDX-License-Identifier: Apache-2.0
"""Deferred deletion where only Ceph has it: rights, and removals that take long."""

import time

import pytest
import samples
import stores

import rbdstore
from rbdstore import exceptions, spec

MiB = samples.MiB
GiB = 1 << 30
LIMIT = 120

# Every object of its data is asked for when it is removed: some thousand requests.
SLOW = {"rbd_features": ["layering", "exclusive-lock"], "rbd_store_chunk_size": 1}
SLOW_SIZE = 32 * GiB


def connect(sandbox, **options):
    return rbdstore.connect(
        "rbd",
        rbd_ceph_conf=sandbox.conf_path,
        rbd_user="cinder",
        rbd_pool="volumes",
        rbd_lease_seconds=5,
        enable_deferred_deletion=True,
        **options,
    )


def until(is_so):
    deadline = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_closing_ends_a_removal_that_takes_long(sandbox, raw):
    with connect(sandbox, deferred_deletion_purge_interval=1, **SLOW) as store:
        store.volumes.create("volume", SLOW_SIZE)
        raw.write("volumes", "volume", b"x", SLOW_SIZE - 1)
        store.volumes.delete("volume")
        until(lambda: raw.is_claimed("volumes", spec.PURGE_LEASE))
        worker = store._purger._worker
    assert not worker.is_alive()
    assert list(raw.trash("volumes").values()) == ["volume"]
    with connect(sandbox, deferred_deletion_purge_interval=3600) as store:
        assert store.purge_deleted().purged == ("volume",)


def test_what_a_user_without_rights_left_is_purged_by_one_who_has_them(sandbox, raw):
    """Cinder deletes the last clone of an image of Glance's that is deleted already."""
    images, volumes = stores.admin_image_store(sandbox), stores.volume_store(sandbox)
    image = images.add("image", samples.pattern("image", MiB))
    volumes.clone("volume", image.uri)
    images.delete(image.uri, in_use="defer")
    with rbdstore.connect(
        "rbd", rbd_ceph_conf=sandbox.conf_path, rbd_user="glance", rbd_pool="images"
    ) as glance:
        (kept,) = glance.purge_deleted().kept
        assert (kept.name, kept.why) == ("image", "needed")
        volumes.delete("volume")
        assert list(raw.trash("images").values()) == ["image"]
        assert glance.purge_deleted().purged == ("image",)


def test_who_has_no_rights_keeps_what_is_there_and_is_told_why(sandbox, raw):
    admin = stores.admin_volume_store(sandbox, enable_deferred_deletion=True)
    admin.create("volume", MiB)
    admin.delete("volume")
    with (
        rbdstore.connect(
            "rbd", rbd_ceph_conf=sandbox.conf_path, rbd_user="glance", rbd_pool="volumes"
        ) as glance,
        pytest.raises(exceptions.PermissionDenied, match="ceph auth caps"),
    ):
        glance.purge_deleted()
    assert list(raw.trash("volumes").values()) == ["volume"]
    assert admin.purge_deleted().purged == ("volume",)
