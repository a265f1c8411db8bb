# SPDX-License-Identifier: Apache-2.0
"""Names: of images in the cluster, of locations, and of everything this library writes.

Every name that is found on disk is made here, so that this file is the whole list of them.

=================================  ===============================================================
``<image id>``                     a Glance image; its snapshot ``snap`` is what gets cloned
``<instance uuid>_disk``           a Nova instance's disk; more have ``.local``, ``.swap``, ...
``<name>.<random>.partial``        an image, volume or disk being made; renamed when it is whole
``<name>.deleted``                 a deleted volume that clones need (clone format 1, Cinder's)
``<volume>.clone_snap``            snapshot a volume was cloned from (clone format 1, Cinder's)
``rbdstore.clone.<random>``        snapshot volumes were cloned from (clone format 2)
``rbdstore.deleted.<snap id>``     a user's deleted snapshot that clones still need
``rbdstore.export.<random>.<id>``  snapshot of a volume or disk that is becoming that image
``rbdstore.backup.<store>.<id>``   snapshot of a volume that a backup in that store was made of
``<volume>.backup.<id>``           what that full backup, and its increments, are in (Cinder's)
``backup.<id>.snap.<time>``        snapshot of it: a backup (Cinder's)
``backup.<id>.meta``               object: what Cinder knew of the volume (Cinder's)
``rbdstore.backup.<id>``           object: what is in a backup, and how it reads
``rbdstore.backups``               object: which backups there are
``rbdstore.lease.<name>``          object: who makes, renames or deletes that name, and how far
``rbdstore.image.<image id>``      object: what was cloned from that image, and if it is deleted
``rbdstore.probe.<random>``        what ``rbdstore doctor`` tries things with: there are drafts of
                                   it, and its lease, while that is at work; no image ever has it
=================================  ===============================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
import urllib.parse
import uuid
from collections.abc import Iterable
from typing import Final, Self

from rbdstore import exceptions

IMAGE_SNAP: Final = "snap"
RESIZE_SNAP: Final = "nova-resize"
PARTIAL_SUFFIX: Final = ".partial"
DELETED_SUFFIX: Final = ".deleted"
CLONE_SNAP_SUFFIX: Final = ".clone_snap"
RESERVED_PREFIX: Final = "rbdstore."
CLONE_SNAP_PREFIX: Final = RESERVED_PREFIX + "clone."
DELETED_SNAP_PREFIX: Final = RESERVED_PREFIX + "deleted."
EXPORT_SNAP_PREFIX: Final = RESERVED_PREFIX + "export."
BACKUP_PREFIX: Final = RESERVED_PREFIX + "backup."
BACKUP_INDEX: Final = RESERVED_PREFIX + "backups"
LEASE_PREFIX: Final = RESERVED_PREFIX + "lease."
RECORD_PREFIX: Final = RESERVED_PREFIX + "image."
PROBE_PREFIX: Final = RESERVED_PREFIX + "probe."
DISK_KINDS: Final = ("", "local", "swap", "config")
_DRAFT: Final = re.compile(r"(.+)\.[0-9a-f]{8}\.partial", re.DOTALL)
_OURS: Final = re.compile(
    r"rbdstore\.(?:clone\.[0-9a-f]{32}|deleted\.\d+|export\.[0-9a-f]{8}\..+)", re.DOTALL
)
# As Cinder does unless it is told otherwise.
_VOLUME: Final = re.compile(
    r"volume-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\..*)?", re.DOTALL
)
_DISK: Final = re.compile(r"(.+)_disk(?:\.[a-z0-9]+)*")
BACKUP_SNAP: Final = re.compile(r"backup\.(?P<id>[^/@]+)\.snap\.\d+(\.\d+)?\Z")

# librbd keeps a name inside the names of RADOS objects; this leaves room for every affix above
# below the 255 bytes of a file name.
MAX_NAME_BYTES: Final = 220


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSpec:
    """Where an image or a snapshot is, written the way the ``rbd`` command reads it."""

    pool: str
    image: str
    snap: str | None = None
    namespace: str = ""

    def __str__(self) -> str:
        parts = [part for part in (self.pool, self.namespace, self.image) if part]
        return "/".join(parts) + (f"@{self.snap}" if self.snap else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """What a Glance image's ``rbd://`` location says.

    The full form is ``rbd://<fsid>/<pool>/<image>/<snapshot>``, each part percent-encoded. The old
    form ``rbd://<image>`` has neither cluster, pool nor snapshot: these are None then.
    """

    image: str
    fsid: str | None = None
    pool: str | None = None
    snap: str | None = None

    @classmethod
    def parse(cls, uri: object) -> Self:
        """Read a location.

        :raises InvalidLocation: any other scheme or shape, or one of its parts is no name
        """
        if not isinstance(uri, str):
            raise exceptions.InvalidLocation(f"a location is text, not {type(uri).__name__}")
        uri = str.__str__(uri)
        if not uri.startswith("rbd://"):
            raise exceptions.InvalidLocation(f"{_shown(uri)} is not an rbd:// location")
        try:
            parts = [
                urllib.parse.unquote(part, errors="strict")
                for part in uri.removeprefix("rbd://").split("/")
            ]
        except UnicodeDecodeError:
            raise exceptions.InvalidLocation(f"{_shown(uri)} is not UTF-8 unquoted") from None
        if len(parts) not in (1, 4):
            raise exceptions.InvalidLocation(
                f"{_shown(uri)} has {len(parts)} parts; "
                "rbd://<fsid>/<pool>/<image>/<snapshot> has four"
            )
        if any("@" in part for part in parts):
            # Not to be left to the checks, which tell what they refuse.
            raise exceptions.InvalidLocation(
                f"{_shown(uri)}: a part of it contains '/' or '@', which separate pool, image and "
                "snapshot"
            )
        try:
            for part, check in zip(parts, _CHECKS[len(parts)], strict=True):
                check(part)
        except exceptions.InvalidName as error:
            raise exceptions.InvalidLocation(f"{_shown(uri)}: {error}") from None
        if len(parts) == 1:
            return cls(parts[0])
        fsid, pool, image, snap = parts
        return cls(image, fsid, pool, snap)

    @property
    def uri(self) -> str:
        if self.fsid is None or self.pool is None or self.snap is None:
            return "rbd://" + urllib.parse.quote(self.image, safe="")
        parts = (self.fsid, self.pool, self.image, self.snap)
        return "rbd://" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


def check_name(name: object) -> str:
    """Return ``name`` as plain text that librbd and the ``rbd`` command can address.

    :raises InvalidName: otherwise
    """
    if not isinstance(name, str):
        raise exceptions.InvalidName(f"a name is text, not {type(name).__name__}")
    # A subclass, such as an enumeration's, may be another text where it is formatted.
    name = str.__str__(name)
    if len(name) > MAX_NAME_BYTES:
        raise exceptions.InvalidName(
            f"{name[:40]!r}... is {len(name)} characters long; the limit is {MAX_NAME_BYTES} bytes"
        )
    if not name.strip():
        raise exceptions.InvalidName("a name cannot be empty or blank")
    if name in (".", ".."):
        raise exceptions.InvalidName(f"{name!r} is no name")
    if name != name.strip():
        raise exceptions.InvalidName(f"{name!r} begins or ends with a space")
    if "/" in name or "@" in name:
        raise exceptions.InvalidName(
            f"{name!r} contains '/' or '@', which separate pool, image and snapshot"
        )
    if not is_plain(name):
        raise exceptions.InvalidName(f"{name!r} contains control characters")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise exceptions.InvalidName(
            f"{name[:40]!r}... is {len(name.encode())} bytes long; the limit is {MAX_NAME_BYTES}"
        )
    return name


def secret_uuid(fsid: str, user: str) -> str:
    """By which UUID libvirt is told of a user's key where several users' keys are to be known.

    It is of the cluster and of the user alone, so that each host comes to the same.

    :param user: without ``client.``
    """
    return str(uuid.uuid5(uuid.UUID(fsid), f"client.{user}"))


def is_plain(text: str) -> bool:
    """Whether ``text`` is of one line, without control characters, and can be encoded."""
    # Cc: control characters, Cs: lone surrogates, Zl and Zp: line and paragraph separators.
    return all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in text)


def check_new_name(name: object) -> str:
    """Return ``name`` if a caller may make, change or delete something of that name.

    :raises InvalidName: also for names that mean something to this library or to Cinder
    """
    checked = check_name(name)
    if checked.endswith((PARTIAL_SUFFIX, DELETED_SUFFIX)) or checked.startswith(RESERVED_PREFIX):
        raise exceptions.InvalidName(
            f"{checked!r} is reserved: names ending in {PARTIAL_SUFFIX} or {DELETED_SUFFIX}, "
            f"or beginning with {RESERVED_PREFIX}, belong to unfinished or deleted things"
        )
    return checked


def check_new_names(names: Iterable[object]) -> list[str]:
    """Return ``names`` as a list, each checked by :func:`check_new_name`.

    :raises InvalidName: also for one given twice, and for one name that is in no list
    """
    if isinstance(names, str | bytes | bytearray):
        raise exceptions.InvalidName(f"{exceptions.shown(names)} is one name, not a list of names")
    if not isinstance(names, Iterable):
        raise exceptions.InvalidName(f"a list of names is wanted, not {type(names).__name__}")
    checked = [check_new_name(name) for name in names]
    if len(set(checked)) != len(checked):
        raise exceptions.InvalidName(f"a name was given twice: {exceptions.shown(checked)}")
    return checked


def check_snapshot_name(name: object) -> str:
    """Return ``name`` if a caller may make, use or delete a snapshot of that name.

    :raises InvalidName: also for the names of snapshots that carry clones
    """
    checked = check_name(name)
    if is_reserved_snap(checked):
        raise exceptions.InvalidName(
            f"{checked!r} is reserved: snapshots beginning with {RESERVED_PREFIX} or ending in "
            f"{CLONE_SNAP_SUFFIX} carry clones and go with the last of them"
        )
    return checked


def check_locations(locations: Iterable[object]) -> tuple[str, ...]:
    """Return ``locations`` as text, none twice: of any kind, for an image may be anywhere.

    :raises InvalidLocation: also for one location that is in no list
    """
    if isinstance(locations, str | bytes | bytearray):
        raise exceptions.InvalidLocation(
            f"{_shown(str(locations))} is one location, not a list of locations"
        )
    if not isinstance(locations, Iterable):
        raise exceptions.InvalidLocation(
            f"a list of locations is wanted, not {type(locations).__name__}"
        )
    checked = []
    for location in locations:
        if not isinstance(location, str):
            raise exceptions.InvalidLocation(f"a location is text, not {type(location).__name__}")
        checked.append(str.__str__(location))
    return tuple(dict.fromkeys(checked))


# Of a location's parts.
_CHECKS: Final = {
    1: (check_new_name,),
    4: (check_name, check_name, check_new_name, check_snapshot_name),
}


def _shown(uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    if mark and scheme != "rbd":
        # Without the user and the password before the host, and a token after the path.
        uri = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    elif mark:
        uri = f"{scheme}://{re.sub('^[^/]*:.*@', '***@', rest)}"
    return repr(uri) if len(uri) <= 300 else f"{uri[:300]!r}..."


def draft_name(name: str) -> str:
    """A fresh name under which ``name`` is made until it is whole.

    No two makers use the same: one that was held up for longer than its lease lasts, and then
    goes on, must not touch what its successor is making.
    """
    return f"{name}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}"


def new_probe() -> str:
    """A fresh name to try things with: of what it stands for, there are only ever drafts."""
    return PROBE_PREFIX + uuid.uuid4().hex[:8]


def is_draft(name: object) -> bool:
    """Whether ``name`` is one that an image is made under."""
    return isinstance(name, str) and name.endswith(PARTIAL_SUFFIX)


def made_as(name: str) -> str:
    """The name that a draft is to get; that of anything else is what it is."""
    found = _DRAFT.fullmatch(name)
    return found[1] if found else name


def is_deleted(name: str) -> bool:
    """Whether an image of this name is a deleted one (clone format 1)."""
    return name.endswith(DELETED_SUFFIX)


def is_unfinished_or_deleted(name: str) -> bool:
    """Whether an image of this name is nothing that a user has."""
    return name.endswith((PARTIAL_SUFFIX, DELETED_SUFFIX))


def deleted_name(name: str, image_id: str | None = None) -> str:
    """The name of a deleted volume that clones need; with its id where the plain one is taken."""
    return f"{name}.{image_id}{DELETED_SUFFIX}" if image_id else name + DELETED_SUFFIX


def disk_name(instance: str, kind: str = "") -> str:
    """A disk of an instance: the first one, or its ``local``, ``swap``, ``config``, ..."""
    return f"{instance}_disk{'.' + kind if kind else ''}"


def is_disk(name: str, instance: str | None = None) -> bool:
    """Whether ``name`` is a disk of that instance, or of any, or what is being made of one.

    What goes on otherwise than with kinds is another instance's, whose name begins alike.
    """
    found = _DISK.fullmatch(name)
    return found is not None and instance in (None, found[1])


def lease_object(name: str) -> str:
    """The object that whoever makes, renames or deletes ``name`` holds a lease on."""
    return LEASE_PREFIX + name


def reclaim_lease(image_id: str) -> str:
    """The name of the lease that whoever takes back a deleted image holds.

    No image's name has a slash in it, nor an ``@``.
    """
    return f"id/{image_id}"


def snapshot_lease(volume: str, snapshot: str) -> str:
    """The name of the lease that whoever makes or deletes a snapshot holds."""
    return f"{volume}@{snapshot}"


def flatten_lease(image_id: str) -> str:
    """The name of the lease that whoever flattens an image holds."""
    return f"flatten/{image_id}"


def export_lease(image_id: str) -> str:
    """The name of the lease that whoever makes an image of a volume or a disk holds beside it."""
    return f"export/{image_id}"


def backup_lease(backup_id: str) -> str:
    """The name of the lease that whoever makes or deletes a backup holds."""
    return f"backup/{backup_id}"


def claimed_backup(lease: str) -> str | None:
    """The id of the backup that a lease of this name is for; None: it is no such name."""
    kind, slash, backup_id = lease.partition("/")
    return backup_id if kind == "backup" and slash else None


CATALOG_LEASE: Final = "backups/catalog"
"""The name of the lease that whoever changes the list of backups holds."""


def chain_lease(image_id: str) -> str:
    """The name of the lease that whoever changes what backups are in holds."""
    return f"chain/{image_id}"


def source_lease(snap: str) -> str:
    """The name of the lease that whoever makes or removes a backup's snapshot holds."""
    return f"source/{snap}"


