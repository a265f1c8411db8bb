# SPDX-License-Identifier: Apache-2.0
"""Disks in containers, made by qemu-img, some of them hostile; and a look at who runs qemu-img."""

import contextlib
import os
import shutil
import struct
import subprocess

# Before anything is put before it on PATH.
QEMU_IMG = shutil.which("qemu-img")

# Glance's name of each format, and how qemu-img makes it.
KINDS = {
    "qcow2": ("qcow2", ["-O", "qcow2"]),
    "qcow2 compressed": ("qcow2", ["-c", "-O", "qcow2"]),
    "qcow2 of version 2": ("qcow2", ["-O", "qcow2", "-o", "compat=0.10"]),
    "vdi": ("vdi", ["-O", "vdi"]),
    "vhd": ("vhd", ["-O", "vpc"]),
    "vhdx": ("vhdx", ["-O", "vhdx"]),
    "vmdk": ("vmdk", ["-O", "vmdk"]),
    "vmdk streamed": ("vmdk", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
}


def make(folder, data, *options):
    """The bytes of a container that has a disk with ``data`` in it."""
    raw, container = folder / "disk.raw", folder / "disk.container"
    raw.write_bytes(data)
    _qemu_img("convert", "-f", "raw", *options, raw, container)
    return container.read_bytes()


def create(folder, *arguments):
    """The bytes of what ``qemu-img create`` makes."""
    container = folder / "created.container"
    with contextlib.chdir(folder):
        _qemu_img("create", "-q", *arguments[:-1], container, arguments[-1])
    return container.read_bytes()


def _qemu_img(*arguments):
    subprocess.run([QEMU_IMG, *map(str, arguments)], check=True)


def differencing_vhd(data):
    """A vhd that says that it has a parent."""
    return data[:60] + struct.pack(">I", 4) + data[64:]


def vmdk_with_parent(data, line, *, beyond=False):
    """A vmdk whose descriptor has that line, which makes QEMU open another file with it.

    :param beyond: the line comes after what the header says that the descriptor is
    """
    begin = data.index(b"# Disk DescriptorFile")
    text = data[begin : data.index(b"\0", begin)].replace(b"CID=ffffffff", b"CID=11111111")
    sectors = -(-len(text) // 512)
    text = text.ljust(512 * sectors, b"\n") + line
    changed = data[:begin] + text + data[begin + len(text) :]
    return changed[:36] + struct.pack("<Q", sectors) + changed[44:] if beyond else changed


def encrypted_qcow2(data):
    """A qcow2 that says that its data are encrypted, by LUKS."""
    return data[:32] + struct.pack(">I", 2) + data[36:]


def vhd_of(data, size):
    """A vhd that says of its disk, where QEMU does not look, that it is that large."""
    footer = data[:40] + struct.pack(">Q", size) + data[48:64] + bytes(4) + data[68:512]
    checksum = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
    return footer[:64] + checksum + footer[68:] + data[512:]


class Watched:
    """A folder for PATH whose qemu-img tells of each run before it is the real one.

    :ivar lines: of shell, to be run before
    """

    def __init__(self, folder, monkeypatch):
        self._log = folder / "qemu-img.log"
        self._program = folder / "qemu-img"
        self.do("")
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def do(self, lines):
        """Have those lines of shell run before each run."""
        self._program.write_text(
            f'#!/bin/sh\necho "$@" >>{self._log}\n{lines}\nexec {QEMU_IMG} "$@"\n'
        )
        self._program.chmod(0o755)

    def runs(self):
        """The arguments of every run, each in a line."""
        return self._log.read_text().splitlines() if self._log.exists() else []
