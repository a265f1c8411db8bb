# SPDX-License-Identifier: Apache-2.0
"""Steps: what there is to do of one pool, one user or one file, and the commands that do it.

A command to the cluster is the same as a line for an operator's shell, which is what a dry run
shows.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from typing import Any, Literal

from rbdstore.driver import Administration

Kind = Literal["pool", "user", "file"]
Outcome = Literal["created", "updated", "replaced", "unchanged"]


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """Something that changes the cluster, or a file.

    :ivar line: what does the same in a shell; a comment where no command of Ceph's does
    """

    line: str
    run: Callable[[Administration], object] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one thing.

    :ivar outcome: what it comes to, once all the commands were run
    :ivar notes: what is added, and what is left as it is though it was asked for otherwise
    """

    kind: Kind
    name: str
    outcome: Outcome
    notes: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()


def ceph(prefix: str, *words: str, **arguments: Any) -> Command:
    """A command to the monitors.

    :param words: what follows ``ceph PREFIX`` in a shell
    :param arguments: the same, by the names that the monitors have for them
    """
    line = f"ceph {prefix} {shlex.join(words)}"
    return Command(line, lambda admin: admin.command(prefix, **arguments))
