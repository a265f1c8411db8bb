# SPDX-License-Identifier: Apache-2.0
"""What is said of the forest and of each image in it, in every picture and in the text."""

from __future__ import annotations

from typing import Final

from rbdstore.legible import count, printable, size_text, some
from rbdstore.views.forest import Forest
from rbdstore.views.looking import Kind, SnapKind, Tree

KINDS: Final[dict[Kind, str]] = {
    "image": "image",
    "volume": "volume",
    "draft": "unfinished",
    "deleted": "deleted, kept for its clones",
    "trash": "in the trash",
    "unknown": "not looked at",
}

SNAP_KINDS: Final[dict[SnapKind, str]] = {
    "user": "",
    "image": "the image's own",
    "clones": "carries clones",
    "deleted": "deleted, kept for its clones",
    "backup": "of a backup",
}


def summary(forest: Forest) -> list[str]:
    """What there is, and what needs looking after."""
    found = [each for each in forest if not each.outside]
    snaps = sum(len(each.snaps) for each in found)
    size = size_text(sum(each.size or 0 for each in found))
    lines = [f"{count(len(found), 'image')}, {count(snaps, 'snapshot')}, {size} provisioned"]
    for what, those in (
        ("deeper than allowed", [each for each in found if each.is_too_deep]),
        ("cannot be looked at", [each for each in found if each.problem]),
        ("unfinished", [each for each in found if each.kind == "draft"]),
    ):
        if those:
            lines.append(f"{len(those)} {what}: {some(str(each.spec) for each in those)}")
    return lines


def depth(found: Tree) -> str:
    """``3/5`` of a clone: its depth against its limit; nothing of what has no parent."""
    if not found.depth:
        return ""
    return f"{found.depth}" if found.limit is None else f"{found.depth}/{found.limit}"


def notes(found: Tree) -> list[tuple[str, str]]:
    """What else is to be said of an image, each with a word for how it may be drawn, or none."""
    said = []
    if found.trashed:
        said.append(("in the trash", ""))
    if found.watchers:
        said.append((f"open by {some(found.watchers)}", "open"))
    quiet = [snap.name for snap in found.snaps if not snap.clones and snap.kind != "image"]
    if quiet:
        said.append((f"snapshots {some(quiet)}", ""))
    if found.parent is None and any(snap.parent for snap in found.snaps):
        said.append(("flattened, but its snapshots need the parent", ""))
    if any(snap.may_have_more for snap in found.snaps):
        said.append(("may have clones in pools that cannot be looked into", ""))
    if found.problem:
        said.append((printable(found.problem), "problem"))
    return said
