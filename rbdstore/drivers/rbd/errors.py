# SPDX-License-Identifier: Apache-2.0
"""What librados and librbd raise, in this library's terms: one table, one place.

The two bindings have unrelated trees of exceptions, whose ``OSError``, ``PermissionError`` and the
like are not Python's. Which thing was not found, the exception does not tell; the caller does.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping
from typing import Final

import rados
import rbd

from rbdstore import caps, exceptions
from rbdstore.drivers.rbd import decoding
from rbdstore.spec import ImageSpec

# What a failed call means, and how it is told. A text that says all there is to say stands alone;
# the others are followed by what the lower library said.
Meaning = tuple[type[exceptions.RbdStoreError], str]

_BUSY: Final[Meaning] = (exceptions.InUse, "in use")
_CANCELLED: Final[Meaning] = (exceptions.ClusterError, "the operation was cancelled")
_CUT_OFF: Final[Meaning] = (
    exceptions.Unreachable,
    "the connection is closed: the cluster blocklisted this client, or it was shut down",
)
_DENIED: Final[Meaning] = (exceptions.PermissionDenied, "not permitted")
_FAILED: Final[Meaning] = (exceptions.ClusterError, "the cluster failed")
_FULL: Final[Meaning] = (exceptions.StorageFull, "the cluster or the pool is full")
_INVALID: Final[Meaning] = (exceptions.InvalidInput, "the cluster refused an argument")
_MISSING: Final[Meaning] = (exceptions.NotFound, "not found")
_QUOTA: Final[Meaning] = (exceptions.StorageFull, "the pool's quota is reached")
_READ_ONLY: Final[Meaning] = (exceptions.ReadOnly, "opened read-only, or not to be written")
_TAKEN: Final[Meaning] = (exceptions.Duplicate, "the name is taken")
_TOO_LONG: Final[Meaning] = (exceptions.InvalidName, "the name is too long")
_UNKNOWN: Final[Meaning] = (
    exceptions.Timeout,
    "no answer in time; it may have been done, or may still be",
)
_UNSUPPORTED: Final[Meaning] = (exceptions.NotSupported, "the cluster, or the image, cannot do it")

BY_CLASS: Final[Mapping[type[Exception], Meaning]] = {
    rados.Error: _FAILED,
    rados.OSError: _FAILED,
    rados.ConnectionShutdown: _CUT_OFF,
    rados.ExtendMismatch: _FAILED,
    rados.InProgress: _FAILED,
    rados.InterruptedOrTimeoutError: _UNKNOWN,
    rados.InvalidArgumentError: _INVALID,
    rados.IOError: _FAILED,
    rados.IoctxStateError: _CUT_OFF,
    rados.IsConnected: _FAILED,
    rados.LogicError: _FAILED,
    rados.NoData: _MISSING,
    rados.NoSpace: _FULL,
    rados.NotConnected: _CUT_OFF,
    rados.ObjectBusy: _BUSY,
    rados.ObjectExists: _TAKEN,
    rados.ObjectNotFound: _MISSING,
    rados.ObjectStateError: _FAILED,
    rados.PermissionDeniedError: _DENIED,
    rados.PermissionError: _DENIED,
    rados.RadosStateError: _CUT_OFF,
    rados.TimedOut: _UNKNOWN,
    rbd.Error: _FAILED,
    rbd.OSError: _FAILED,
    rbd.ArgumentOutOfRange: _INVALID,
    rbd.ConnectionShutdown: _CUT_OFF,
    rbd.DiskQuotaExceeded: _QUOTA,
    rbd.FunctionNotSupported: _UNSUPPORTED,
    rbd.ImageBusy: _BUSY,
    rbd.ImageExists: _TAKEN,
    rbd.ImageHasSnapshots: (exceptions.InUse, "has snapshots"),
    rbd.ImageNotFound: _MISSING,
    rbd.IncompleteWriteError: _FAILED,
    rbd.InvalidArgument: _INVALID,
    rbd.IOError: _FAILED,
    rbd.LogicError: _FAILED,
    rbd.NoSpace: _FULL,
    rbd.ObjectExists: _TAKEN,
    rbd.ObjectNotFound: _MISSING,
    rbd.OperationCanceled: _CANCELLED,
    rbd.OperationNotSupported: _UNSUPPORTED,
    rbd.PermissionError: _DENIED,
    rbd.ReadOnlyImage: _READ_ONLY,
    rbd.Timeout: _UNKNOWN,
}
"""Every exception class of both bindings."""

BY_ERRNO: Final[Mapping[int, Meaning]] = {
    errno.EPERM: _DENIED,
    errno.ENOENT: _MISSING,
    errno.EINTR: _UNKNOWN,
    errno.EACCES: _DENIED,
    errno.EBUSY: _BUSY,
    errno.EEXIST: _TAKEN,
    errno.EINVAL: _INVALID,
    errno.ENOSPC: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.ENAMETOOLONG: _TOO_LONG,
    errno.ENOSYS: _UNSUPPORTED,
    errno.EOPNOTSUPP: _UNSUPPORTED,
    errno.ENOTCONN: _CUT_OFF,
    errno.ESHUTDOWN: _CUT_OFF,
    errno.ETIMEDOUT: _UNKNOWN,
    errno.EDQUOT: _QUOTA,
    errno.ECANCELED: _CANCELLED,
    errno.EUCLEAN: (exceptions.InUse, "half-way into the trash, or out of it"),
}
"""What the bindings have no class for comes as a bare ``OSError``, and so do failed commands."""

_BARE: Final = (rados.Error, rados.OSError, rbd.Error, rbd.OSError)
_SELF_EXPLAINING: Final = (_TAKEN, _QUOTA, _FULL, _READ_ONLY)
_NOUNS: Final[Mapping[type[exceptions.NotFound], str]] = {
    exceptions.PoolNotFound: "no such pool or namespace",
    exceptions.ImageNotFound: "no such image",
    exceptions.SnapshotNotFound: "no such snapshot",
}


@contextlib.contextmanager
def translated(
    spec: ImageSpec | None = None,
    *,
    missing: type[exceptions.NotFound] = exceptions.ImageNotFound,
    user: str = "",
    pool: str = "",
    reads: bool = False,
) -> Iterator[None]:
    """Raise what the block raises in this library's terms.

    :param missing: what it is that was not found, if something was not
    :param user: the cluster's user, for the text of a lacking capability
    :param pool: the pool it is lacking in; default: the one of ``spec``
    :param reads: it is enough to be allowed to read there
    """
    try:
        yield
    except (rados.Error, rbd.Error) as exc:
        raise translate(exc, spec, missing=missing, user=user, pool=pool, reads=reads) from exc
    except decoding.Unreadable as exc:
        raise exceptions.ClusterError(
            f"an object of the cluster{f', in pool {pool},' if pool else ''} holds what Ceph does "
            f"not write ({exc})",
            spec=spec,
        ) from exc
    except (OverflowError, UnicodeEncodeError) as exc:
        # What the bindings cannot hand on to the library below.
        raise exceptions.InvalidInput(f"an argument is out of range ({exc})", spec=spec) from exc
    except UnicodeDecodeError as exc:
        # The bindings take every name for UTF-8, and fail for a whole list because of one.
        raise exceptions.ClusterError(
            f"there is a name that is not UTF-8 ({exc}); rename it with the rbd command", spec=spec
        ) from exc


def translate(
    exc: Exception,
    spec: ImageSpec | None = None,
    *,
    missing: type[exceptions.NotFound] = exceptions.ImageNotFound,
    user: str = "",
    pool: str = "",
    reads: bool = False,
) -> exceptions.RbdStoreError:
    """Return the error of ours for one of theirs."""
    number = _errno(exc)
    if type(exc) in _BARE:
        meaning = BY_ERRNO.get(number or 0, BY_CLASS[type(exc)])
    else:
        meaning = next(BY_CLASS[base] for base in type(exc).__mro__ if base in BY_CLASS)
    if meaning is _DENIED:
        pool = pool or (spec.pool if spec else "")
        return denied(user, spec, pool, caps.reading(pool) if reads and pool else None)
    return _made(meaning, str(exc), number, spec, missing)


def from_errno(
    number: int,
    message: str,
    spec: ImageSpec | None = None,
    *,
    missing: type[exceptions.NotFound] = exceptions.NotFound,
    user: str = "",
    service: caps.Service = "osd",
) -> exceptions.RbdStoreError:
    """Return the error for what a command gave back: they return numbers of either sign.

    :param service: whom it was given to
    """
    number = abs(number)
    meaning = BY_ERRNO.get(number, _FAILED)
    if meaning is _DENIED:
        return denied(user, spec, spec.pool if spec else "", service=service)
    return _made(meaning, message, number, spec, missing)


def denied(
    user: str,
    spec: ImageSpec | None,
    pool: str,
    cap: str | None = None,
    *,
    service: caps.Service = "osd",
) -> exceptions.PermissionDenied:
    """The error that tells what an operator can do about a lacking capability.

    :param cap: the one that is lacking; default: to write in the pool
    """
    user = user or "admin"
    if cap is None:
        cap = caps.writing(pool) if pool and service != "mon" else caps.MONITORS
    where = f" in pool {pool}" if pool else ""
    return exceptions.PermissionDenied(
        f"client.{user} may not do this{where}: it lacks the {service} capability `{cap}`",
        spec=spec,
        mend=caps.line(user, service, cap),
    )


def _made(
    meaning: Meaning,
    said: str,
    number: int | None,
    spec: ImageSpec | None,
    missing: type[exceptions.NotFound],
) -> exceptions.RbdStoreError:
    kind, text = meaning
    if kind is exceptions.NotFound:
        return missing(_NOUNS.get(missing, f"{text} ({said})"), spec=spec)
    message = text if meaning in _SELF_EXPLAINING else f"{text} ({said})"
    if issubclass(kind, exceptions.ClusterError):
        return kind(message, spec=spec, errno=number)
    return kind(message, spec=spec)


def _errno(exc: Exception) -> int | None:
    number = getattr(exc, "errno", None)
    return abs(number) if isinstance(number, int) else None