def thinning_lease(image_id: str) -> str:
    """The name of the lease that whoever flattens an image's clones in the background holds."""
    return f"thin/{image_id}"


GC_LEASE: Final = "pool/gc"
"""The name of the lease that whoever reclaims what was left in a pool holds."""

PURGE_LEASE: Final = "trash/purge"
"""The name of the lease that whoever removes what is in the trash for good holds."""


def record_object(image_id: str) -> str:
    """The object that says what was cloned from an image, and whether it is deleted."""
    return RECORD_PREFIX + image_id


def new_clone_snap() -> str:
    """A fresh snapshot to clone volumes from, clone format 2."""
    return CLONE_SNAP_PREFIX + uuid.uuid4().hex


def clone_snap_v1(volume: str) -> str:
    """The snapshot that ``volume`` is cloned from, clone format 1."""
    return volume + CLONE_SNAP_SUFFIX


def new_export_snap(image_id: str) -> str:
    """A fresh snapshot of a volume or a disk, to make that image of."""
    return f"{EXPORT_SNAP_PREFIX}{uuid.uuid4().hex[:8]}.{image_id}"


def exported_as(snap: str) -> str:
    """The id of the image that such a snapshot is for; of who made it, the lease is on that."""
    return snap.removeprefix(EXPORT_SNAP_PREFIX).partition(".")[2]


