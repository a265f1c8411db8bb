# SPDX-License-Identifier: Apache-2.0
"""``backup``: what volumes were at some moment, kept elsewhere, and made volumes again.

The backend of the command is the backups'; the volumes are in another one, by default the
configuration's.
"""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister, show

from rbdstore import exceptions, loading
from rbdstore.backups import Backup, BackupStore, Verification
from rbdstore.cli import base, files, shapes, terminal
from rbdstore.volumes import VolumeStore

_COLUMNS = ("id", "volume", "size", "kind", "parent", "stored", "created")
_MORE_COLUMNS = ("base", "source", "cluster", "reason", "origin")


def _row(backup: Backup) -> Sequence[Any]:
    return (
        shapes.Name(backup.id),
        shapes.Name(backup.volume),
        shapes.Size(backup.size),
        backup.kind,
        shapes.Maybe(backup.parent),
        shapes.Size(backup.stored),
        shapes.Moment(backup.created),
    )


def _shown(backup: Backup) -> tuple[Sequence[str], Sequence[Any]]:
    """All about one."""
    return (*_COLUMNS, *_MORE_COLUMNS), (
        *_row(backup),
        shapes.Name(str(backup.base)),
        shapes.Maybe(str(backup.source) if backup.source else None),
        shapes.Maybe(backup.fsid or None),
        shapes.Maybe(backup.reason or None),
        backup.origin,
    )


def _volume_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--volume-backend",
        metavar="NAME",
        help="the backend that the volumes are in (default: the configuration's default one)",
    )


class _Command(base.Command):
    """What has to do with backups, and perhaps with volumes."""

    @property
    def backups(self) -> BackupStore:
        return self.store().backups

    def volumes(self, parsed_args: argparse.Namespace) -> VolumeStore:
        name = parsed_args.volume_backend
        if name is None and self.program.options.driver is None:
            backends = loading.backends(self.program.config_file)
            name = next((found.name for found in backends if found.is_default), None)
        return self.store(name).volumes


