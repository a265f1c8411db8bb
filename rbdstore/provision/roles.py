# SPDX-License-Identifier: Apache-2.0
"""Which service works in which pools, and the least capabilities that its user needs for that.

The one table of it: the users that ``rbdstore provision`` makes have these capabilities, and so
have those of the sandbox, with which the tests do every verb. Why each is needed is told in
``doc/source/developer/sandbox.rst``.

Pools go by their *kind*, what is in them, as an operator calls them what he likes, and may have
several of a kind::

    role("cinder", {"volumes": ["ssd", "hdd"], "images": ["images"]}).caps
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rbdstore import caps

Kind = Literal["images", "volumes", "vms", "backups"]
Pools = Mapping[Kind, Sequence[str]]
"""The names of the pools there are of each kind; of a kind that is missing there are none."""

KINDS: Final[tuple[Kind, ...]] = ("images", "volumes", "vms", "backups")
USUAL_POOLS: Final[Pools] = {kind: (kind,) for kind in KINDS}
"""What set-up guides call them: each as its kind."""


@dataclass(frozen=True)
class Role:
    """A user of the cluster, and the least capabilities it does its work with.

    :ivar name: the user, without ``client.``
    """

    name: str
    osd: tuple[str, ...]
    mgr: tuple[str, ...]
    mon: tuple[str, ...] = (caps.MONITORS,)

    @property
    def caps(self) -> dict[str, str]:
        """The capabilities as a keyring has them, by service."""
        grants = {"mon": self.mon, "osd": self.osd, "mgr": self.mgr}
        return {service: ", ".join(some) for service, some in grants.items() if some}


@dataclass(frozen=True)
class Work:
    """What a service does in pools of which kinds.

    :ivar own: where it keeps what is its own
    :ivar writes: where else it makes and removes images
    :ivar reads: where it reads images, and clones them from
    :ivar sees: where it must know which images are clones of its own, and nothing else of them
    """

    own: Kind
    writes: tuple[Kind, ...] = ()
    reads: tuple[Kind, ...] = ()
    sees: tuple[Kind, ...] = ()

    @property
    def uses(self) -> tuple[Kind, ...]:
        """The kinds without which it cannot do its work, its own first."""
        return (self.own, *self.writes, *self.reads)


WORK: Final[Mapping[str, Work]] = {
    "glance": Work(own="images", sees=("volumes", "vms")),
    "cinder": Work(own="volumes", reads=("images",)),
    "nova": Work(own="vms", writes=("images",)),
    "nova-ro": Work(own="vms", reads=("images",)),
    "cinder-backup": Work(own="backups", writes=("volumes",), reads=("images",)),
}
"""By the name of the user. ``nova-ro`` is ``nova`` where no image is made of a disk in place."""

ATTACHED: Final = ("nova", "nova-ro", "cinder")
"""Whose images are attached to guests, so that libvirt needs the key."""


def role(name: str, pools: Pools = USUAL_POOLS) -> Role:
    """One of the users of :data:`WORK`, with its capabilities on these pools."""
    work = WORK[name]
    written = _names((work.own, *work.writes), pools)
    return Role(
        name,
        osd=(
            *map(caps.writing, written),
            *map(caps.reading, _names(work.reads, pools)),
            *(caps.seeing_clones([pool]) for pool in _names(work.sees, pools)),
        ),
        # For the tasks that the manager does in the background.
        mgr=tuple(map(caps.writing, written)),
    )


def all_roles(pools: Pools = USUAL_POOLS) -> tuple[Role, ...]:
    """All of them."""
    return tuple(role(name, pools) for name in WORK)


def _names(kinds: Sequence[Kind], pools: Pools) -> list[str]:
    return [name for kind in kinds for name in pools.get(kind, ())]
