# SPDX-License-Identifier: Apache-2.0
"""An image's data: read and written, at once or in flight, freed, and where there are any."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import rbd

from rbdstore import driver, exceptions
from rbdstore.completions import Completion, Ended
from rbdstore.drivers.rbd import flights, full, options
from rbdstore.drivers.rbd.handle import Handle

# librbd takes no more than 2 GiB in one discard.
_MOST_AT_ONCE: Final = 1 << 30
# As many objects are asked for their extents at once, so that memory is bounded.
_OBJECTS_AT_ONCE: Final = 4096
# Then librbd asks for each object, in spite of the feature.
_INVALID: Final = rbd.RBD_FLAG_OBJECT_MAP_INVALID | rbd.RBD_FLAG_FAST_DIFF_INVALID
# Where it is false librbd reads what it is given to write, without a copy, until that has ended.
_COPYING: Final = "rbd_disable_zero_copy_writes"


class Data(Handle):
    """An image, as far as its data go."""

    _copying: bool | None = None

    def size(self) -> int:
        with self._calls() as handle:
            return int(handle.size())

    @property
    def object_size(self) -> int:
        with self._calls() as handle:
            return int(handle.stat()["obj_size"])

    def features(self) -> frozenset[str]:
        with self._calls() as handle:
            return options.feature_names(handle.features())

    def read(self, offset: int, length: int) -> bytes:
        with self._calls() as handle:
            length = min(length, handle.size() - offset)
            return bytes(handle.read(offset, length)) if length > 0 else b""

    def aio_read(self, offset: int, length: int) -> Completion[bytes]:
        with self._calls() as handle:
            length = min(length, handle.size() - offset)
            if length <= 0:
                return Ended(b"")
            flight = flights.Reading(self._calls, self.spec, self._connection.user)
            flight.begin(handle.aio_read, offset, length)
            self._flights.add(flight)
        return flight

    def write(self, offset: int, data: bytes | bytearray) -> None:
        # The binding takes nothing else, and librbd copies the data anyway.
        data = data if isinstance(data, bytes) else bytes(data)
        with self._calls() as handle:
            self._check_end(handle, offset + len(data))
            handle.write(data, offset)

    def aio_write(
        self, offset: int, data: bytes | bytearray, done: Callable[[], object] | None = None
    ) -> Completion[None]:
        with self._calls() as handle:
            self._check_end(handle, offset + len(data))
            flight = flights.Writing(self._calls, self.spec, self._connection.user, done)
            # This takes bytearrays, unlike the other.
            if not self._copies(handle):
                data = flight.data = bytes(data)
            flight.begin(handle.aio_write, data, offset)
            self._flights.add(flight)
        return flight

    def _copies(self, handle: rbd.Image) -> bool:
        """Whether librbd copies the data of asynchronous writes; so it is, if nobody changed it.

        An operator may: in ceph.conf, in the monitors, for a pool or for an image.
        """
        if self._copying is None:
            self._copying = False
            with contextlib.suppress(rbd.Error):
                found = {option["name"]: option["value"] for option in handle.config_list()}
                self._copying = found.get(_COPYING) == "true"
        return self._copying

    def _check_end(self, handle: rbd.Image, end: int) -> None:
        # librbd writes what fits before it says that not all did.
        size = handle.size()
        if end > size:
            raise exceptions.InvalidSize(
                f"bytes up to {end} reach beyond its end at {size}", spec=self.spec
            )

    def discard(self, offset: int, length: int) -> None:
        # Not librbd's discard: that leaves alone what is smaller than 64 KiB.
        with self._calls() as handle:
            end = min(offset + length, handle.size())
            for start in range(offset, end, _MOST_AT_ONCE):
                handle.write_zeroes(start, min(_MOST_AT_ONCE, end - start))

    def flush(self) -> None:
        with self._calls() as handle:
            handle.flush()

    def resize(self, size: int, *, allow_shrink: bool = False) -> None:
        with self._calls() as handle:
            present = handle.size()
            if size < present and not allow_shrink:
                raise exceptions.InvalidSize(
                    f"{size} bytes is less than its {present}", spec=self.spec
                )
            if size > present:
                options.check_size(size, handle.stat()["obj_size"], self.spec)
                if handle.features() & options.FEATURES["object-map"]:
                    # librbd would go on without a map, for which there is no room.
                    full.check(self._connection, self.spec, handle)
            handle.resize(size, allow_shrink=allow_shrink)

    def extents(
        self,
        offset: int,
        length: int,
        *,
        from_snap: str | None = None,
        include_parent: bool = True,
        whole_object: bool = False,
    ) -> Iterator[driver.Extent]:
        window = self.object_size * _OBJECTS_AT_ONCE
        end = min(offset + length, self.size())
        while offset < end:
            # Windows end at an object's end.
            stop = min(end, (offset // window + 1) * window)
            found: list[driver.Extent] = []

            def add(start: int, size: int, exists: bool, found: Any = found) -> None:
                found.append(driver.Extent(start, size, bool(exists)))

            with self._calls(from_snap, exceptions.SnapshotNotFound) as handle:
                handle.diff_iterate(
                    offset,
                    stop - offset,
                    from_snap,
                    add,
                    include_parent=include_parent,
                    whole_object=whole_object,
                )
            # Striped images report by object, which is not by offset.
            yield from sorted(found, key=lambda extent: extent.offset)
            offset = stop

    def fast_diff(self) -> bool:
        with self._calls() as handle:
            on = handle.features() & options.FEATURES["fast-diff"]
            return bool(on) and not handle.flags() & _INVALID
