# SPDX-License-Identifier: Apache-2.0
"""The files: made with their mode, never overwritten unasked, each there when it is whole."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rbdstore.provision.owners import Owner
from rbdstore.provision.steps import Command, Outcome, Step

Keys = Mapping[str, str]
"""The keys of the users, by role. They are in no text but that of a file."""

SECRET: Final = 0o600
OPEN: Final = 0o644
_FOLDER: Final = 0o755


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file that is to be there.

    :ivar text: what is to be in it, of the keys that there are; a KeyError: of more than those
    :ivar owner: None: whoever writes it
    :ivar tells: what of a text counts, where others may have written it otherwise
    """

    path: str
    text: Callable[[Keys], str] = dataclasses.field(repr=False)
    mode: int = OPEN
    owner: Owner | None = None
    tells: Callable[[str], object] = dataclasses.field(default=str, repr=False)


def look(file: File, keys: Keys) -> tuple[Step, Sequence[str]]:
    """What there is to do, and in what a file that it would replace is another one.

    :param keys: those of the users that there are; when the step is done those of all must be in
    :raises OSError: it cannot be looked at
    """
    differences = _differences(file, keys)
    if differences == []:
        return Step("file", file.path, "unchanged"), ()
    to_whom = f", owner {file.owner.text}" if file.owner else ""
    line = f"# {file.path}: mode {file.mode:04o}{to_whom}"
    command = Command(line, lambda _admin: write(file, keys))
    outcome: Outcome = "created" if differences is None else "replaced"
    found = tuple(differences or ())
    notes = tuple(f"was: {difference}" for difference in found)
    return Step("file", file.path, outcome, notes, (command,)), found


def check_folder(path: str) -> str | None:
    """What stands in the way of writing to a folder, which may have to be made."""
    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above} is no folder"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{above} cannot be written by user id {os.geteuid()}; name another folder"
    return None


def write(file: File, keys: Keys) -> None:
    """Write a file, or replace it at once; nothing is left of one that cannot be written."""
    folder, name = os.path.split(file.path)
    _make_folder(folder)
    draft = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        # Nobody else may read it, at no moment.
        with open(os.open(draft, flags, SECRET), "w", encoding="utf-8") as made:
            if file.mode != SECRET:
                # Whatever the umask: a service is to read it.
                os.fchmod(made.fileno(), file.mode)
            if file.owner is not None:
                os.fchown(made.fileno(), file.owner.uid, file.owner.gid)
            made.write(file.text(keys))
            made.flush()
            os.fsync(made.fileno())
        os.rename(draft, file.path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _make_folder(path: str) -> None:
    if os.path.isdir(path):
        return
    _make_folder(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        # Whatever the umask: the services are to look into it.
        os.chmod(path, _FOLDER)


def _differences(file: File, keys: Keys) -> list[str] | None:
    """In what the file that is there is another one; None: there is none."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as found:
        status = os.fstat(descriptor)
        text = found.read() if stat.S_ISREG(status.st_mode) else ""
    differences = []
    try:
        same = stat.S_ISREG(status.st_mode) and file.tells(text) == file.tells(file.text(keys))
    except KeyError:
        # It has the key of a user that there is not.
        same = False
    if not same:
        differences.append("other content")
    mode = stat.S_IMODE(status.st_mode)
    if file.mode == SECRET and mode != SECRET:
        differences.append(f"mode {mode:04o}")
    if file.owner and (status.st_uid, status.st_gid) != (file.owner.uid, file.owner.gid):
        differences.append(f"owner {status.st_uid}:{status.st_gid}")
    return differences
