# SPDX-License-Identifier: Apache-2.0
"""Conversion by qemu-img, which has been the target of many an image: it works under limits.

Its memory, its processor time and its files are limited by the kernel, through oslo.concurrency,
its time by this process, and it does not outlive that.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, BinaryIO, Final

from oslo_utils import units

from rbdstore import exceptions
from rbdstore.driver import Progress
from rbdstore.settings import Settings

_LOOK_SECONDS: Final = 0.5
_MOST_SAID: Final = 500
# All is well; what nothing refers to is left over; there is no check for this format.
_SOUND: Final = (0, 3, 63)
# What a shell has for a program that is not there, and setpriv, too.
_NOT_FOUND: Final = 127
_PERCENT: Final = re.compile(rb"\((\d+\.\d+)/100%\)")


def check(container: BinaryIO, qemu_format: str, settings: Settings) -> None:
    """See that all is there that the tables of a container name.

    Without that qemu-img takes for zeros what an image has lost that was cut off.

    :param qemu_format: what QEMU calls the file's format; it never guesses
    :raises BrokenImage: it is not
    :raises ConversionFailed: not within the limits
    """
    status, said = _run(
        ["qemu-img", "check", "-f", qemu_format, _path(container)], [container], 0, settings, None
    )
    if status not in _SOUND:
        raise exceptions.BrokenImage(f"the image is damaged or cut off: {said}")


def convert(
    container: BinaryIO,
    qemu_format: str,
    target: Mapping[str, str] | BinaryIO,
    size: int,
    settings: Settings,
    progress: Progress | None,
) -> None:
    """Write the disk in a container to ``target``, which reads as zeros so far.

    When it returns, what was written is safe where the target is an image of a cluster.

    :param qemu_format: what QEMU calls the file's format; it never guesses
    :param target: a file, or the options of the block driver by which QEMU opens it, such as
        :meth:`rbdstore.driver.Pool.blockdev` gives
    :param size: of the target, in bytes
    :raises ConversionFailed: it cannot be converted, be it that the disk is larger than ``size``,
        or not within the limits
    :raises StorageFull: the pool, or the local disk, is full
    """
    files = [container]
    if isinstance(target, Mapping):
        # Of what is written through no cache, errors are told at once.
        cache = "none"
    else:
        files.append(target)
        cache, target = "writeback", {"driver": "file", "filename": _path(target)}
    options = {"driver": "raw"} | {f"file.{key}": value for key, value in target.items()}
    status, said = _run(
        [
            *("qemu-img", "convert", "-p", "-n", "--target-is-zero", "-t", cache),
            *("-f", qemu_format, "--target-image-opts", _path(container)),
            ",".join(f"{key}={value.replace(',', ',,')}" for key, value in options.items()),
        ],
        files,
        size,
        settings,
        progress,
    )
    if status and os.strerror(errno.ENOSPC) in said:
        raise exceptions.StorageFull(f"there is no room for what it is converted to: {said}")
    if status:
        raise exceptions.ConversionFailed(f"qemu-img ended with status {status}: {said}")


def _path(file: BinaryIO) -> str:
    """What a process that has a file from this one calls it; it has no other name."""
    return f"/dev/fd/{file.fileno()}"


def _run(
    command: list[str],
    files: Sequence[BinaryIO],
    size: int,
    settings: Settings,
    progress: Progress | None,
) -> tuple[int, str]:
    """Run qemu-img; return its exit status and the end of what it said.

    :param files: what it has from this process
    :param size: of the largest file that it may write
    :raises ConversionFailed: it was ended by a limit
    :raises NotSupported: there is none
    """
    # Not at the top: it takes a tenth of a second, and few programs convert anything.
    from oslo_concurrency import processutils

    limits = processutils.ProcessLimits(
        address_space=_allowed(resource.RLIMIT_AS, settings.conversion_address_space),
        core_file_size=0,
        cpu_time=_allowed(resource.RLIMIT_CPU, settings.conversion_cpu_seconds),
        # What it says goes to a file, too.
        file_size=_allowed(resource.RLIMIT_FSIZE, max(size, units.Mi)),
    )
    limited = [
        *(sys.executable, "-m", "oslo_concurrency.prlimit", *limits.prlimit_args(), "--"),
        # Were this process killed, it would go on writing to what others have taken back.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *command,
    ]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            limited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            pass_fds=[file.fileno() for file in files],
            env=os.environ | {"LC_ALL": "C"},
        ) as process,
    ):
        try:
            in_time = _follow(process, size, settings.conversion_seconds, progress)
        except BaseException:
            process.kill()
            raise
        if not in_time:
            process.kill()
            raise exceptions.ConversionFailed(
                f"qemu-img took longer than {settings.conversion_seconds:g} s "
                "(image_conversion_time_limit)"
            )
        status = process.wait()
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            raise exceptions.ConversionFailed(
                f"qemu-img took more than {settings.conversion_cpu_seconds} s of processor time "
                "(image_conversion_cpu_limit), or was killed"
            )
        if status < 0:
            # So it ends, too, where librbd gets no more memory.
            raise exceptions.ConversionFailed(
                f"qemu-img was ended by signal {-status}, perhaps for want of memory "
                f"(image_conversion_address_space_limit): {_end_of(said)}"
            )
        if status == _NOT_FOUND:
            raise exceptions.NotSupported(
                "images that are not raw need qemu-img, which cannot be run; install qemu-utils "
                f"({_end_of(said)})"
            )
        return status, _end_of(said)


def _allowed(limit: int, wanted: int) -> int:
    """As much of it as this process may have itself."""
    _soft, hard = resource.getrlimit(limit)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _follow(
    process: subprocess.Popen[bytes], size: int, seconds: float, progress: Progress | None
) -> bool:
    """Tell of its progress until it closes its output; False: it took too long."""
    deadline = time.monotonic() + seconds
    stream: Any = process.stdout
    unread = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(_LOOK_SECONDS):
                continue
            said = os.read(stream.fileno(), 4096)
            if not said:
                return True
            unread += said
            if found := _PERCENT.findall(unread):
                unread = unread[unread.rindex(b"%)") :]
                if progress is not None:
                    progress(min(size, int(float(found[-1]) * size / 100)), size)
    return False


def _end_of(said: IO[bytes]) -> str:
    length = said.seek(0, os.SEEK_END)
    said.seek(max(0, length - _MOST_SAID))
    text = " ".join(said.read().decode(errors="replace").split())
    return "".join(char if char.isprintable() else "?" for char in text)
