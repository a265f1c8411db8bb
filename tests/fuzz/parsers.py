# SPDX-License-Identifier: Apache-2.0
"""Every parser of what others may have written, what it may raise, and what it is meant to read.

A parser takes bytes. Whatever else than its errors comes out of it is a fault of this library.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable

import memory
import scenes

import rbdstore
from rbdstore import caps, driver, exceptions, records, spec
from rbdstore.drivers.rbd import decoding, links, object_map, remains
from rbdstore.exchange import formats
from rbdstore.names.claims import Journal


@dataclasses.dataclass(frozen=True)
class Parser:
    """:ivar errors: those that are documented; all others are faults
    :ivar seeds: what it reads without an error, as a rule
    """

    parse: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]


def _text(data):
    return data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")


def _of_text(parse):
    def parsed(data):
        try:
            text = _text(data)
        except UnicodeDecodeError:
            return None
        return parse(text)

    return parsed


def _location(text):
    found = spec.Location.parse(text)
    assert spec.Location.parse(found.uri) == found


def _name(text):
    """What a name is recognised as: questions that every text has an answer to."""
    for ask in (spec.is_draft, spec.made_as, spec.is_unfinished_or_deleted, spec.is_disk):
        ask(text)
    for ask in (spec.exported_as, spec.is_reserved_snap, spec.is_users_snap, spec.is_backup_snap):
        ask(text)


def _checked(check):
    def checked(text):
        assert check(text) == text

    return checked


def _journal(data):
    found = Journal.from_bytes(data)
    assert Journal.from_bytes(found.to_bytes()) == found


def _record():
    """The notes about an image: who was cloned from it, and whether it is deleted."""
    cluster = memory.memory_cluster()
    pool = cluster.open_pool("volumes")
    scenes.make(pool, "volume")
    image = pool.open("volume")
    key = spec.record_object(image.id)
    entry = driver.TrashEntry(image.id, "volume", 0.0)

    def parse(text):
        name, _, value = text.partition("=")
        pool.set_keys(key, {name: value.encode(errors="replace")})
        try:
            for child in records.children(image, 5):
                str(child.spec)
            records.is_deleted(pool, image.id, entry)
        finally:
            pool.remove_keys(key, [name])

    return parse


def _configuration(data):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rbdstore.conf")
        with open(path, "wb") as file:
            file.write(data)
        rbdstore.load(path).close()


def _container(disk_format):
    def parse(data):
        formats.check_beginning(data[: formats.BEGINNING], disk_format)
        inspection = formats.Inspection(disk_format, 1 << 30)
        inspection.see(data)
        inspection.end()

    return parse


def _line(text):
    caps.line(text, "osd", caps.writing(text))


_JOURNAL = Journal(
    ["clone", "rbd://größe", None, 5, True, ["list"]],
    "make",
    "1f",
    {"size": 5},
    ["volume.0123abcd.partial"],
    ["2a"],
    [driver.Parent("images", "", "画像", "3c", "snap")],
)
_CONFIGURATION = b"""[rbdstore]
enabled_backends = fast:file
[fast]
file_store_datadir = /dev/null
rbd_pool = volumes
rbd_store_chunk_size = 8
"""
_LINK = bytes.fromhex(
    "0101240000000100000000000000000000000c0000003130313064326332316632650400000000000000"
)
_CHILDREN = bytes.fromhex(
    "0100000002011c00000002000000000000000c00000031303130643730626265656600000000"
)
_MARK = bytes.fromhex("0201180000000006000000766f6c756d650102030401020304010203040102030400")

PARSERS = {
    "location": Parser(
        _of_text(_location),
        (exceptions.InvalidLocation,),
        (b"rbd://5f1d8f5e/images/image-1/snap", b"rbd://a%20b", b"rbd://%C3%A9/a/b/c"),
    ),
    "name": Parser(_of_text(_name), (), (b"volume-1.0123abcd.partial", b"a_disk.local")),
    "a name that is there": Parser(
        _of_text(_checked(spec.check_name)), (exceptions.InvalidName,), (b"volume-1", "ü".encode())
    ),
    "a new name": Parser(
        _of_text(_checked(spec.check_new_name)),
        (exceptions.InvalidName,),
        (b"volume-1", b"a.partial"),
    ),
    "a snapshot's name": Parser(
        _of_text(_checked(spec.check_snapshot_name)), (exceptions.InvalidName,), (b"snapshot-1",)
    ),
    "journal": Parser(_journal, (ValueError,), (_JOURNAL.to_bytes(), b"[]", b"{}")),
    "record": Parser(
        _of_text(_record()), (), (b"child/5/volumes//1f=", b"deleted=volume", b"kept-until=0.000")
    ),
    "trash": Parser(remains._mark, (decoding.Unreadable,), (_MARK,)),
    "text of Ceph's": Parser(decoding.text, (decoding.Unreadable,), (b"\x02\0\0\0ab",)),
    "link to a parent": Parser(links.read_link, (decoding.Unreadable,), (_LINK,)),
    "children": Parser(links.read_children, (decoding.Unreadable,), (_CHILDREN,)),
    "object map": Parser(
        _of_text(lambda text: object_map.features_off(text, "1f")), (), (b"1f 24", b"2a 8")
    ),
    "capability": Parser(_of_text(_line), (), (b"volumes", b"a b", b"it's")),
    "configuration": Parser(_configuration, (exceptions.ConfigError,), (_CONFIGURATION,)),
} | {
    f"{disk_format} image": Parser(
        _container(disk_format),
        (exceptions.InvalidBody, exceptions.InvalidSize),
        (seed,),
    )
    for disk_format, seed in {
        "qcow2": b"QFI\xfb\0\0\0\x03".ljust(512, b"\0"),
        "vmdk": b"KDMV\x01\0\0\0".ljust(512, b"\0"),
        "vhdx": b"vhdxfile".ljust(512, b"\0"),
        "vdi": (b"<<< VirtualBox".ljust(0x40, b"\0") + b"\x7f\x10\xda\xbe").ljust(512, b"\0"),
        "iso": (bytes(1 << 15) + b"\x01CD001\x01").ljust(18 << 11, b"\0"),
    }.items()
    if disk_format in formats.DISK_FORMATS
}


def feed(name, data):
    """Give data to a parser; only what it documents is passed over."""
    parser = PARSERS[name]
    with contextlib.suppress(*parser.errors):
        parser.parse(data)
