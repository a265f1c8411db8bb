# SPDX-License-Identifier: Apache-2.0
"""Reads and writes that librbd is at work on.

Of their ends a thread of librbd's tells, of one after the other. It loses the exceptions of what
it calls, and where that waits, everything of the image waits.
"""

from __future__ import annotations

import abc
import atexit
import contextlib
import os
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from rbdstore import exceptions
from rbdstore.completions import Completion
from rbdstore.drivers.rbd import errors
from rbdstore.spec import ImageSpec
from rbdstore.threads import threading

T = TypeVar("T")

# How long a process that ends without closing its images waits for the cluster.
_EXIT_SECONDS: Final = 10

Calls = Callable[[], contextlib.AbstractContextManager[Any]]
"""Surrounds what needs the image's handle, and raises where that may not be used any more."""


class Flight(Completion[T], abc.ABC, Generic[T]):
    """One of them. librbd keeps it, and with it the buffer it reads into, until it has ended."""

    def __init__(
        self, calls: Calls, spec: ImageSpec, user: str, done: Callable[[], object] | None = None
    ) -> None:
        self._calls = calls
        self._spec = spec
        self._user = user
        self._done = done
        self._pid = os.getpid()
        self._ended = threading.Event()
        self._completion: Any = None
        self._number = 0
        self._data = b""

    def begin(self, operation: Callable[..., Any], *arguments: Any) -> None:
        """Call a method of the binding's that takes :meth:`end` last."""
        _begun.add(self)
        self._completion = operation(*arguments, self.end)

    def end(self, _completion: Any, data: bytes | None = None) -> None:
        """Called by librbd's thread."""
        if data is not None:
            self._data = data
        self._ended.set()
        if self._done is not None:
            self._done()

    def wait(self) -> None:
        if self._pid != os.getpid():
            # librbd's threads have not come along into this child process.
            return
        # An interrupt gets through here, but not through librbd's own wait, which then is short:
        # until its thread has left end().
        self._ended.wait()
        completion = self._completion
        if completion is not None:
            completion.wait_for_complete_and_cb()
            self._number = completion.get_return_value()
            # It refers to this object, too, and the two would keep the data.
            self._completion = None

    def result(self) -> T:
        with self._calls():
            self.wait()
            if self._number < 0:
                raise errors.from_errno(
                    self._number,
                    "an asynchronous operation failed",
                    self._spec,
                    missing=exceptions.ImageNotFound,
                    user=self._user,
                )
        return self._given()

    def land(self, until: float) -> None:
        """Wait for its end, but not for ever."""
        if self._pid == os.getpid() and self._ended.wait(max(0, until - time.monotonic())):
            self.wait()

    @abc.abstractmethod
    def _given(self) -> T: ...


class Reading(Flight[bytes]):
    def _given(self) -> bytes:
        # What librbd did not read, because the image has become shorter, is not the image's.
        return self._data[: self._number]


class Writing(Flight[None]):
    """:ivar data: what librbd reads until it has ended, where it makes no copy"""

    data = b""

    def end(self, _completion: Any, data: bytes | None = None) -> None:
        self.data = b""
        super().end(_completion, data)

    def _given(self) -> None:
        return None


_begun: weakref.WeakSet[Flight[Any]] = weakref.WeakSet()


@atexit.register
def _land() -> None:
    # A thread of librbd's that calls back while the interpreter is taken down aborts the process.
    until = time.monotonic() + _EXIT_SECONDS
    for flight in list(_begun):
        flight.land(until)
