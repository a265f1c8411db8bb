# SPDX-License-Identifier: Apache-2.0
"""All about one image or volume, as ``show`` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cliff import columns

from rbdstore.cli import shapes
from rbdstore.pictures import words
from rbdstore.views.looking import Branch, Tree


class _Snapshots(columns.FormattableColumn[tuple[Branch, ...]]):
    """One a line for people; for machines a list of mappings."""

    def human_readable(self) -> str:
        return "\n".join(
            ", ".join(
                filter(
                    None,
                    [
                        shapes.printable(branch.name),
                        shapes.Size(branch.size).human_readable(),
                        words.SNAP_KINDS[branch.kind],
                    ],
                )
            )
            for branch in self._value
        )

    def machine_readable(self) -> Any:
        return [
            {
                "name": branch.name,
                "id": branch.id,
                "size": branch.size,
                "kind": branch.kind,
                "protected": branch.protected,
            }
            for branch in self._value
        ]


def fields(tree: Tree) -> Mapping[str, object]:
    """What is known, by the names of fields. ``used`` and ``shared`` are of objects, in bytes."""
    return {
        "size": shapes.Size(tree.size),
        "used": shapes.Size(tree.used),
        "shared": shapes.Size(tree.shared),
        "parent": shapes.parent(tree.parent.spec if tree.parent else None),
        "depth": tree.depth,
        "max_clone_depth": tree.limit,
        "children": shapes.Lines([str(clone.spec) for clone in tree.clones]),
        "snapshots": _Snapshots(tree.snaps),
        "watchers": shapes.Lines([*tree.watchers]),
        "features": shapes.Lines(sorted(tree.features)),
    }
