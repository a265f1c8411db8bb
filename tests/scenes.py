# SPDX-License-Identifier: Apache-2.0
"""What is in a cluster in memory, and what those leave there who were killed.

::

    scenes.contents(cluster)               # {} where there is nothing at all
    scenes.die(pool, "volume-1", journal)  # killed at work on volume-1; the lease has run out
    scenes.run_out(pool, "volume-1")       # held up for so long that the lease ran out
"""

import pytest

from rbdstore import driver, records, spec
from rbdstore.names.claims import Claim, Journal
from rbdstore.names.drafts import Draft

SECONDS = 1.5
"""How long a lease outlives its holder."""

REQUEST = ["create", 1024]


class Boom(Exception):
    """Something that goes wrong."""


def contents(cluster):
    """Everything in a cluster but the bytes: images with their snapshots, trash and objects."""
    return {
        f"{pool.name} {thing}": state
        for pool in cluster._state.pools.values()
        for thing, state in (*_images(pool), *_objects(pool))
    }


def _images(pool):
    for image in pool.images.values():
        where = "trash" if image.id in pool.trash else "image"
        below = image.head.below
        yield (
            f"{where} {image.name} {image.id}",
            (
                image.head.size,
                [(snap.id, snap.name, snap.protected) for snap in image.snaps.values()],
                below and (below.snap_id, below.overlap),
            ),
        )


def _objects(pool):
    for key, found in pool.objects.items():
        is_record = key.removeprefix(spec.RECORD_PREFIX) in pool.images
        # An empty record goes with its image.
        if found.content or found.entries or not is_record:
            yield f"object {key}", (found.content, dict(found.entries))


def assert_tidy(cluster):
    """See that there is nothing in a cluster but images with names, and what they need."""
    left = [thing for thing in contents(cluster) if " image " not in thing or ".partial" in thing]
    assert left == []


def trash(pool):
    """The names that the images in the trash had."""
    return sorted(entry.name for entry in pool.trash_list())


def claim(pool, request=REQUEST, effect="make", **more):
    """A claim on ``volume``, not entered yet."""
    return Claim(pool, "volume", request, SECONDS, effect=effect, **more)


def draft(pool, request=REQUEST):
    """A draft of ``volume``, not entered yet."""
    return Draft(pool, "volume", request, SECONDS, effect="make")


def publish(pool, request=REQUEST, data=b"data"):
    """Make ``volume``; return whether it was adopted."""
    with draft(pool, request) as made:
        if not made.adopted:
            with made.create(len(data), order=12) as image:
                image.write(0, data)
            made.publish()
        return made.adopted


def noted(pool):
    """The journal of ``volume`` as the next one would find it."""
    return Journal.from_bytes(pool.read_object(spec.lease_object("volume")))


def expect(error, **more):
    """For a block of several steps: it does not matter which of them raises ``error``."""
    return pytest.raises(error, **more)


def die(pool, name, journal):
    """Leave what somebody leaves who was killed at work on ``name``, once the lease ran out."""
    key = spec.lease_object(name)
    assert pool.lease(key, "dead", 60, "pid 1")
    pool.write_leased(key, "dead", journal if isinstance(journal, bytes) else journal.to_bytes())
    assert pool.lease(key, "dead", 0, "pid 1", renew=True)


def run_out(pool, name):
    """End the lease on ``name`` behind its holder's back."""
    with pool.cluster.locked():
        pool._found.objects[spec.lease_object(name)].until = 0


def make(pool, name, data=b"", size=None):
    """Make an image that holds ``data``; return its id."""
    pool.create(name, len(data) if size is None else size, order=12)
    with pool.open(name, read_only=False) as image:
        image.write(0, data)
        return image.id


def read(pool, name=None, *, image_id=None):
    """All the bytes of an image."""
    with pool.open(name, image_id=image_id) as image:
        return image.read(0, image.size())


def snapshot(pool, name, snap):
    """Make a snap; return how a clone of it names its parent."""
    with pool.open(name, read_only=False) as image:
        image.create_snap(snap)
        return driver.Parent(pool.name, pool.namespace, name, image.id, snap)


def snaps(pool, name=None, *, image_id=None):
    """The names of an image's snaps."""
    with pool.open(name, image_id=image_id) as image:
        return [snap.name for snap in image.snaps()]


def clone(pool, link, name):
    """Clone a snap and keep a record of that, as the library does; return the clone's id."""
    home = pool.cluster.open_pool(link.pool, link.namespace)
    with home.open(image_id=link.image_id) as parent:
        snap = driver.find_snap(parent, link.snap)
        pool.clone(home, parent.name, link.snap, name)
        with pool.open(name) as made:
            records.add_child(parent, snap.id, made)
            return made.id


def delete(pool, name):
    """Put an image in the trash, marked as the library's; return its id."""
    with pool.open(name) as image:
        records.mark_deleted(pool, image.id, name)
        pool.trash_move(name)
        return image.id
