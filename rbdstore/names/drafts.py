# SPDX-License-Identifier: Apache-2.0
"""Drafts: images that are made under a name of their own and published when they are whole.

librbd's own clone and flatten are not atomic: one that is killed can leave an image of full size
that reads as zeros. So nothing is made under the name that a user will know it by. A draft is
``<name>.<random>.partial`` until it has been verified, and is renamed last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rbdstore import exceptions, lineage, reclaim, records, spec
from rbdstore.driver import Image, Parent, Snap
from rbdstore.names import claims


class Draft(claims.Claim):
    """A claim on a name that is about to be given to a new image.

    Made by :meth:`create` or :meth:`clone`, finished by :meth:`publish`. If
    the block raises, the draft is removed, with whatever was only there for it.

    :ivar size: a clone's, in bytes
    :ivar parent: what a clone shares data with, until it is flattened
    """

    size: int = 0
    parent: Parent | None = None

    @property
    def draft(self) -> str:
        """What the image is called until it is published."""
        return self._journal.drafts[-1]

    def _prepare(self) -> None:
        self._journal.drafts.append(spec.draft_name(self.name))

    @contextlib.contextmanager
    def create(self, size: int, *, order: int | None) -> Iterator[Image]:
        """Make it of zeros, and open it for writing."""
        self.pool.create(self.draft, size, order=order)
        with self.open() as image:
            self.note(image_id=image.id)
            yield image

    def clone(self, parent: Image, snap: Snap, size: int | None) -> None:
        """Make it share a snap's data, ``size`` bytes long (None: as long as the snap).

        :raises Vanished: the snap went away meanwhile
        """
        if snap.size == 0:
            # librbd cannot clone it, and there is nothing to share.
            self.size = size or 0
            with self.create(self.size, order=None):
                return
        link = lineage.link(parent, snap.name)
        self.note(parents=[link])
        try:
            self.pool.clone(parent.pool, parent.name, snap.name, self.draft)
        except exceptions.NotCloneable as error:
            if not snap.protected:
                raise
            # In format 1 a snap loses its protection right before it is removed.
            raise exceptions.Vanished(
                f"it was removed while it was cloned to {self.name}", spec=link.spec
            ) from error
        grows = size is not None and size > snap.size
        with self.pool.open(self.draft, read_only=not grows) as image:
            made = image.parent()
            if (
                made is None
                or (made.image_id, made.snap) != (parent.id, snap.name)
                or image.size() != snap.size
            ):
                raise exceptions.Vanished(
                    f"it changed while it was cloned to {self.name}", spec=link.spec
                )
            self.note(image_id=image.id)
            records.add_child(parent, snap.id, image)
            if size is not None and grows:
                image.resize(size)
            self.size, self.parent = image.size(), made

    def start_over(self) -> None:
        """Remove what was made so far, to make it another way, under another name."""
        reclaim.draft(self.pool, self.draft, self.seconds, self.remember)
        self._prepare()
        self.note(image_id="")

    def open(self) -> Image:
        """Open what was made so far, for writing."""
        return self.pool.open(self.draft, read_only=False)

    def publish(self) -> None:
        """Give it its name.

        :raises Duplicate: somebody who takes no leases was faster
        """
        self.give_name(self.draft)
