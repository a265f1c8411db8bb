# SPDX-License-Identifier: Apache-2.0
"""``disk``: the disks of Nova's instances."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister

from rbdstore.cli import base, image, outward, shapes, terminal
from rbdstore.connections import ConnectionInfo
from rbdstore.driver import Progress
from rbdstore.exchange.exports import ExportedImage
from rbdstore.images import ImageStore


def _disk_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("disk", metavar="DISK", help="its name, such as INSTANCE_disk")


class List(base.Command, lister.Lister):
    """List the disks of an instance, or of all."""

    synopsis = "[INSTANCE]"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("instance", metavar="INSTANCE", nargs="?", help="its UUID")

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        return ("name", "size", "parent"), [
            (shapes.Name(disk.name), shapes.Size(disk.size), shapes.parent(disk.parent))
            for disk in self.store().disks.list(parsed_args.instance)
        ]


class Clone(base.Command):
    """Make a disk from an image, copy-on-write."""

    synopsis = "DISK IMAGE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _disk_argument(parser)
        parser.add_argument("image", metavar="IMAGE", help="its id, or its rbd:// location")
        parser.add_argument(
            "--image-backend",
            metavar="NAME",
            help="the backend that the image's id is of (default: the one of the disks)",
        )
        parser.add_argument(
            "--size", type=shapes.size, help="such as 20GiB (default: the image's)"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        images = self.store(parsed_args.image_backend).images
        uri, size = image.location(images, parsed_args.image), parsed_args.size
        if size is None:
            size = images.get_size(uri)
        self.store().disks.clone(parsed_args.disk, [uri], size)


class Resize(base.Command):
    """Make a disk larger."""

    synopsis = "DISK SIZE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _disk_argument(parser)
        parser.add_argument("size", metavar="SIZE", type=shapes.size, help="such as 30GiB")
        parser.add_argument(
            "--allow-shrink", action="store_true", help="make it smaller, too: its end is lost"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.store().disks.resize(
            parsed_args.disk, parsed_args.size, allow_shrink=parsed_args.allow_shrink
        )


class Flatten(base.Command):
    """Make a disk independent of its image, while it stays in use."""

    synopsis = "DISK"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _disk_argument(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        disks = self.store().disks
        with terminal.steps(f"flatten {parsed_args.disk}") as progress:
            disks.flatten(parsed_args.disk, progress=progress)


class ToImage(outward.ToImage):
    """Make an image of a disk as it is now, in use or not."""

    synopsis = "DISK IMAGE"

    def make(
        self, name: str, images: ImageStore, image: str, *, progress: Progress | None, **how: Any
    ) -> ExportedImage:
        disks = self.store().disks
        return disks.snapshot_to_image(name, images, image, progress=progress, **how)


class Connection(outward.Connection):
    """Print how Cinder, QEMU or libvirt opens a disk. There is no key in it."""

    synopsis = "DISK"

    def look(self, name: str) -> ConnectionInfo:
        return self.store().disks.connection_info(name)


class Cleanup(base.Command):
    """Delete every disk of instances, with its snapshots."""

    synopsis = "INSTANCE..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("instance", metavar="INSTANCE", nargs="+", help="its UUID")
        base.add_fence(parser)
        base.add_yes(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        disks = self.store().disks
        terminal.confirm("delete the disks of", parsed_args.instance, yes=parsed_args.yes)
        return self.each(
            parsed_args.instance,
            lambda instance: disks.cleanup(instance, fence=parsed_args.fence),
        )
