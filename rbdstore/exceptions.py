# SPDX-License-Identifier: Apache-2.0
"""Every error this library raises on purpose.

::

    RbdStoreError
     +-- ConfigError             an option, a driver or a file it names is wrong
     +-- InvalidInput            the caller's argument is wrong; nothing was created
     |    +-- InvalidName
     |    +-- InvalidSize
     |    +-- InvalidLocation    not an rbd:// location of this backend
     |    +-- InvalidBody        the data is short, long, or not bytes
     |         +-- FormatMismatch     of another format than was declared
     |         +-- UnsafeImage        it reaches for what is not in it: a backing file, a data file
     |         +-- BrokenImage        cut off, or damaged
     |         +-- BrokenStream       a diff that is cut off, or not as its format says
     +-- NotFound
     |    +-- PoolNotFound
     |    +-- ImageNotFound
     |    +-- SnapshotNotFound
     |    +-- BackupNotFound
     +-- Duplicate               the name is taken, or being made by somebody else
     +-- InUse                   children, snapshots, watchers or another operation hold it
     +-- NotCloneable            copy-on-write cannot work here; copy instead
     +-- NotSupported            the driver, or the cluster, cannot do this
     +-- ConversionFailed        qemu-img could not convert an image, or not within its limits
     +-- PermissionDenied        the cluster's user lacks a capability
     +-- ReadOnly
     +-- StorageFull             the cluster or pool is full, or its quota is reached
     +-- BrokenBackup            what is kept of a backup is damaged, or is missing
     +-- Vanished                the source was removed while it was being read
     +-- ClusterError            the cluster did not do what was asked
          +-- Unreachable        no connection, or it was cut off
          +-- Timeout            no answer in time: done or not, nobody knows
          +-- LeaseLost          a lease ran out before the operation was finished

Each carries the :class:`~rbdstore.spec.ImageSpec` it is about as ``spec``, where there is one.
"""

from __future__ import annotations

import reprlib
import typing
from collections.abc import Sequence

if typing.TYPE_CHECKING:
    from rbdstore.spec import ImageSpec


class RbdStoreError(Exception):
    """The root of the tree."""

    def __init__(self, message: str, *, spec: ImageSpec | None = None) -> None:
        super().__init__(f"{spec}: {message}" if spec is not None else message)
        self.spec = spec


class ConfigError(RbdStoreError):
    """An option, a driver or a file it names is wrong. The text names section, option and mend."""


class InvalidInput(RbdStoreError, ValueError):
    """The caller's argument is wrong. Nothing was created or changed."""


class InvalidName(InvalidInput):
    """A name that this library, or the ``rbd`` command, could not address."""


class InvalidSize(InvalidInput):
    """A size that is not a whole number of bytes, is out of range, or would lose data."""


class InvalidLocation(InvalidInput):
    """Not an ``rbd://`` location, or one of another cluster or pool."""


class InvalidBody(InvalidInput):
    """The image data is shorter or longer than promised, or is not bytes."""


class FormatMismatch(InvalidBody):
    """The image is of another format than was declared, or looks as if it were of several."""


class UnsafeImage(InvalidBody):
    """The image has a backing file, a data file, or another feature that is not allowed."""


class BrokenImage(InvalidBody):
    """The image's headers are cut off or damaged."""


class BrokenStream(InvalidBody):
    """A stream of a backup that is cut off, or is not as its format says."""


class NotFound(RbdStoreError):
    """There is no such thing."""


class PoolNotFound(NotFound):
    """There is no such pool or namespace."""


class ImageNotFound(NotFound):
    """There is no such image, volume or disk."""


class SnapshotNotFound(NotFound):
    """There is no such snapshot."""


class BackupNotFound(NotFound):
    """There is no such backup."""


class Duplicate(RbdStoreError):
    """The name is taken, or is being made by somebody else right now."""


class InUse(RbdStoreError):
    """Something holds it, and the text says what to do about each holder.

    :ivar children: specs of images cloned from it
    :ivar snapshots: names of snapshots on it
    :ivar watchers: addresses of clients that have it open for writing
    """

    def __init__(
        self,
        message: str = "in use",
        *,
        spec: ImageSpec | None = None,
        children: Sequence[ImageSpec] = (),
        snapshots: Sequence[str] = (),
        watchers: Sequence[str] = (),
    ) -> None:
        self.children = tuple(children)
        self.snapshots = tuple(snapshots)
        self.watchers = tuple(watchers)
        reasons = [message]
        if children:
            reasons.append(f"cloned by {_some(children)} (delete or flatten the clones first)")
        if snapshots:
            reasons.append(f"has snapshots {_some(snapshots)} (delete them first)")
        if watchers:
            reasons.append(f"opened by {_some(watchers)} (detach it there, or wait until it ends)")
        super().__init__("; ".join(reasons), spec=spec)


class NotCloneable(RbdStoreError):
    """Copy-on-write cannot work between these two; a full copy can."""


class NotSupported(RbdStoreError):
    """The driver, or the cluster behind it, cannot do this."""


class ConversionFailed(RbdStoreError):
    """qemu-img could not convert an image, or not within its limits. The text says why."""


class PermissionDenied(RbdStoreError):
    """The user that the backend connects as lacks a capability. The text says which to grant.

    :ivar lacking: what it may not do, and what it lacks
    :ivar mend: the line for an operator's shell that grants it; empty: not known
    """

    def __init__(self, message: str, *, spec: ImageSpec | None = None, mend: str = "") -> None:
        self.lacking = message
        self.mend = mend
        if mend:
            message += f", which is added to those it has by `{mend}`"
        super().__init__(message, spec=spec)


class ReadOnly(RbdStoreError):
    """The image was opened read-only, or cannot be written."""


class StorageFull(RbdStoreError):
    """The cluster or the pool is full, or a quota is reached."""


class BrokenBackup(RbdStoreError):
    """What is kept of a backup is damaged, or is missing. The text says what."""


class Vanished(RbdStoreError):
    """The source was removed while it was being read, so what was read cannot be trusted."""


class ClusterError(RbdStoreError):
    """The cluster did not do what was asked.

    :ivar errno: the positive error number that the lower library gave, or None
    """

    def __init__(
        self, message: str, *, spec: ImageSpec | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message, spec=spec)
        self.errno = errno


class Unreachable(ClusterError):
    """The cluster cannot be reached, refused the user's key, or has cut this client off."""


class Timeout(ClusterError):
    """No answer within the limit. Whether it was done is *unknown*; look before you repeat it."""


class LeaseLost(ClusterError):
    """This process was held up for so long that its lease on a name ran out."""


def shown(value: object) -> str:
    """A wrong argument for the text of an error: short, and in one line."""
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:
        # Python refuses to write out a number of thousands of digits.
        return f"a {type(value).__name__} that is too long to be shown"


def _some(things: Sequence[object], most: int = 5) -> str:
    shown = ", ".join(str(thing) for thing in things[:most])
    return shown if len(things) <= most else f"{shown} and {len(things) - most} more"
