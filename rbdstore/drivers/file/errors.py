# SPDX-License-Identifier: Apache-2.0
"""What SQLite and the file system raise, in this library's terms: one place."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Final

from rbdstore import exceptions
from rbdstore.spec import ImageSpec

# What a failed call means, and how it is told; what the lower library said follows.
Meaning = tuple[type[exceptions.RbdStoreError], str]

_BUSY: Final[Meaning] = (
    exceptions.Timeout,
    "others kept it busy for longer than file_store_timeout",
)
_DAMAGED: Final[Meaning] = (exceptions.ClusterError, "the database is damaged")
_DENIED: Final[Meaning] = (
    exceptions.PermissionDenied,
    "this user may not write to the data directory (file_store_datadir)",
)
_FAILED: Final[Meaning] = (exceptions.ClusterError, "the data directory failed")
_FULL: Final[Meaning] = (exceptions.StorageFull, "the file system of the data directory is full")
_GONE: Final[Meaning] = (exceptions.Unreachable, "the data directory cannot be opened")
_INVALID: Final[Meaning] = (exceptions.InvalidInput, "the database refused a value")
_TOO_LONG: Final[Meaning] = (exceptions.InvalidInput, "the value is too large")

BY_CLASS: Final[Mapping[type[Exception], Meaning]] = {
    sqlite3.Warning: _FAILED,
    sqlite3.Error: _FAILED,
    sqlite3.InterfaceError: _FAILED,
    sqlite3.DatabaseError: _FAILED,
    sqlite3.DataError: _INVALID,
    sqlite3.OperationalError: _FAILED,
    sqlite3.IntegrityError: _FAILED,
    sqlite3.InternalError: _FAILED,
    sqlite3.ProgrammingError: _FAILED,
    sqlite3.NotSupportedError: _FAILED,
}
"""Every exception class of sqlite3."""

BY_RESULT: Final[Mapping[int, Meaning]] = {
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _DENIED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CANTOPEN: _GONE,
    sqlite3.SQLITE_TOOBIG: _TOO_LONG,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
"""What SQLite's result tells more exactly than the exception's class."""

BY_ERRNO: Final[Mapping[int, Meaning]] = {
    errno.EPERM: _DENIED,
    errno.EACCES: _DENIED,
    errno.EROFS: _DENIED,
    errno.EFBIG: _FULL,
    errno.ENOSPC: _FULL,
    errno.ETIMEDOUT: _BUSY,
    errno.EDQUOT: _FULL,
}


@contextlib.contextmanager
def translated(spec: ImageSpec | None = None) -> Iterator[None]:
    """Raise what the block raises in this library's terms."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, OSError, UnicodeEncodeError) as exc:
        raise translate(exc, spec) from exc


def translate(exc: Exception, spec: ImageSpec | None = None) -> exceptions.RbdStoreError:
    """Return the error of ours for one of theirs."""
    number: int | None = None
    if isinstance(exc, OSError):
        number = exc.errno
        kind, text = BY_ERRNO.get(number or 0, _FAILED)
    elif isinstance(exc, UnicodeEncodeError):
        kind, text = _INVALID
    else:
        # Extended results, such as SQLITE_IOERR_WRITE, have the plain one in their lowest byte.
        result = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        by_class = next(BY_CLASS[base] for base in type(exc).__mro__ if base in BY_CLASS)
        kind, text = BY_RESULT.get(result, by_class)
    message = f"{text} ({exc})"
    if issubclass(kind, exceptions.ClusterError):
        return kind(message, spec=spec, errno=number)
    return kind(message, spec=spec)
