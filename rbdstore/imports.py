# SPDX-License-Identifier: Apache-2.0
"""An image becomes a volume or a disk: by a clone where that can be, else by a copy of its body."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

from rbdstore import cloneable, exceptions
from rbdstore.drafts import Draft
from rbdstore.driver import Progress
from rbdstore.settings import Settings
from rbdstore.transfer import Body

OpenImage = Callable[[], Body]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An image that something is to be made from. Made by :meth:`of`, which checks it all.

    :ivar locations: every place that it is known to be at, none twice
    :ivar size: how large what is made becomes, in bytes; None: as large as the image's disk is
    :ivar disk_format: as Glance names it
    :ivar open_image: gives its body; None: it may only be cloned
    """

    locations: tuple[str, ...]
    size: int | None
    disk_format: str
    open_image: OpenImage | None

    @classmethod
    def of(
        cls,
        locations: Iterable[str],
        size: int | None,
        disk_format: str,
        open_image: OpenImage | None,
    ) -> Self:
        """:raises InvalidInput: an argument is wrong"""
        raise NotImplementedError

    def request(self, verb: str) -> list[Any]:
        """What a claim for making something from it is asked for."""
        return [verb, list(self.locations), self.size, self.disk_format, bool(self.open_image)]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How something was made from an image.

    :ivar method: ``clone``, or ``copy``: of the body
    :ivar location: what was cloned; empty where it was copied
    :ivar passed_over: the locations that were not cloned, each with the reason
    """

    method: Literal["clone", "copy"]
    location: str
    passed_over: tuple[cloneable.Verdict, ...]


def make(
    draft: Draft,
    source: Source,
    settings: Settings,
    *,
    chunk_size: int,
    progress: Progress | None = None,
) -> Outcome:
    """Make ``draft`` from an image, of ``source.size`` bytes, and publish it.

    Every location is tried. If none can be cloned, the body is copied, and converted where it is
    not raw. An adopted draft was published before: it is seen to be of the same body.

    ::

        source = imports.Source.of(locations, size, disk_format, open_image)
        with drafts.Draft(pool, name, source.request("import"), seconds, effect="make") as draft:
            outcome = imports.make(draft, source, settings, chunk_size=CHUNK_SIZE)

    :param chunk_size: of the objects of a copy, where the backend does not say
    :raises NotCloneable: none of the locations can be cloned, and there is no body
    :raises InvalidSize: the image's disk is larger than ``source.size``
    :raises InvalidBody: the body is not what it is said to be, or not to be trusted
    :raises Duplicate: the name is taken
    """
    raise NotImplementedError
