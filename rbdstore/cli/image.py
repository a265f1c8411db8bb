# SPDX-License-Identifier: Apache-2.0
"""``image``: whole disks, written once, read and cloned many times."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from cliff import lister, show

from rbdstore import exceptions, spec
from rbdstore.cli import about, base, shapes, terminal
from rbdstore.driver import Progress
from rbdstore.images import ImageStore, StoredImage
from rbdstore.reader import Reader

_STREAM: Final = "-"


def _image_argument(parser: argparse.ArgumentParser, **how: Any) -> None:
    parser.add_argument("image", metavar="IMAGE", help="its id, or its rbd:// location", **how)


def location(images: ImageStore, image: str) -> str:
    """The location of an image that is named by its id or by its location."""
    return image if image.startswith("rbd://") else images.uri(image)


def opened(path: str) -> BinaryIO:
    """A file, or standard input, which stays open when this is closed."""
    return open(sys.stdin.fileno() if path == _STREAM else path, "rb", closefd=path != _STREAM)


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
        with _reading(parsed_args.file) as (file, length):
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
        if output == _STREAM and sys.stdout.isatty():
            raise exceptions.InvalidInput("an image is not for a terminal: redirect the output")
        uri = location(images, parsed_args.image)
        with (
            contextlib.closing(images.get(uri, parsed_args.offset, parsed_args.length)) as data,
            terminal.meter(f"get {parsed_args.image}", data.size) as progress,
        ):
            if output == _STREAM:
                _pour(data, sys.stdout.buffer, "standard output", progress)
            elif (kind := _kind(output)) is not None and not stat.S_ISREG(kind):
                # It is what it is, and cannot be replaced.
                if stat.S_ISBLK(kind) and not parsed_args.force:
                    raise FileExistsError(0, "it is a block device; --force overwrites it", output)
                with open(output, "wb", buffering=0) as file:
                    _pour(data, file, output, progress)
            else:
                with _made_whole(output, replace=parsed_args.force) as file:
                    _pour(data, file, output, progress, sparse=True)


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
        base.add_yes(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        images = self.store().images
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


def _kind(path: str) -> int | None:
    """What a path leads to, in the mode that the system has for it; None: there is nothing."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _reading(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file; give it with its length, where that is known before it is read."""
    if path == _STREAM:
        yield sys.stdin.buffer, None
        return
    with open(path, "rb") as file:
        length = None
        if file.seekable():
            # Of a block device, its status does not tell.
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
        yield file, length


def _pour(
    data: Reader, file: BinaryIO, path: str, progress: Progress | None, *, sparse: bool = False
) -> None:
    done = 0
    for piece in data:
        with _naming(path):
            if sparse and not any(piece):
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        done += len(piece)
        if progress is not None:
            progress(done, data.size)
    with _naming(path):
        if sparse:
            file.truncate(done)
        file.flush()


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Have errors of the file name it, as the user did: it may be the pool that is full, too."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _give_name(draft: str, path: str) -> None:
    """Name a file, unless there is one of that name."""
    try:
        os.link(draft, path)
    except OSError as error:
        # There are file systems without hard links.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS) or os.path.lexists(path):
            raise
        os.rename(draft, path)


@contextlib.contextmanager
def _made_whole(path: str, *, replace: bool) -> Iterator[BinaryIO]:
    """Write a file that gets its name when it is whole; nothing is left of one that is not."""
    if not replace and os.path.lexists(path):
        raise FileExistsError(0, "there is such a file; --force replaces it", path)
    draft = f"{path}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with _naming(path):
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(descriptor, "wb") as file:
            yield file
            with _naming(path):
                os.fsync(file.fileno())
        with _naming(path):
            if replace:
                os.replace(draft, path)
            else:
                _give_name(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
