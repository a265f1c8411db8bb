# SPDX-License-Identifier: Apache-2.0
"""Flattening all that was cloned from an image, so that the image can go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rbdstore import exceptions, lineage, parallel
from rbdstore.clones.flattening import Flattener
from rbdstore.driver import Child, Image, Progress
from rbdstore.spec import ImageSpec

ProgressOf = Callable[[ImageSpec], Progress | None]
"""Called with each clone that is about to be flattened, by any thread: whom to tell of it."""


def check_progress_of(progress_of: object) -> None:
    """:raises InvalidInput: it cannot be called"""
    if progress_of is not None and not callable(progress_of):
        raise exceptions.InvalidInput(
            "progress_of is called as progress_of(clone), which a "
            f"{type(progress_of).__name__} cannot be"
        )


def flatten_clones(
    image: Image,
    clones: lineage.Clones,
    flattener: Flattener,
    most: int,
    progress_of: ProgressOf | None = None,
) -> lineage.Clones:
    """Flatten all clones of ``image``, in whatever pool, up to ``most`` at once.

    They stay in use meanwhile. One that has been flattened stays so, whatever becomes of others.

    :return: those that need it all the same
    :raises InUse: snapshots of theirs do, and the error names these and what to do
    """

    def flatten(child: Child) -> None:
        pool = image.pool.cluster.open_pool(child.pool, child.namespace)
        progress = None if progress_of is None else progress_of(child.spec)
        # It may have been deleted since it was listed.
        with contextlib.suppress(exceptions.ImageNotFound):
            flattener.flatten(pool, child.image_id, progress=progress)

    parallel.each(flatten, [child for group in clones.values() for child in group], most=most)
    left = lineage.children(image)
    children = [child for group in left.values() for child in group]
    pinned = [
        f"{child.spec}@{snap}"
        for child in children
        for snap in lineage.pinning_snaps(child, image)
    ]
    if pinned:
        raise exceptions.InUse(
            "its clones were flattened, but these snapshots of theirs were made before and "
            f"need it (delete them first): {', '.join(pinned)}",
            spec=image.spec,
            children=[child.spec for child in children],
        )
    return left
