# SPDX-License-Identifier: Apache-2.0
"""Children whose link to their parent is torn: what a flatten or a clone leaves that was killed.

librbd's flatten copies the data, takes the child off the parent's list, drops the snap if that was
in the trash and this was its last child, and only then has the child's header forget the parent.
Killed in between, it leaves a child that is not listed: the parent may be removed, and then the
child cannot be opened any more, though it needs nothing of it. A clone names its parent before it
is listed.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Container, Iterator
from typing import Final, Literal

import rados

from rbdstore import caps, parallel
from rbdstore.drivers.rbd import client as clients
from rbdstore.drivers.rbd import decoding, errors, headers, links, objects, remains
from rbdstore.shapes import Torn
from rbdstore.threads import threading

# Of one image's objects that are asked for at the same time.
_AT_ONCE: Final = 64

_Image = tuple[str, str, bool]
_State = Literal["unlisted", "orphan", "unknown"]


class Scan:
    """Looks at the links of a pool's images."""

    def __init__(
        self, connection: clients.Connection, ioctx: rados.Ioctx, pool: str, namespace: str
    ) -> None:
        self._connection = connection
        self._ioctx = ioctx
        self._pool = pool
        self._namespace = namespace

    def find(self, image_ids: Container[str] | None = None) -> list[Torn]:
        """Those that are torn; one request an image, and a few for each snap with children."""
        images = _images(self._ioctx, image_ids)
        below: dict[links.Link, list[_Image]] = {}
        found: list[Torn] = []
        for image, link in zip(images, parallel.each(self._link, images), strict=True):
            if isinstance(link, Torn):
                found.append(link)
            elif link is not None:
                below.setdefault(link, []).append(image)
        for torn in parallel.each(lambda group: list(self._torn(*group)), below.items()):
            found.extend(torn)
        return found

    def _link(self, image: _Image) -> links.Link | Torn | None:
        """To its parent; None: it has none, or was removed since it was listed."""
        try:
            return links.parent(self._ioctx, image[0])
        except rados.ObjectNotFound:
            return None
        except (rados.IOError, decoding.Unreadable) as exc:
            needs = f"its header cannot be read ({exc})"
            return self._of(image, "which nobody knows", "unknown", needs)

    def _of(self, image: _Image, parent: str, state: _State, needs: str = "") -> Torn:
        image_id, name, trashed = image
        return Torn(self._pool, self._namespace, name, image_id, trashed, parent, state, needs)

    def _torn(self, link: links.Link, images: list[_Image]) -> Iterator[Torn]:
        pool = self._name_of(link.pool_id)
        parent = f"{pool or link.pool_id}/{link.namespace and link.namespace + '/'}"
        parent = f"{parent}<{link.image_id}> at snap {link.snap_id}"
        try:
            above = pool and self._connection.ioctx(pool, link.namespace)
            there = bool(above) and links.has_snap(above, link)
            known = links.listed(above, self._ioctx, link) if there else set()
        except (rados.PermissionError, rados.PermissionDeniedError):
            cap = caps.reading(pool or "")
            needs = str(errors.denied(self._connection.user, None, pool or "", cap))
            for image in images:
                yield self._of(image, parent, "unknown", needs)
            return
        for image in images:
            if not there:
                yield self._of(image, parent, "orphan", self._needs(image[0]))
            elif image[0] not in known:
                yield self._of(image, parent, "unlisted")

    def _name_of(self, pool_id: int) -> str | None:
        """The name of a pool; None: it was removed."""
        try:
            return str(self._connection.rados.pool_reverse_lookup(pool_id))
        except rados.ObjectNotFound:
            return None

    def _needs(self, image_id: str) -> str:
        """Why an image may need its parent; empty: all of its data is proven to be its own.

        It is where every object that the parent could show through has been written: a child's
        object is read alone, however little of it was written. Whether the parent had anything in
        one that was not, nobody can tell once the parent is gone.
        """
        ioctx = self._ioctx
        try:
            if headers.snap_ids(ioctx, image_id):
                return "it has snapshots, which may need the parent as well"
            shape = links.shape(ioctx, image_id)
        except rados.ObjectNotFound:
            return "it is being removed"
        if shape.striped:
            return "its data is striped over its objects"
        pool: str | None = self._pool
        data: rados.Ioctx | None = ioctx
        if shape.data_pool is not None:
            pool = self._name_of(shape.data_pool)
            data = pool and self._connection.ioctx(pool, self._namespace)
        if not data:
            return "the pool of its data is gone"
        count = -(-shape.overlap // shape.object_size)
        names = (f"{shape.prefix}.{number:016x}" for number in range(count))
        try:
            missing = _missing(data, names)
        except rados.PermissionError:
            cap = caps.reading(pool or "")
            return str(errors.denied(self._connection.user, None, pool or "", cap))
        if missing:
            return f"{missing} of the {count} objects that it shows through are not written"
        return ""


def _images(ioctx: rados.Ioctx, wanted: Container[str] | None) -> list[_Image]:
    """Id and name of each image of a pool, or of those wanted; and whether it is in the trash."""
    live = [
        (image_id, decoding.text(name), False)
        for image_id, name in _entries(ioctx, remains.DIRECTORY)
        if wanted is None or image_id in wanted
    ]
    trash = [
        image_id
        for image_id, _mark in _entries(ioctx, remains.TRASH)
        if wanted is None or image_id in wanted
    ]
    found = parallel.each(lambda image_id: _in_trash(ioctx, image_id), trash)
    return live + [image for image in found if image is not None]


def _entries(ioctx: rados.Ioctx, key: str) -> Iterator[tuple[str, bytes]]:
    """The ids that a map has, each with what it says of it."""
    for entry, value in objects.get_keys(ioctx, key).items():
        if entry.startswith("id_"):
            yield entry.removeprefix("id_"), value


def _in_trash(ioctx: rados.Ioctx, image_id: str) -> _Image | None:
    mark = remains.trash_mark(ioctx, image_id)
    if mark is None or remains.is_live(ioctx, mark.name, image_id):
        return None
    return image_id, mark.name, True


def _missing(ioctx: rados.Ioctx, names: Iterator[str]) -> int:
    """How many objects there are not."""
    missing = 0
    while batch := list(itertools.islice(names, _AT_ONCE)):
        asked = [_Asked(ioctx, name) for name in batch]
        missing += sum(not one.is_there() for one in asked)
    return missing


class _Asked:
    """Whether there is an object: a question that is on its way."""

    def __init__(self, ioctx: rados.Ioctx, name: str) -> None:
        self._answered = threading.Event()
        self._completion = ioctx.aio_stat(name, lambda *_: self._answered.set())

    def is_there(self) -> bool:
        self._answered.wait()
        number = self._completion.get_return_value()
        if number == 0:
            return True
        if number == -errno.ENOENT:
            return False
        if number in (-errno.EPERM, -errno.EACCES):
            raise rados.PermissionError("an object may not be asked for")
        raise rados.OSError("an object could not be asked for", errno=-number)
