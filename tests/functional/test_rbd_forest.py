# SPDX-License-Identifier: Apache-2.0
"""The forest on a real Ceph: what costs too much is not asked; what may not be seen is said."""

import itertools

import pytest
import samples
import stores

from rbdstore import connect
from rbdstore.testing import recipe

MiB = samples.MiB

NEW_FEATURES = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")

# Nothing lets it see who cloned its images.
NARROW = recipe.Role("glance-blind", osd=("profile rbd pool=images",), mgr=())


@pytest.fixture
def store(sandbox):
    """Give stores, as one user or another; closed at the end."""
    opened = []

    def store(pool, user="admin", **options):
        options |= {"rbd_ceph_conf": sandbox.conf_path, "rbd_user": user, "rbd_pool": pool}
        opened.append(connect("rbd", **options))
        return opened[-1]

    yield store
    for each in opened:
        each.close()


def look(store, **options):
    return {tree.name: tree for tree in store.forest(**options)}


def test_bytes_that_every_object_would_have_to_be_asked_for(store, raw):
    """They are not known where the image, or anything above it, has no fast-diff."""
    kinds = {"old": samples.OLD_FEATURES, "new": NEW_FEATURES}
    for source, features in kinds.items():
        raw.create("volumes", source, 8 * MiB, features=features)
        raw.write("volumes", source, b"x", 0)
        raw.snap("volumes", source, "s")
    for source, kind in itertools.product(kinds, kinds):
        raw.clone("volumes", source, "s", "volumes", f"{kind}-of-{source}", features=kinds[kind])
    found = look(store("volumes"))
    assert {name: (tree.used, tree.shared) for name, tree in found.items()} == {
        "old": (None, None),
        "new": (4 * MiB, 0),
        "old-of-old": (None, None),
        "old-of-new": (None, None),
        "new-of-old": (0, None),
        "new-of-new": (0, 4 * MiB),
    }
    found = look(store("volumes"), every_object=True)
    assert all(
        (tree.used, tree.shared) == ((0, 4 * MiB) if "-of-" in name else (4 * MiB, 0))
        for name, tree in found.items()
    )
    for name in sorted(found, key=len, reverse=True):
        raw.remove("volumes", name)


def test_clones_that_may_not_be_seen(sandbox, store, raw):
    uri = store("images", "glance").images.add("image-1", b"data").uri
    volumes = store("volumes", "cinder").volumes
    volumes.clone("volume-1", uri)
    with stores.more_users(sandbox, NARROW):
        found = look(store("images", NARROW.name))
    assert found.keys() == {"image-1"}
    (snap,) = found["image-1"].snaps
    assert snap.may_have_more
    assert snap.clones == ()
    volumes.delete("volume-1")
    store("images", "glance").images.delete(uri)


def test_a_parent_that_may_not_be_read(sandbox, store, raw):
    """Then librbd does not open the clone either: it is there, with the reason."""
    uri = store("images", "glance").images.add("image-1", b"data").uri
    volumes = store("volumes", "cinder").volumes
    volumes.clone("volume-1", uri)
    volumes.create("volume-2", MiB)
    role = recipe.Role("only-volumes", osd=("profile rbd pool=volumes",), mgr=())
    with stores.more_users(sandbox, role):
        found = look(store("volumes", role.name))
    assert found.keys() == {"volume-1", "volume-2"}
    assert "only-volumes" in found["volume-1"].problem
    assert found["volume-1"].depth is None
    assert found["volume-2"].problem is None
    for name in ("volume-1", "volume-2"):
        volumes.delete(name)
    store("images", "glance").images.delete(uri)


def test_what_a_killed_removal_left(store, raw):
    """It is listed, and cannot be opened."""
    raw.create("volumes", "half", MiB)
    raw.create("volumes", "whole", MiB)
    with raw.open("volumes", "half", read_only=True) as opened:
        header = f"rbd_header.{opened.id()}"
    with raw.ioctx("volumes") as ioctx:
        ioctx.remove_object(header)
    found = look(store("volumes"))
    assert found.keys() == {"half", "whole"}
    assert "cannot be opened" in found["half"].problem
    assert found["whole"].size == MiB
    assert store("volumes")._open_pool().clear_debris("half")
    raw.remove("volumes", "whole")
