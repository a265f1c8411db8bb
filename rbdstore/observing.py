# SPDX-License-Identifier: Apache-2.0
"""What is told of each operation: what it was, how it ended, and what it cost.

An *operation* is a verb of a service that a user of the library calls. What it calls by itself is
a part of it, and told with it. The services know nothing of this: :func:`observed` puts it around
them, when a store is put together.

Each operation is one line of the log, which oslo.log gives the id of the request that it belongs
to; who wants to count them is an :class:`Observer`. Below the services a few things are told that
are no operations: :func:`flattening`, :func:`happened`, :func:`collected`.
"""

from __future__ import annotations

import abc
import builtins
import contextlib
import contextvars
import functools
import inspect
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol, TypeVar, cast

from oslo_log import log

from rbdstore import exceptions, spec
from rbdstore.threads import threading

LOG = log.getLogger(__name__)

OK: Final = "ok"

OTHER: Final = "other"
"""The outcome of what was ended by an exception that is neither ours nor one of Python's."""

NO_OPERATIONS: Final = frozenset({"close", "images.place", "images.uri", "disks.name"})
"""Public names of the services that ask nothing of a cluster."""

LOOKS: Final = frozenset(
    {
        "backups.list",
        "backups.metadata",
        "backups.show",
        "disks.connection_info",
        "disks.exists",
        "disks.get_size",
        "disks.is_cloneable",
        "disks.list",
        "disks.monitors",
        "disks.names",
        "disks.parent",
        "images.check_delete",
        "images.exists",
        "images.get_size",
        "images.list",
        "trash.check_restore",
        "trash.list",
        "volumes.connection_info",
        "volumes.get",
        "volumes.limits",
        "volumes.list",
        "volumes.snapshot_size",
        "volumes.stats",
    }
)
"""Those that change nothing and move no data: services do them all the time, so they are logged
for debugging only."""

# The arguments by which an operation is known. No others are logged: there may be secrets in them.
_KNOWN_BY: Final = frozenset(
    {
        "image",
        "image_id",
        "uri",
        "name",
        "names",
        "volume",
        "disk",
        "instance_uuid",
        "snapshot",
        "source",
        "new_name",
        "backup_id",
        "since",
        "size",
    }
)

# In characters: no name in a cluster is longer, but a wrong one may have any length.
_LONGEST: Final = 255

Event = Literal["connect_retry", "in_use_retry", "lease_lost", "taken_over"]
"""
connect_retry
    no monitor answered a client that connects: it tries again
in_use_retry
    somebody has open what is about to be taken back: it is tried again
lease_lost
    the lease on a name ran out under its holder, which was held up
taken_over
    what somebody had begun, who died or was held up, was finished or taken back
"""

T = TypeVar("T")


class Found(Protocol):
    """What gc has found: :class:`rbdstore.sweepers.findings.Finding`."""

    @property
    def kind(self) -> str: ...

    @property
    def outcome(self) -> str: ...


class Observer:
    """Who is told; of all, by any thread, and at once. One that fails is told no more."""

    def ended(self, operation: Operation) -> None:
        """An operation has ended."""

    def flattening(self, backend: str, more: int) -> None:
        """So many more flattens are running, or fewer."""

    def happened(self, event: Event) -> None:
        """Something that is worth counting."""

    def collected(self, backend: str, findings: Iterable[Found]) -> None:
        """gc has made a pass."""


_observers: tuple[Observer, ...] = ()


def add(observer: Observer) -> None:
    """Tell an observer of what is to come."""
    global _observers
    _observers = (*_observers, observer)


def remove(observer: Observer) -> None:
    """Tell it no more."""
    global _observers
    _observers = tuple(each for each in _observers if each is not observer)


def _tell(what: Callable[[Observer], object], among: tuple[Observer, ...] | None = None) -> None:
    for observer in _observers:
        if among is not None and observer not in among:
            continue
        try:
            what(observer)
        except Exception:
            # No operation is to fail because it cannot be counted: the disk may be full.
            LOG.warning("%r failed, and is told no more", observer, exc_info=True)
            remove(observer)


class Operation:
    """An operation that has begun.

    :ivar name: service and verb: ``volumes.clone``
    :ivar backend: where
    :ivar read: how many bytes were read from the cluster
    :ivar written: how many were written to it; what is zeros is not
    :ivar outcome: ``ok``, or which error ended it; empty: it goes on
    :ivar detail: what there is to say of a success
    :ivar seconds: how long it took
    """

    def __init__(self, name: str, backend: str, about: Mapping[str, object]) -> None:
        self.name = name
        self.backend = backend
        self.read = self.written = 0
        self.outcome = ""
        self.detail = ""
        self.seconds = 0.0
        self._about = about
        # What it does to many things it does in several threads.
        self._lock = threading.Lock()
        self._begun = time.perf_counter()

    def add_read(self, count: int) -> None:
        with self._lock:
            self.read += count

    def add_written(self, count: int) -> None:
        with self._lock:
            self.written += count

    def end(self, error: BaseException | None = None) -> None:
        """Tell how it ended. Once it has, no more is told of it."""
        with self._lock:
            if self.outcome:
                return
            self.outcome = OK if error is None else _outcome(error)
        self.seconds = time.perf_counter() - self._begun
        LOG.log(log.DEBUG if self.name in LOOKS else log.INFO, "%s", self)
        _tell(lambda observer: observer.ended(self))

    def __str__(self) -> str:
        """In one line, whatever the names are."""
        about = "".join(f" {name}={_shown(name, value)}" for name, value in self._about.items())
        line = f"{self.name}{about} in {self.backend or 'a store'}: {self.outcome}"
        line += f" in {self.seconds:.3f} s"
        moved = [(self.read, "read"), (self.written, "written")]
        line += "".join(f", {count} bytes {what}" for count, what in moved if count)
        return f"{line}, {self.detail}" if self.detail else line


