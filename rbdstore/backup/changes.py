# SPDX-License-Identifier: Apache-2.0
"""What of an image has to be read for a backup, chunk by chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from rbdstore import exceptions
from rbdstore.driver import Extent, Image

# In chunks: what lies between two that were touched is asked for nothing, but in no more time.
_NEAR = 4
_MOST_JOINED = 64
# In extents: what is asked for before any of it is given, as long as they are few. A question that
# is asked while data are on their way waits until those have come.
_MOST_AHEAD = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A chunk that may have changed.

    :ivar exists: whether there may be data in it
    :ivar pieces: the extents in it that changed, holes too; empty: perhaps all of it
    """

    number: int
    exists: bool
    pieces: tuple[Extent, ...] = ()


def everything(image: Image, chunk_size: int, *, trust: bool = True) -> Iterator[Change]:
    """All that an image has data in, the parents' included.

    :param trust: believe the object map
    """
    found = image.extents(0, image.size(), whole_object=trust)
    for number in _numbers((extent for extent in found if extent.exists), chunk_size):
        yield Change(number, True)


def since(
    image: Image,
    snap_id: int,
    old_size: int,
    chunk_size: int,
    *,
    trust: bool = True,
    exact: bool = True,
) -> Iterator[Change]:
    """What has changed in an image since a snap of it, of ``old_size`` bytes.

    :param trust: believe the object map
    :param exact: believe of a clone which bytes of a chunk have changed
    :raises Vanished: the snap was removed meanwhile, so not all that has changed was found
    """
    size = image.size()
    # It may have got another name since it was made.
    snap = next((found.name for found in image.snaps() if found.id == snap_id), None)
    if snap is None:
        raise _gone(image)
    found = _since(image, snap, size, chunk_size, trust)
    if image.parent() is not None:
        exact = exact and "striping" not in image.features()
        found = (_of_a_clone(change, chunk_size, exact=exact) for change in found)
    if size < old_size and size % chunk_size:
        # What it was cut off to is another chunk than before, whether or not a diff has it.
        found = _with_last(found, size // chunk_size)
    yield from found
    # What only a removed snap had is gone, and librbd finds no difference to it.
    if not image.still_has(snap_id):
        raise _gone(image)


def _of_a_clone(change: Change, chunk_size: int, *, exact: bool) -> Change:
    """What may have changed besides, where the parent's data showed at one of the two times.

    Where a clone lost an object, by a rollback, they show again. Of an object that there was not,
    all is told that there is of it now, from its first byte on; not that the parent's data beyond
    its end show no more, if one who does not copy them to snapshots has cut it off (krbd of old).
    """
    known = change.pieces and change.pieces[0].offset > change.number * chunk_size
    if exact and change.exists and known and all(piece.exists for piece in change.pieces):
        return change
    return Change(change.number, True)


def _gone(image: Image) -> exceptions.Vanished:
    return exceptions.Vanished(
        "the snapshot that an earlier backup was made of was deleted meanwhile; try again",
        spec=image.spec,
    )


def _since(image: Image, snap: str, size: int, chunk_size: int, trust: bool) -> Iterator[Change]:
    if not trust:
        yield from _grouped(image.extents(0, size, from_snap=snap), chunk_size)
        return
    yield from _ahead(_touched(image, snap, size, chunk_size))


def _touched(image: Image, snap: str, size: int, chunk_size: int) -> Iterator[Change]:
    touched = image.extents(0, size, from_snap=snap, whole_object=True)
    for extent in _joined(touched, chunk_size):
        if not extent.exists:
            for number in _numbers([extent], chunk_size):
                yield Change(number, False)
        else:
            # An object that was touched is asked for the bytes.
            pieces = image.extents(extent.offset, extent.length, from_snap=snap)
            yield from _grouped(pieces, chunk_size)


def _ahead(found: Iterable[Change]) -> Iterator[Change]:
    kept, count = list[Change](), 0
    for change in found:
        kept.append(change)
        count += max(1, len(change.pieces))
        if count >= _MOST_AHEAD:
            yield from kept
            kept, count = [], 0
    yield from kept


def _joined(extents: Iterable[Extent], chunk_size: int) -> Iterator[Extent]:
    """Extents with data, near ones as one: a driver asks several objects at the same time."""
    joined: Extent | None = None
    for extent in extents:
        if joined is not None:
            end = extent.offset + extent.length
            near = extent.offset - (joined.offset + joined.length) <= _NEAR * chunk_size
            short = end - joined.offset <= _MOST_JOINED * chunk_size
            if joined.exists and extent.exists and near and short:
                joined = Extent(joined.offset, end - joined.offset, True)
                continue
            yield joined
        joined = extent
    if joined is not None:
        yield joined


def _with_last(found: Iterable[Change], last: int) -> Iterator[Change]:
    for change in found:
        if change.number < last:
            yield change
    yield Change(last, True)


def _numbers(extents: Iterable[Extent], chunk_size: int) -> Iterator[int]:
    """The chunks that extents touch, each once."""
    following = 0
    for extent in extents:
        first = max(following, extent.offset // chunk_size)
        following = max(following, -(-(extent.offset + extent.length) // chunk_size))
        yield from range(first, following)


def _grouped(extents: Iterable[Extent], chunk_size: int) -> Iterator[Change]:
    """The same as changes of chunks."""
    number, pieces = -1, list[Extent]()
    for extent in cut(extents, chunk_size):
        if extent.offset // chunk_size != number:
            if pieces:
                yield _change(number, pieces)
            number, pieces = extent.offset // chunk_size, []
        pieces.append(extent)
    if pieces:
        yield _change(number, pieces)


def _change(number: int, pieces: list[Extent]) -> Change:
    return Change(number, True, tuple(pieces))


def cut(extents: Iterable[Extent], chunk_size: int) -> Iterator[Extent]:
    """Extents that end where chunks do."""
    for extent in extents:
        start, end = extent.offset, extent.offset + extent.length
        while start < end:
            stop = min(end, (start // chunk_size + 1) * chunk_size)
            yield Extent(start, stop - start, extent.exists)
            start = stop