def is_export_snap(snap: str) -> bool:
    """Whether a snapshot is what an image was, or is being, made of."""
    return snap.startswith(EXPORT_SNAP_PREFIX)


def is_known_snap(snap: str) -> bool:
    """Whether a snapshot that carries clones only is one that this library or Cinder made.

    Its name alone does not tell of one for a volume that is called otherwise.
    """
    if snap.startswith(RESERVED_PREFIX):
        return _OURS.fullmatch(snap) is not None
    return snap.endswith(CLONE_SNAP_SUFFIX) and is_volume(snap)


def is_volume(name: str) -> bool:
    """Whether a name is one that Cinder gives to volumes, be they deleted."""
    return _VOLUME.fullmatch(name) is not None


def backup_object(backup_id: str) -> str:
    """The object that says what is in a backup."""
    return BACKUP_PREFIX + backup_id


def backup_base(volume: str, backup_id: str) -> str:
    """The image that a full backup and its increments are in."""
    return f"{volume}.backup.{backup_id}"


def backup_snap(backup_id: str, when: float) -> str:
    """The snapshot of that image that is a backup."""
    return f"backup.{backup_id}.snap.{when:.2f}"


def backup_of(snap: str) -> str | None:
    """The id of the backup that such a snapshot is; None: it is no backup."""
    found = BACKUP_SNAP.match(snap)
    return found["id"] if found else None