_current: contextvars.ContextVar[Operation | None] = contextvars.ContextVar(
    "rbdstore_operation", default=None
)

# In a child process what its parent was at, when it forked, is nobody's.
os.register_at_fork(after_in_child=lambda: _current.set(None))


class Stream(abc.ABC):
    """What an operation may return that it goes on with."""

    @abc.abstractmethod
    def follow(self, count: Callable[[int], object], end: Ending | None = None) -> None:
        """Tell how many bytes are read, and, once, of the end of it."""


Ending = Callable[[BaseException | None], object]


def read(count: int) -> None:
    """Bytes were read from the cluster; by whatever operation is at work here, if any is."""
    if operation := _current.get():
        operation.add_read(count)


def written(count: int) -> None:
    """The same of what is written to it."""
    if operation := _current.get():
        operation.add_written(count)


def happened(event: Event) -> None:
    _tell(lambda observer: observer.happened(event))


def collected(backend: str, findings: Iterable[Found]) -> None:
    _tell(lambda observer: observer.collected(backend, findings))


@contextlib.contextmanager
def flattening(backend: str) -> Iterator[None]:
    """While an image is being flattened by this process, or by the cluster for it."""
    # Who comes later is not told of the end of what he was not told the beginning of.
    observers = _observers
    _tell(lambda observer: observer.flattening(backend, 1))
    try:
        yield
    finally:
        _tell(lambda observer: observer.flattening(backend, -1), among=observers)


@contextlib.contextmanager
def operation(name: str, backend: str) -> Iterator[Operation]:
    """What is no verb of a service, but an operation all the same, while the block lasts."""
    found = Operation(name, backend, {})
    token = _current.set(found)
    try:
        yield found
    except BaseException as error:
        found.end(error)
        raise
    finally:
        _current.reset(token)
    found.end()


def observed(service: type[T], noun: str) -> type[T]:
    """A class that is the same service, and tells of its operations."""
    verbs = {
        verb: _verb(f"{noun}.{verb}", do)
        for verb, do in inspect.getmembers(service, inspect.isfunction)
        if not verb.startswith("_") and NO_OPERATIONS.isdisjoint((verb, f"{noun}.{verb}"))
    }
    names = ("__module__", "__qualname__", "__doc__")
    same = {name: getattr(service, name) for name in names}
    return cast(type[T], type(service.__name__, (service,), {**same, **verbs}))


def _verb(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(do).parameters)[1:]

    @functools.wraps(do)
    def verb(self: Any, *args: Any, **options: Any) -> Any:
        if _current.get() is not None:
            return do(self, *args, **options)
        # By whatever names they were given. Not all: a body is not to be kept.
        given = dict(zip(parameters, args, strict=False)) | options
        about = {
            each: given[each] for each in given if each in _KNOWN_BY and given[each] is not None
        }
        found = Operation(name, self._settings.backend, about)
        token = _current.set(found)
        try:
            result = do(self, *args, **options)
        except BaseException as error:
            found.end(error)
            raise
        finally:
            _current.reset(token)
        if isinstance(result, Stream):
            result.follow(found.add_read, found.end)
        elif isinstance(result, contextlib.AbstractContextManager):
            return _during(found, result)
        else:
            found.detail = _detail(result)
            found.end()
        return result

    return verb


@contextlib.contextmanager
def _during(found: Operation, manager: contextlib.AbstractContextManager[T]) -> Iterator[T]:
    """A result that is there for as long as a block lasts."""
    try:
        with manager as result:
            if isinstance(result, Stream):
                result.follow(found.add_read)
            yield result
    except BaseException as error:
        found.end(error)
        raise
    found.end()


def _detail(result: object) -> str:
    """How a thing was made, where there are several ways; how large it is; how many have gone."""
    way = getattr(result, "method", None) or getattr(result, "kind", None)
    size, purged = getattr(result, "size", None), getattr(result, "purged", None)
    told = ((way, f"{way}"), (size, f"size {size}"), (purged, f"{len(purged or ())} purged"))
    return ", ".join(text for value, text in told if value)


def _outcome(error: BaseException) -> str:
    """Of a bounded number: users' own exceptions may have any name."""
    for each in type(error).__mro__:
        if each.__module__ in (exceptions.__name__, builtins.__name__):
            return each.__name__ if each is not BaseException and each is not Exception else OTHER
    return OTHER


def _shown(name: str, value: object) -> str:
    # There may be a password in a location of another kind, wherever it is given.
    if name == "uri":
        try:
            return spec.Location.parse(value).image
        except exceptions.InvalidLocation:
            return "?"
    with contextlib.suppress(ValueError):
        # Python refuses to write out a number of thousands of digits.
        if "://" in str(value):
            return "?"
    if isinstance(value, list | tuple):
        return f"{len(value)}:{exceptions.shown(value)}"
    if isinstance(value, str) and len(value) <= _LONGEST and " " not in value:
        plain = str.__str__(value)
        if spec.is_plain(plain):
            return plain
    return exceptions.shown(value)
