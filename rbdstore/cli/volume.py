# SPDX-License-Identifier: Apache-2.0
"""``volume``: disks that are written all the time, cloned, extended and flattened."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister, show

from rbdstore import exceptions
from rbdstore.cli import about, base, files, image, outward, shapes, terminal
from rbdstore.connections import ConnectionInfo
from rbdstore.driver import Progress
from rbdstore.exchange import imports
from rbdstore.exchange.exports import ExportedImage
from rbdstore.images import ImageStore
from rbdstore.views import depths
from rbdstore.volumes import Volume

_COLUMNS = ("name", "size", "parent", "depth", "snapshots")


def _row(volume: Volume) -> Sequence[Any]:
    return (
        shapes.Name(volume.name),
        shapes.Size(volume.size),
        shapes.parent(volume.parent),
        volume.depth,
        shapes.Lines([*volume.snapshots]),
    )


class _Changing(base.Command, show.ShowOne):
    """Does something to a volume, and shows what it has become."""

    synopsis = "VOLUME"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", help="its name")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        return _COLUMNS, _row(self.change(parsed_args))

    def change(self, parsed_args: argparse.Namespace) -> Volume:
        raise NotImplementedError


class Create(base.Command, show.ShowOne):
    """Make a volume: empty, or from an image, copy-on-write where that can be.

    The first of the image's locations that can be cloned is. Where none can, the image is copied:
    from a file, or from the backend that it is in, and converted where it is not raw.
    """

    synopsis = "VOLUME --size SIZE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", help="its name")
        parser.add_argument("--size", type=shapes.size, required=True, help="such as 20GiB")
        parser.add_argument(
            "--image",
            metavar="IMAGE",
            action="append",
            default=[],
            help="the id of an image, or one of its locations; may be given several times",
        )
        parser.add_argument(
            "--image-backend",
            metavar="NAME",
            help="the backend that the image is in (default: the one of the volumes)",
        )
        parser.add_argument("--file", metavar="FILE", help="the image's data; - is standard input")
        parser.add_argument(
            "--disk-format",
            metavar="FORMAT",
            default="raw",
            help="the image's: raw, iso, qcow2, vdi, vhd, vhdx or vmdk (default: %(default)s)",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        name, size = parsed_args.volume, parsed_args.size
        volumes = self.store().volumes
        if not parsed_args.image and parsed_args.file is None:
            return _COLUMNS, _row(volumes.create(name, size))
        images = self.store(parsed_args.image_backend).images
        locations = [
            each if "://" in each else image.location(images, each) for each in parsed_args.image
        ]
        with terminal.meter(f"create {name}", grows=True) as progress:
            made = volumes.create_from_image(
                name,
                locations,
                size,
                disk_format=parsed_args.disk_format,
                open_image=_opener(images, locations, parsed_args.file),
                progress=progress,
            )
        passed_over = [f"{verdict.location}: {verdict.reason}" for verdict in made.passed_over]
        more = (made.method, made.location or None, shapes.Lines(passed_over))
        return (*_COLUMNS, "method", "location", "passed_over"), (*_row(made), *more)


def _opener(
    images: ImageStore, locations: Sequence[str], file: str | None
) -> imports.OpenImage | None:
    """What gives an image's data; None: nothing does."""
    if file is not None:
        return functools.partial(files.opened, file)
    for location in locations:
        # One of another cluster or pool is none of this backend's.
        with contextlib.suppress(exceptions.InvalidLocation):
            if images.exists(location):
                return functools.partial(images.get, location)
    return None


