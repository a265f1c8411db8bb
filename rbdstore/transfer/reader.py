# SPDX-License-Identifier: Apache-2.0
"""Reading an image as a stream, and knowing at the end that it was there all the time."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Self

from rbdstore import exceptions, observing
from rbdstore.closing import Closing
from rbdstore.driver import Image
from rbdstore.settings import TRANSFER_WINDOW
from rbdstore.threads import threading
from rbdstore.transfer import reads


class Reader(Closing, observing.Stream):
    """The data of an image, as an iterator of bytes that closes itself.

    :ivar size: how many bytes it gives in all
    """

    def __init__(
        self,
        image: Image,
        snap_id: int | None,
        offset: int,
        size: int,
        *,
        window: int = TRANSFER_WINDOW,
    ) -> None:
        """Take over ``image``, which is set to the snap ``snap_id`` (None: to none)."""
        self.size = size
        self._image = image
        self._snap_id = snap_id
        self._done = False
        self._end: observing.Ending | None = None
        self._user = threading.local()
        self._user.is_here = True
        self._reads = reads.drain(image, offset, size, window=window)
        self._pieces: Iterator[bytes] = self._reads

    def follow(self, count: Callable[[int], object], end: observing.Ending | None = None) -> None:
        """Tell how many bytes are read, and of the end: with the error, if it was one."""
        self._reads.count = count
        self._end = end

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        self._user.is_here = True
        try:
            with self._vanishing():
                piece = next(self._pieces, None)
                if piece is None:
                    self._check_still_there()
        except BaseException as error:
            self._stop()
            self._tell(error)
            raise
        if piece is None:
            self.close()
            raise StopIteration
        return piece

    def close(self) -> None:
        """Stop reading. Also done at the end, and when the iterator is forgotten."""
        self._stop()
        self._tell(None)

    def _stop(self) -> None:
        self._done = True
        self._image.close()
        # What has been read ahead may be a whole window.
        self._pieces = iter(())

    def _tell(self, error: BaseException | None) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(error)

    def __del__(self) -> None:
        if sys.is_finalizing():
            self._stop()
            return
        if hasattr(self._user, "is_here"):
            self._stop()
        if not self._done or self._end is not None:
            # The garbage is collected by any thread, also by the one that tells of the ends of
            # reads: to close is to wait for those. And in the middle of anything: whoever is told
            # of the end may be just that.
            threading.Thread(target=self.close, name="rbdstore-close").start()

    def _check_still_there(self) -> None:
        image = self._image
        if self._snap_id is not None:
            if not image.still_has(self._snap_id):
                raise exceptions.SnapshotNotFound("no such snapshot", spec=image.spec)
            return
        # A removal takes the data first and the image last, but before that the name.
        if image.pool.trash_get(image.id) is not None:
            raise exceptions.ImageNotFound("no such image", spec=image.spec)
        image.pool.open(image_id=image.id).close()

    @contextlib.contextmanager
    def _vanishing(self) -> Iterator[None]:
        # Drivers that notice it say so; librbd gives zeros, hence the look at the end.
        try:
            yield
        except exceptions.NotFound as error:
            raise exceptions.Vanished(
                "it was deleted while it was read; what was read cannot be trusted",
                spec=self._image.spec,
            ) from error
