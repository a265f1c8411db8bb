# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image or of a snap: objects, and below them, where there are none, a parent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator


class Layer:
    """An image's data as they are, or as they were at a snap.

    An object that is there, be it empty, hides the parent's data. It may be shorter than
    ``object_size``; what is missing at its end is zeros.
    """

    def __init__(
        self,
        size: int,
        object_size: int,
        objects: dict[int, bytes] | None = None,
        below: Below | None = None,
    ) -> None:
        self.size = size
        self.object_size = object_size
        self.objects = objects or {}
        self.below = below

    def copy(self) -> Layer:
        return Layer(self.size, self.object_size, dict(self.objects), self.below)

    def clear(self) -> None:
        """Forget everything: who still has it open reads zeros from here on."""
        self.objects = {}
        self.below = None

    def read(self, offset: int, length: int) -> bytes:
        parts = []
        for number, start, stop in self._pieces(offset, length):
            piece = self.object(number)[start:stop]
            parts.append(piece + bytes(stop - start - len(piece)))
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        done = 0
        for number, start, stop in self._pieces(offset, len(data)):
            content = bytearray(self.object(number))
            content += bytes(max(0, start - len(content)))
            content[start:stop] = data[done : done + stop - start]
            self.objects[number] = bytes(content)
            done += stop - start

    def zero(self, offset: int, length: int) -> None:
        for number, start, stop in self._pieces(offset, length):
            if not self.has(number):
                continue
            kept = self.object(number)
            rest = kept[stop:]
            self.objects[number] = kept[:start] + bytes(stop - start if rest else 0) + rest

    def resize(self, size: int) -> None:
        if size < self.size:
            for number in [each for each in self.objects if each * self.object_size >= size]:
                del self.objects[number]
            last, length = divmod(size, self.object_size)
            if last in self.objects:
                self.objects[last] = self.objects[last][:length]
            if self.below is not None:
                # What was cut off stays zeros when the image grows again.
                self.below = dataclasses.replace(self.below, overlap=min(self.below.overlap, size))
        self.size = size

    def object(self, number: int) -> bytes:
        """An object's content, the parent's where there is none."""
        if number in self.objects:
            return self.objects[number]
        start, stop = self._shared(number)
        if self.below is None or not self.has(number):
            return b""
        return self.below.layer.read(start, stop - start)

    def has(self, number: int) -> bool:
        """Whether there are any data in an object, here or in the parent."""
        if number in self.objects:
            return bool(self.objects[number])
        start, stop = self._shared(number)
        if self.below is None or start >= stop:
            return False
        size = self.below.layer.object_size
        return any(self.below.layer.has(each) for each in range(start // size, -(-stop // size)))

    def copy_up(self, number: int) -> None:
        """Make an object independent of the parent."""
        if number not in self.objects and self.has(number):
            self.objects[number] = self.object(number)

    def flatten(self) -> None:
        for number in self.shared_objects():
            self.copy_up(number)
        self.below = None

    def shared_objects(self) -> range:
        """The objects that the parent's data may reach into."""
        return range(-(-self.below.overlap // self.object_size) if self.below else 0)

    def count(self) -> int:
        """How many objects the image's size makes."""
        return -(-self.size // self.object_size)

    def _shared(self, number: int) -> tuple[int, int]:
        start = number * self.object_size
        overlap = self.below.overlap if self.below else 0
        return start, min(start + self.object_size, overlap)

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Cut a stretch at the objects: the number of each, and where in it to start and stop."""
        end = offset + length
        while offset < end:
            number, start = divmod(offset, self.object_size)
            stop = min(self.object_size, start + end - offset)
            yield number, start, stop
            offset += stop - start


@dataclasses.dataclass(frozen=True)
class Below:
    """The parent's data, of which the first ``overlap`` bytes are shared.

    :ivar snap_id: the snap they are of
    """

    layer: Layer
    overlap: int
    snap_id: int
