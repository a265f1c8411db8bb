# SPDX-License-Identifier: Apache-2.0
"""Capabilities: how they are written, and the line that grants one that a user lacks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Final, Literal

Service = Literal["mon", "osd", "mgr"]

MONITORS: Final = "profile rbd"


def reading(pool: str) -> str:
    """To open images for reading, and to clone them into another pool."""
    return f"profile rbd-read-only pool={_quoted(pool)}"


def writing(pool: str) -> str:
    return f"profile rbd pool={_quoted(pool)}"


def seeing_clones(pools: Iterable[str]) -> str:
    """To learn which images there were cloned from others, and nothing else about them."""
    return ", ".join(f"allow class-read pool={_quoted(pool)} object_prefix rbd_" for pool in pools)


def line(user: str, service: Service, cap: str) -> str:
    """A line for the shell of an operator that grants ``cap``, and keeps what there is.

    ``ceph auth caps`` replaces every capability of a user, and no user may look up its own. So the
    line gives what the user has again, and ``cap`` before it, or alone where there is none yet.
    """
    client = shlex.quote(f"client.{user}")
    added = re.sub(r"([\\/&])", r"\\\1", cap)
    script = (
        r's/\\"/"/g; '
        rf'/^\tcaps {service} = "/{{s//&{added}, /; h}}; '
        r's/^\tcaps \([a-z]*\) = "\(.*\)"$/\1\n\2/p; '
        rf"${{x; s/^$/{service}\n{added}/p}}"
    )
    return (
        f"ceph auth get {client} | sed -n {shlex.quote(script)} | "
        f"xargs -d '\\n' ceph auth caps {client}"
    )


def _quoted(pool: str) -> str:
    return pool if re.fullmatch(r"[\w.-]+", pool) else f'"{pool}"'
