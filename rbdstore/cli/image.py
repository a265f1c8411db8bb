# SPDX-License-Identifier: Apache-2.0
"""``image``: whole disks, written once, read and cloned many times."""

from __future__ import annotations

import argparse
import contextlib
import os
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from cliff import lister, show

from rbdstore import spec
from rbdstore.cli import about, base, files, shapes, terminal
from rbdstore.driver import Progress
from rbdstore.images import ImageStore, InUsePolicy, StoredImage
from rbdstore.transfer.reader import Reader


def _image_argument(parser: argparse.ArgumentParser, **how: Any) -> None:
    parser.add_argument("image", metavar="IMAGE", help="its id, or its rbd:// location", **how)


def location(images: ImageStore, image: str) -> str:
    """The location of an image that is named by its id or by its location."""
    return image if image.startswith("rbd://") else images.uri(image)


def _id(uri: str) -> str:
    return spec.Location.parse(uri).image


class Add(base.Command, show.ShowOne):
    """Store a file, or what standard input gives, as a new image."""

    synopsis = "FILE [IMAGE]"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the file to read; - is standard input")
        parser.add_argument(
            "image", metavar="IMAGE", nargs="?", help="the image's id (default: a new UUID)"
        )
        parser.add_argument(
            "--size",
            type=shapes.size,
            help="how long the data must be, such as 20GiB (default: as long as it is)",
        )
        parser.add_argument(
            "--hashing-algo",
            default="sha512",
            metavar="NAME",
            help="the hash to compute besides MD5 (default: %(default)s)",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        image = str(uuid.uuid4()) if parsed_args.image is None else parsed_args.image
        images = self.store().images
        with files.reading(parsed_args.file) as (file, length):
            size = length if parsed_args.size is None else parsed_args.size
            with terminal.meter(f"add {image}", size) as progress:
                stored = images.add(
                    image, file, size, hashing_algo=parsed_args.hashing_algo, progress=progress
                )
        return (
            ("id", "location", "size", "checksum", "os_hash_algo", "os_hash_value"),
            (
                image,
                stored.uri,
                shapes.Size(stored.size),
                stored.checksum,
                stored.os_hash_algo,
                stored.os_hash_value,
            ),
        )


class Get(base.Command):
    """Write an image to a file, or to standard output.

    A file appears under its name once it is whole, with holes where the image has zeros.
    """

    synopsis = "IMAGE -o FILE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _image_argument(parser)
        parser.add_argument(
            "-o", "--output", metavar="FILE", required=True, help="- is standard output"
        )
        parser.add_argument(
            "--offset", type=shapes.size, default=0, help="where to begin, such as 1MiB"
        )
        parser.add_argument("--length", type=shapes.size, help="how much (default: all the rest)")
        parser.add_argument(
            "--force",
            action="store_true",
            help="replace a file that is there already, or overwrite a block device",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        images = self.store().images
        output = parsed_args.output
        files.check_output(output, "an image")
        uri = location(images, parsed_args.image)
        with (
            contextlib.closing(images.get(uri, parsed_args.offset, parsed_args.length)) as data,
            terminal.meter(f"get {parsed_args.image}", data.size) as progress,
            files.writing(output, force=parsed_args.force) as (file, sparse),
        ):
            _pour(data, file, output, progress, sparse=sparse)


class Show(base.Command, show.ShowOne):
    """Show an image, and who was cloned from it."""

    synopsis = "IMAGE"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _image_argument(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        store = self.store()
        uri = location(store.images, parsed_args.image)
        size = store.images.get_size(uri)
        shown = {"id": _id(uri), "location": uri, **about.fields(store.tree(_id(uri)))}
        # What a location means is the image's snapshot; who has it open may have changed the rest.
        shown["size"] = shapes.Size(size)
        return [*shown], [*shown.values()]


class List(base.Command, lister.Lister):
    """List the images of the backend's pool."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found: Sequence[StoredImage] = self.store().images.list()
        return ("id", "size", "location"), [
            (shapes.Name(_id(image.uri)), shapes.Size(image.size), image.uri) for image in found
        ]


class Delete(base.Command):
    """Delete images."""

    synopsis = "IMAGE..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _image_argument(parser, nargs="+")
        policy = parser.add_mutually_exclusive_group()
        policy.add_argument(
            "--in-use",
            choices=("refuse", "flatten", "defer"),
            default="refuse",
            help="what to do where volumes were cloned from it: refuse, make them independent "
            "first, or take its name away now and its data with the last of them "
            "(default: %(default)s)",
        )
        policy.add_argument(
            "--flatten-children",
            action="store_const",
            const="flatten",
            dest="in_use",
            help="the same as --in-use flatten",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell what would be done, or refused"
        )
        base.add_yes(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        images = self.store().images
        if parsed_args.dry_run:
            return self.each(
                parsed_args.image, lambda image: self._tell(images, image, parsed_args.in_use)
            )
        terminal.confirm("delete", parsed_args.image, yes=parsed_args.yes)
        with terminal.many_steps() as begin:
            return self.each(
                parsed_args.image,
                lambda image: images.delete(
                    location(images, image),
                    in_use=parsed_args.in_use,
                    progress_of=begin
                    and (lambda clone: begin(f"flatten {shapes.printable(str(clone))}")),
                ),
            )

    def _tell(self, images: ImageStore, image: str, in_use: InUsePolicy) -> None:
        """Say what a deletion would do.

        :raises: what it would
        """
        uri = location(images, image)
        found = images.check_delete(uri, in_use=in_use)
        clones = ", ".join(map(str, found))
        then = "would be deleted"
        if found and in_use == "flatten":
            then += f" once these are flattened: {clones}"
        elif found:
            then += f"; its data would stay as long as there are clones: {clones}"
        self.app.stdout.write(shapes.printable(f"{images.place(_id(uri))} {then}") + "\n")


def _pour(
    data: Reader, file: BinaryIO, path: str, progress: Progress | None, *, sparse: bool
) -> None:
    done = 0
    for piece in data:
        with files.naming(path):
            if sparse and not any(piece):
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        done += len(piece)
        if progress is not None:
            progress(done, data.size)
    with files.naming(path):
        if sparse:
            file.truncate(done)
        file.flush()