class Create(_Command, show.ShowOne):
    """Back up a volume, in use or not.

    An increment holds what has changed since the backup before. Where there is none that it could
    be an increment of, a full backup is made, and the reason told.
    """

    synopsis = "VOLUME [BACKUP]"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", help="its name")
        parser.add_argument(
            "backup", metavar="BACKUP", nargs="?", help="the backup's id (default: a new UUID)"
        )
        parser.add_argument("--full", action="store_true", help="no increment, whatever there is")
        parser.add_argument(
            "--snapshot",
            metavar="SNAPSHOT",
            help="one of the volume's, to be backed up (default: a new one)",
        )
        _volume_backend(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        volume = parsed_args.volume
        backup_id = str(uuid.uuid4()) if parsed_args.backup is None else parsed_args.backup
        with terminal.meter(f"back up {volume}", grows=True) as progress:
            made = self.backups.create(
                self.volumes(parsed_args),
                volume,
                backup_id,
                incremental=False if parsed_args.full else "auto",
                snapshot=parsed_args.snapshot,
                progress=progress,
            )
        return _shown(made)


class Restore(_Command, show.ShowOne):
    """Make a volume of a backup, or make a volume again what it was."""

    synopsis = "BACKUP VOLUME"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help="its id")
        parser.add_argument("volume", metavar="VOLUME", help="the volume's name")
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help="restore to a volume that there is: what was written since is lost",
        )
        parser.add_argument(
            "--no-verify",
            action="store_false",
            dest="verify",
            help="do not compare what is read with its checksums",
        )
        _volume_backend(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        name = parsed_args.volume
        volumes = self.volumes(parsed_args)
        if not parsed_args.overwrite and _exists(volumes, name):
            raise exceptions.InvalidInput(f"there is a volume {name}; --overwrite restores to it")
        with terminal.meter(f"restore {name}", grows=True) as progress:
            made = self.backups.restore(
                parsed_args.backup, volumes, name, verify=parsed_args.verify, progress=progress
            )
        return ("name", "size"), (shapes.Name(made.name), shapes.Size(made.size))


def _exists(volumes: VolumeStore, name: str) -> bool:
    try:
        volumes.get(name)
    except exceptions.ImageNotFound:
        return False
    return True


class List(_Command, lister.Lister):
    """List backups, oldest first, those that Cinder's own driver made among them."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--volume", metavar="VOLUME", help="those of one volume")

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        return _COLUMNS, [_row(backup) for backup in self.backups.list(parsed_args.volume)]


class Show(_Command, show.ShowOne):
    """Show a backup: where it is, and what it was made of."""

    synopsis = "BACKUP"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help="its id")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        return _shown(self.backups.show(parsed_args.backup))


class Verify(_Command, lister.Lister):
    """Read backups, and compare them with their checksums.

    The exit status is 1 if one of them is damaged.
    """

    synopsis = "BACKUP..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", nargs="+", help="its id")

    def run(self, parsed_args: argparse.Namespace) -> int:
        self._is_sound = True
        return super().run(parsed_args) or (0 if self._is_sound else 1)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        rows = [self._verified(name) for name in dict.fromkeys(parsed_args.backup)]
        return ("id", "state", "read", "damage"), rows

    def _verified(self, name: str) -> Sequence[Any]:
        with terminal.meter(f"verify {name}", grows=True) as progress:
            found: Verification = self.backups.verify(name, progress=progress)
        self._is_sound = self._is_sound and found.sound
        return (
            shapes.Name(name),
            "sound" if found.sound else "damaged",
            shapes.Size(found.read),
            shapes.Lines([damage.text for damage in found.damage]),
        )


class Delete(_Command):
    """Delete backups. What others need of one stays. One that is not there is no error."""

    synopsis = "BACKUP..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", nargs="+", help="its id")
        _volume_backend(parser)
        base.add_yes(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        backups, volumes = self.backups, self.volumes(parsed_args)
        terminal.confirm("delete", parsed_args.backup, yes=parsed_args.yes)
        return self.each(
            parsed_args.backup, lambda backup_id: backups.delete(backup_id, volumes=volumes)
        )


class Prune(_Command, lister.Lister):
    """Delete all backups of a volume but the latest ones."""

    synopsis = "VOLUME --keep NUMBER"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", help="its name")
        parser.add_argument(
            "--keep", metavar="NUMBER", type=int, required=True, help="how many are kept"
        )
        _volume_backend(parser)
        base.add_yes(parser)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        backups, volume, keep = self.backups, parsed_args.volume, parsed_args.keep
        there = [backup.id for backup in backups.list(volume) if backup.origin == "rbdstore"]
        terminal.confirm("delete", there[: max(0, len(there) - keep)], yes=parsed_args.yes)
        deleted = backups.prune(volume, keep=keep, volumes=self.volumes(parsed_args))
        return ("id",), [(shapes.Name(backup_id),) for backup_id in deleted]


class Export(_Command):
    """Write a backup to a file, or to standard output, as ``rbd export-diff`` does.

    ``rbd import-diff`` reads it. A file appears under its name once it is whole.
    """

    synopsis = "BACKUP -o FILE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help="its id")
        parser.add_argument(
            "-o", "--output", metavar="FILE", required=True, help="- is standard output"
        )
        parser.add_argument(
            "--since",
            metavar="BACKUP",
            help="only what differs from this one, which the reader must have (default: all)",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="replace a file that is there already, or overwrite a block device",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        backups, output = self.backups, parsed_args.output
        files.check_output(output, "a backup")
        # So that one that is not there leaves no file.
        backups.show(parsed_args.backup)
        with (
            terminal.meter(f"export {parsed_args.backup}", grows=True) as progress,
            files.naming(output),
            files.writing(output, force=parsed_args.force) as (file, _sparse),
        ):
            backups.export(parsed_args.backup, file, since=parsed_args.since, progress=progress)


class Import(_Command, show.ShowOne):
    """Make a backup of a file, or of standard input, that ``rbd export-diff`` wrote.

    One of changes becomes an increment of the backup that they are changes of.
    """

    synopsis = "FILE [BACKUP]"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the file to read; - is standard input")
        parser.add_argument(
            "backup", metavar="BACKUP", nargs="?", help="the backup's id (default: the one in it)"
        )
        parser.add_argument(
            "--volume", metavar="VOLUME", help="whose backup it is, which the file does not say"
        )
        parser.add_argument(
            "--since",
            metavar="BACKUP",
            help="what the changes are changes of (default: the backup that is named in it)",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        with (
            files.opened(parsed_args.file) as file,
            terminal.meter(f"import {parsed_args.file}", grows=True) as progress,
            files.naming(parsed_args.file),
        ):
            made = self.backups.import_(
                file,
                parsed_args.backup,
                volume=parsed_args.volume,
                since=parsed_args.since,
                progress=progress,
            )
        return _shown(made)
