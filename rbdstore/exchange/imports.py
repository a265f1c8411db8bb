# SPDX-License-Identifier: Apache-2.0
"""An image becomes a volume or a disk: by a clone where that can be, else by a copy of its body.

A body that is a disk's own bytes goes through the transfer engine, and is never kept on this host.
One in a container (qcow2 and the like) is, while qemu-img converts it: straight into the image,
where QEMU can open that, else into a file with holes, which the transfer engine reads.

A body is looked at before anything is made, and before any tool may have it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, Literal, Self

from oslo_utils import units

from rbdstore import exceptions, sizes, spec, transfer
from rbdstore.clones import cloning
from rbdstore.driver import Image, Progress
from rbdstore.exchange import cloneable, conversion, formats, receiving
from rbdstore.names.drafts import Draft
from rbdstore.settings import Settings
from rbdstore.transfer import Body, bodies

_READ_SIZE: Final = 4 * units.Mi

OpenImage = Callable[[], Body]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An image that something is to be made from. Made by :meth:`of`, which checks it all.

    :ivar locations: every place that it is known to be at, none twice
    :ivar size: how large what is made becomes, in bytes
    :ivar disk_format: as Glance names it
    :ivar open_image: gives its body; None: it may only be cloned
    """

    locations: tuple[str, ...]
    size: int
    disk_format: str
    open_image: OpenImage | None

    @classmethod
    def of(
        cls,
        locations: Iterable[str],
        size: int,
        disk_format: str,
        open_image: OpenImage | None,
    ) -> Self:
        """:raises InvalidInput: an argument is wrong"""
        if open_image is not None and not callable(open_image):
            raise exceptions.InvalidInput(
                "open_image is called as open_image(), which a "
                f"{type(open_image).__name__} cannot be"
            )
        return cls(
            spec.check_locations(locations),
            sizes.check_size(size),
            formats.check_disk_format(disk_format),
            open_image,
        )

    def request(self, verb: str) -> list[Any]:
        """What a claim for making something from it is asked for.

        It is written in the cluster, and locations of some kinds have a password in them.
        """
        has_body = self.open_image is not None
        locations = hashlib.sha256(repr(self.locations).encode()).hexdigest()
        return [verb, locations, self.size, self.disk_format, has_body]


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
    in a container. An adopted draft was published before: it is seen to be of the same body.

    ::

        source = imports.Source.of(locations, size, disk_format, open_image)
        with drafts.Draft(pool, name, source.request("import"), seconds, effect="make") as draft:
            outcome = imports.make(draft, source, settings, chunk_size=CHUNK_SIZE)

    :param chunk_size: of the objects of a copy, where the backend does not say
    :raises NotCloneable: none of the locations can be cloned, and there is no body
    :raises InvalidSize: the image's disk is larger than ``source.size``
    :raises InvalidBody: the body is not what it is said to be, or not to be trusted
    :raises ConversionFailed: qemu-img could not convert it, or not within its limits
    :raises Duplicate: the name is taken

    An error that ``open_image``, or the body that it gives, raises comes out as it is.
    """
    if draft.adopted:
        return _adopt(draft, source, settings)
    draft.check_free()
    location, passed_over = _clone(draft, source)
    digests = None
    if not location:
        order = settings.object_order(chunk_size)
        digests = _Copy(draft, source, settings, order, progress).make(passed_over)
    outcome = Outcome("copy" if digests else "clone", location, tuple(passed_over))
    draft.note(outcome=_to_journal(outcome, source, digests))
    draft.publish()
    return outcome


def _clone(draft: Draft, source: Source) -> tuple[str, list[cloneable.Verdict]]:
    """Clone the first location that can be; return it, and those that cannot."""
    passed_over = []
    for location in source.locations:
        try:
            found = cloneable.check(draft.pool, location, source.disk_format)
            with cloneable.opened(draft.pool, found) as (image, snap):
                cloning.check_fits(image, snap, source.size)
                try:
                    draft.clone(image, snap, source.size)
                except cloneable.NOT_THIS_ONE:
                    # It has gone meanwhile.
                    draft.start_over()
                    raise
        except cloneable.NOT_THIS_ONE as error:
            passed_over.append(cloneable.Verdict(location, str(error)))
        else:
            return location, passed_over
    return "", passed_over


class _Copy:
    """The way of an image's body into a draft."""

    def __init__(
        self,
        draft: Draft,
        source: Source,
        settings: Settings,
        order: int,
        progress: Progress | None,
    ) -> None:
        self._draft = draft
        self._source = source
        self._settings = settings
        self._order = order
        self._progress = progress

    def make(self, passed_over: Iterable[cloneable.Verdict]) -> transfer.Digests:
        """Fill the draft, and return the digests of the body."""
        source = self._source
        if source.open_image is None:
            reasons = "; ".join(verdict.reason for verdict in passed_over) or "it has none"
            raise exceptions.NotCloneable(
                f"the image can be cloned from none of its locations, and cannot be copied for "
                f"want of open_image: {reasons}"
            )
        with _opened(source.open_image) as body:
            begin, body = bodies.peek(body, formats.BEGINNING)
            formats.check_beginning(begin, source.disk_format)
            if source.disk_format in formats.PLAIN:
                return self._fill(body)
            return self._convert(body)

    def _fill(self, body: Body) -> transfer.Digests:
        size = self._source.size
        length = bodies.length_of(body)
        if length is None:
            body = _at_most(body, size)
        elif length > size:
            raise _too_small(size)
        with self._draft.create(length or 0, order=self._order) as image:
            image.lock()
            digests = self._transfer(image, body, length, receiving.ALGORITHM, self._progress)
            if digests.size < size:
                image.resize(size)
        return digests

    def _convert(self, body: Body) -> transfer.Digests:
        source, settings, draft = self._source, self._settings, self._draft
        stages = _Stages(self._progress)
        with receiving.received(
            body, source.disk_format, source.size, settings, stages.next()
        ) as (container, digests):
            qemu_format = formats.CONTAINERS[source.disk_format]
            conversion.check(container, qemu_format, settings)
            try:
                target = draft.pool.blockdev(draft.draft)
            except exceptions.NotSupported:
                self._convert_by_file(container, qemu_format, stages)
                return digests
            with draft.create(source.size, order=self._order):
                """QEMU opens it for itself."""
            conversion.convert(
                container, qemu_format, target, source.size, settings, stages.next()
            )
            with draft.open() as image:
                if image.size() != source.size or image.id != draft.image_id:
                    raise exceptions.Vanished("it changed while it was filled", spec=image.spec)
        return digests

    def _convert_by_file(self, container: BinaryIO, qemu_format: str, stages: _Stages) -> None:
        size, settings = self._source.size, self._settings
        with receiving.local_file(settings) as disk:
            disk.truncate(size)
            conversion.convert(container, qemu_format, disk, size, settings, stages.next())
            disk.seek(0)
            with self._draft.create(size, order=self._order) as image:
                image.lock()
                # What tells one body from another is the container's: the disk, which may be
                # many times as large, is hashed for nobody.
                self._transfer(image, disk, size, None, stages.next())

    def _transfer(
        self,
        image: Image,
        body: Body,
        size: int | None,
        algorithm: str | None,
        progress: Progress | None,
    ) -> transfer.Digests:
        return transfer.fill(
            image,
            body,
            size,
            algorithm,
            progress,
            window=self._settings.transfer_window,
            threads=self._settings.transfer_threads,
        )