class Clone(base.Command, lister.Lister):
    """Make volumes from an image, a snapshot or another volume, copy-on-write.

    Of a volume any number of clones can be made at once, all of the same moment.
    """

    synopsis = "VOLUME... --image|--snapshot|--source X"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", nargs="+", help="the name of a new volume")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument(
            "--image", metavar="IMAGE", help="the id of an image, or its rbd:// location"
        )
        source.add_argument(
            "--snapshot", metavar="VOLUME@SNAPSHOT", type=shapes.snapshot, help="a snapshot"
        )
        source.add_argument("--source", metavar="VOLUME", help="a volume, as it is now")
        parser.add_argument(
            "--image-backend",
            metavar="NAME",
            help="the backend that the image's id is of (default: the one of the volumes)",
        )
        parser.add_argument(
            "--size", type=shapes.size, help="such as 20GiB (default: its source's)"
        )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        names, size = parsed_args.volume, parsed_args.size
        volumes = self.store().volumes
        if parsed_args.source is not None:
            made = volumes.create_cloned_volumes(names, parsed_args.source, size)
        elif parsed_args.snapshot is not None:
            volume, snapshot = parsed_args.snapshot
            made = [volumes.create_from_snapshot(name, volume, snapshot, size) for name in names]
        else:
            images = self.store(parsed_args.image_backend).images
            uri = image.location(images, parsed_args.image)
            made = [volumes.clone(name, uri, size) for name in names]
        return _COLUMNS, [_row(volume) for volume in made]


class Show(base.Command, show.ShowOne):
    """Show a volume: its parent, its children, its snapshots, and who has it open.

    What is used and shared is not told where every object would have to be asked.
    """

    synopsis = "VOLUME"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", help="its name")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        name = parsed_args.volume
        shown = {"name": shapes.Name(name), **about.fields(self.store().tree(name))}
        return [*shown], [*shown.values()]


class List(base.Command, lister.Lister):
    """List the volumes of the backend's pool; or those whose parents are deleted."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--orphaned",
            action="store_true",
            help="only clones of what was deleted, or is not there, and what became of that",
        )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        store = self.store()
        if not parsed_args.orphaned:
            return _COLUMNS, [_row(volume) for volume in store.volumes.list()]
        return (*_COLUMNS, "reason"), [
            (
                shapes.Name(tree.name),
                shapes.Size(tree.size),
                shapes.parent(tree.parent.spec if tree.parent else None),
                tree.depth,
                shapes.Lines([snap.name for snap in tree.snaps if snap.kind in ("user", "image")]),
                shapes.Maybe(why),
            )
            for tree, why in depths.orphans(store.forest())
        ]


class Extend(_Changing):
    """Make a volume larger."""

    synopsis = "VOLUME SIZE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("size", metavar="SIZE", type=shapes.size, help="such as 30GiB")

    def change(self, parsed_args: argparse.Namespace) -> Volume:
        return self.store().volumes.extend(parsed_args.volume, parsed_args.size)


class Rename(_Changing):
    """Give a volume another name."""

    synopsis = "VOLUME NEW-NAME"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("new_name", metavar="NEW-NAME", help="the name that it gets")

    def change(self, parsed_args: argparse.Namespace) -> Volume:
        return self.store().volumes.rename(parsed_args.volume, parsed_args.new_name)


class Flatten(_Changing):
    """Make a volume independent of its parent, while it stays in use."""

    def change(self, parsed_args: argparse.Namespace) -> Volume:
        name = parsed_args.volume
        volumes = self.store().volumes
        with terminal.steps(f"flatten {name}") as progress:
            return volumes.flatten(name, progress=progress)


class Delete(base.Command):
    """Delete volumes. One that is not there is no error."""

    synopsis = "VOLUME..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("volume", metavar="VOLUME", nargs="+", help="its name")
        base.add_wait_and_fence(parser)
        base.add_yes(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        volumes = self.store().volumes
        terminal.confirm("delete", parsed_args.volume, yes=parsed_args.yes)
        how = {"wait": parsed_args.wait, "fence": parsed_args.fence}
        return self.each(parsed_args.volume, lambda name: volumes.delete(name, **how))


class ToImage(outward.ToImage):
    """Make an image of a volume as it is now, in use or not."""

    synopsis = "VOLUME IMAGE"

    def make(
        self, name: str, images: ImageStore, image: str, *, progress: Progress | None, **how: Any
    ) -> ExportedImage:
        volumes = self.store().volumes
        return volumes.copy_to_image(name, images, image, progress=progress, **how)


class Connection(outward.Connection):
    """Print how Cinder, QEMU or libvirt opens a volume. There is no key in it."""

    synopsis = "VOLUME"

    def look(self, name: str) -> ConnectionInfo:
        return self.store().volumes.connection_info(name)