def backed_up_at(snap: str) -> float:
    """When such a snapshot was made, in seconds since 1970."""
    return float(snap.rpartition(".snap.")[2])


def stock_metadata(backup_id: str) -> str:
    """The object with what Cinder knew of the volume; its own driver ends a backup with it."""
    return f"backup.{backup_id}.meta"


def source_snaps(store: str) -> str:
    """How the snapshots of volumes begin that the backups of one store were made of.

    :param store: which, as its cluster's id, pool and namespace
    """
    return f"{BACKUP_PREFIX}{hashlib.sha256(store.encode()).hexdigest()[:8]}."


def is_source_snap(snap: str) -> bool:
    """Whether a snapshot is what a backup was, or is being, made of."""
    return snap.startswith(BACKUP_PREFIX)


def deleted_snap(snap_id: int) -> str:
    """The name of a user's deleted snapshot that clones still need."""
    return f"{DELETED_SNAP_PREFIX}{snap_id}"


def is_reserved_snap(snap: str) -> bool:
    """Whether a snapshot is this library's or Cinder's, so that it goes when nothing needs it."""
    return snap.startswith(RESERVED_PREFIX) or snap.endswith(CLONE_SNAP_SUFFIX)


def is_users_snap(snap: str) -> bool:
    """Whether a snapshot is a user's, so that it is never removed but by its name."""
    return not (is_reserved_snap(snap) or is_backup_snap(snap) or snap == IMAGE_SNAP)


def is_backup_snap(snap: str) -> bool:
    """Whether a snapshot was left on a volume by a backup of it."""
    return BACKUP_SNAP.match(snap) is not None