class _Stages:
    """One progress of stages that follow each other; a stage counts once it has begun."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._before = 0
        self._total = 0

    def next(self) -> Progress | None:
        """The progress of the next stage."""
        self._before += self._total
        self._total = 0
        return self._progress and self._report

    def _report(self, done: int, total: int) -> None:
        self._total = total
        if self._progress is not None:
            self._progress(self._before + done, self._before + total)


@contextlib.contextmanager
def _opened(open_image: OpenImage) -> Iterator[Body]:
    body = open_image()
    transfer.check_body(body)
    try:
        yield body
    finally:
        close = getattr(body, "close", None)
        if callable(close):
            close()


def _at_most(body: Body, size: int) -> Iterator[Any]:
    done = 0
    for part in bodies.parts(body, _READ_SIZE):
        done += len(part)
        if done > size:
            raise _too_small(size)
        yield part


def _too_small(size: int) -> exceptions.InvalidSize:
    return exceptions.InvalidSize(f"{size} bytes is smaller than the image")


# What a repeated call is told


def _to_journal(
    outcome: Outcome, source: Source, digests: transfer.Digests | None
) -> dict[str, Any]:
    return {
        "method": outcome.method,
        "location": outcome.location,
        "passed_over": [
            [source.locations.index(verdict.location), verdict.reason]
            for verdict in outcome.passed_over
        ],
        "body": digests and dataclasses.asdict(digests),
    }


def _adopt(draft: Draft, source: Source, settings: Settings) -> Outcome:
    """What the one told who was cut off after it had published the draft."""
    told = draft.outcome
    if told["body"] is not None and source.open_image is not None:
        with _opened(source.open_image) as body:
            digests = transfer.measure(
                body,
                None,
                receiving.ALGORITHM,
                window=settings.transfer_window,
                threads=settings.transfer_threads,
            )
        if dataclasses.asdict(digests) != told["body"]:
            raise exceptions.Duplicate(
                "it was made of another image", spec=draft.pool.spec(draft.name)
            )
    passed_over = tuple(
        cloneable.Verdict(source.locations[index], reason) for index, reason in told["passed_over"]
    )
    return Outcome(told["method"], told["location"], passed_over)
