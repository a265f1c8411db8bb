# SPDX-License-Identifier: Apache-2.0
"""Images of forests that are in no cluster: what the pictures are drawn of."""

import itertools
import random
import uuid

from rbdstore.driver import Parent
from rbdstore.views import forest
from rbdstore.views.looking import Branch, Tree

MiB, GiB = 1 << 20, 1 << 30

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    '" onmouseover="document.title=1',
    "</style></title>]]><!--",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;&amp;&#60;\\N\\\\\"'`",
    "line\nbreak\x00\x1b[31m\u202e\u2028",
    "\udcff\ud800",
    "ü 磁盘 🌲",
    "x" * 300,
)
"""Names that are meant to do harm."""

VOLUMES, IMAGES = ("volumes", ""), ("images", "")
LIMITS = {VOLUMES: 5, IMAGES: 0}


def link(name, snap="rbdstore.clone.0123", pool="volumes"):
    return Parent(pool, "", name, f"id-{name}", snap)


def volume(name, parent=None, *snaps, kind="volume", pool="volumes", **values):
    values = {"size": 10 * GiB, "used": 4 * MiB, "shared": 8 * MiB if parent else 0} | values
    snaps = snaps or (Branch("rbdstore.clone.0123", 1, GiB, "clones", parent=parent),)
    return Tree(pool, "", name, f"id-{name}", kind, parent=parent, snaps=snaps, **values)


def alone(name, **values):
    values = {"size": 10 * GiB, "used": 0, "shared": 0} | values
    return Tree("volumes", "", name, f"id-{name}", values.pop("kind", "volume"), **values)


def chain(name, length):
    """Clones of clones, as deep as ``length`` says."""
    found = [volume(f"{name}-0")]
    for number in range(1, length + 1):
        found.append(volume(f"{name}-{number}", link(f"{name}-{number - 1}")))
    # The last has nothing below it.
    found[-1] = volume(f"{name}-{length}", found[-1].parent, Branch("snap", kind="image"))
    return found


def thousand():
    """A forest of 1,000: chains beyond the limit, wide trees, deep ones, and what stands alone."""
    chance = random.Random(3)
    names = (f"volume-{uuid.UUID(int=chance.getrandbits(128))}" for _ in itertools.count())
    found = [tree for name in ("a", "b", "c") for tree in chain(name, 9)]
    for image in range(12):
        origin = link(f"image-{image}", "snap", "images")
        snap = Branch("snap", 1, GiB, "image", protected=True)
        found.append(volume(origin.image, None, snap, kind="image", pool="images"))
        fan = [volume(next(names), origin) for _ in range(35)]
        # Some of them were cloned themselves, by a snapshot or without.
        for number, above in enumerate(fan[::5]):
            snap = Branch("nightly", 2, GiB) if number % 2 else above.snaps[0]
            link_to = link(above.name, snap.name)
            found += [alone(next(names), parent=link_to, shared=GiB) for _ in range(3)]
        found += fan
    while len(found) < 1000:
        found.append(
            alone(next(names), watchers=("10.0.0.7:0/123",) if len(found) % 50 == 0 else ())
        )
    return forest.grow(found, LIMITS)
