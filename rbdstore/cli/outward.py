# SPDX-License-Identifier: Apache-2.0
"""What leads out of a volume or a disk: it becomes an image, and others open it by themselves."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from cliff import show

from rbdstore.cli import base, shapes, terminal
from rbdstore.connections import ConnectionInfo
from rbdstore.driver import Progress
from rbdstore.exchange.exports import ExportedImage
from rbdstore.images import ImageStore


class ToImage(base.Command, show.ShowOne):
    """Make an image of it as it is now, in use or not."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", metavar=self.synopsis.split()[0], help="its name")
        parser.add_argument("image", metavar="IMAGE", help="the id of the new image")
        parser.add_argument(
            "--image-backend",
            metavar="NAME",
            help="the backend that the image is to be in (default: the one that it is made from)",
        )
        parser.add_argument(
            "--method",
            choices=("auto", "cow", "copy"),
            default="auto",
            help="cow clones it within the cluster, copy reads and writes all of it; auto copies "
            "where it cannot be cloned (default: %(default)s)",
        )
        parser.add_argument(
            "--hashing-algo",
            metavar="NAME",
            help="read the image, and compute its MD5 and this hash",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        name, image = parsed_args.name, parsed_args.image
        images = self.store(parsed_args.image_backend).images
        with terminal.steps(f"to image {image}") as progress:
            made = self.make(
                name,
                images,
                image,
                method=parsed_args.method,
                hashing_algo=parsed_args.hashing_algo,
                progress=progress,
            )
        return (
            (
                "id",
                "location",
                "size",
                "method",
                "reason",
                "checksum",
                "os_hash_algo",
                "os_hash_value",
            ),
            (
                image,
                made.uri,
                shapes.Size(made.size),
                made.method,
                shapes.Maybe(made.reason or None),
                shapes.Maybe(made.checksum),
                shapes.Maybe(made.os_hash_algo),
                shapes.Maybe(made.os_hash_value),
            ),
        )

    def make(
        self, name: str, images: ImageStore, image: str, *, progress: Progress | None, **how: Any
    ) -> ExportedImage:
        raise NotImplementedError


class Connection(base.Command):
    """Print how Cinder, QEMU or libvirt opens it. There is no key in it."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", metavar=self.synopsis, help="its name")
        parser.add_argument(
            "--for",
            dest="whom",
            choices=("cinder", "qemu", "libvirt"),
            default="cinder",
            help="os-brick's dictionary, as JSON; the argument of -blockdev; or the <disk> of "
            "a domain (default: %(default)s)",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        found = self.look(parsed_args.name)
        if parsed_args.whom == "qemu":
            text = found.blockdev()
        elif parsed_args.whom == "libvirt":
            text = found.libvirt()
        else:
            text = json.dumps(found.cinder(), indent=2)
        self.app.stdout.write(text + "\n")

    def look(self, name: str) -> ConnectionInfo:
        raise NotImplementedError
