# SPDX-License-Identifier: Apache-2.0
"""Grants: what a user's capabilities are made of; what is lacking, and what there is beside.

For each kind of daemon (``mon``, ``osd``, ``mgr``) a user has grants, with commas between them::

    profile rbd pool=volumes, allow class-read pool=images object_prefix rbd_

What is not understood here is left as it is: it counts for nothing but itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

# Quoted text may hold what separates else; nothing escapes a quote in it.
_PART: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,;])+""")
_WORD: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s="'])+""")
_QUOTED: Final = re.compile(r""""([^"]*)"|'([^']*)'""")
_LIMITS: Final = ("pool", "namespace", "object_prefix", "network")
_EVERYTHING: Final = ("*", "all")
_LETTERS: Final = frozenset("rwx")

# What is in each of the profiles, where both have the same limits.
_CONTAINS: Final[Mapping[str, tuple[str, ...]]] = {
    "profile rbd": ("profile rbd-read-only", "allow class-read"),
    "profile rbd-read-only": ("allow class-read",),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """One grant.

    :ivar text: as it was written
    :ivar right: ``profile rbd``, ``allow rwx``
    :ivar limits: to which pool, objects and the like it is limited; none: to nothing
    """

    text: str = dataclasses.field(compare=False)
    right: str
    limits: Mapping[str, str] = dataclasses.field(hash=False)

    @classmethod
    def parse(cls, text: str) -> Grant:
        words = [_QUOTED.sub(r"\1\2", word) for word in _WORD.findall(text)]
        if words[:2] == ["allow", "profile"]:
            del words[0]
        start = next((i for i, word in enumerate(words) if word in _LIMITS), len(words))
        names, values = words[start::2], words[start + 1 :: 2]
        if len(names) != len(values) or len(names) != len({*names} & {*_LIMITS}):
            return cls(text, " ".join(words), {})
        return cls(text, " ".join(words[:start]), dict(zip(names, values, strict=True)))

    def covers(self, other: Grant) -> bool:
        """Whether who has this one needs not the other; False where that is not certain."""
        if self == other:
            return True
        if not self._is_limited_as(other):
            return False
        if self.right == other.right or other.right in _CONTAINS.get(self.right, ()):
            return True
        rights = self.right.removeprefix("allow ")
        if self.right == rights:
            return False
        if other.right == "allow class-read":
            return rights in _EVERYTHING or (set(rights) <= _LETTERS and "x" in rights)
        # A profile has rights in other pools, too.
        return not self.limits and (rights in _EVERYTHING or set(rights) == _LETTERS)

    def _is_limited_as(self, other: Grant) -> bool:
        """Whether it is limited to nothing, or to as much as the other, or more."""
        return all(
            other.limits.get(name, "").startswith(value)
            if name == "object_prefix"
            else other.limits.get(name) == value
            for name, value in self.limits.items()
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """What a user has, and what it is to have.

    :ivar lacking: the grants that are missing, by daemon
    :ivar besides: the grants that are not needed, by daemon
    :ivar merged: all it has, as it was written, and what is missing after it, by daemon
    :ivar least: what it is to have, and nothing else, by daemon
    """

    lacking: Mapping[str, Sequence[str]]
    besides: Mapping[str, Sequence[str]]
    merged: Mapping[str, str]
    least: Mapping[str, str]


def parse(text: str) -> list[Grant]:
    """The grants of one kind of daemon."""
    return [Grant.parse(part.strip()) for part in _PART.findall(text) if part.strip()]


def compare(has: Mapping[str, str], wanted: Mapping[str, str]) -> Comparison:
    """Compare the capabilities of a user, by daemon, with those that it is to have."""
    lacking, besides, merged, least = {}, {}, dict(has), {}
    for daemon in dict.fromkeys((*has, *wanted)):
        had = parse(has.get(daemon, ""))
        needed = _fewest(parse(wanted.get(daemon, "")))
        missing = [one.text for one in needed if not any(grant.covers(one) for grant in had)]
        more = [grant.text for grant in had if grant not in needed]
        if missing:
            lacking[daemon] = missing
            merged[daemon] = ", ".join(filter(None, [has.get(daemon, "").strip(" ,;"), *missing]))
        if more:
            besides[daemon] = more
        if needed:
            least[daemon] = ", ".join(one.text for one in needed)
    return Comparison(lacking, besides, merged, least)


def _fewest(grants: Iterable[Grant]) -> list[Grant]:
    """Without those that others of them cover: of a pool that is of two kinds, say."""
    fewest: list[Grant] = []
    for grant in grants:
        if not any(other.covers(grant) for other in fewest):
            fewest = [other for other in fewest if not grant.covers(other)]
            fewest.append(grant)
    return fewest
