# SPDX-License-Identifier: Apache-2.0
"""Names and locations: what is taken, what is refused, and what stands on disk."""

import re

import pytest
import wrong

from rbdstore import exceptions, spec
from rbdstore.spec import ImageSpec, Location

FSID = "6f0f4a2e-5a5c-4a39-9d3f-8f2f1c3c2b10"

GOOD_NAMES = [
    "debian-12",
    "volume-7d6b1a54-7b7e-4e43-9d4f-0c4a4a2b8f11",
    "two words",
    "100%",
    "50%25 off",
    "a.b_c~d+e,f:g;h=i",
    "größe",
    "画像",
    "🙂",
    "e\N{COMBINING ACUTE ACCENT}",
    "x" * spec.MAX_NAME_BYTES,
    "é" * (spec.MAX_NAME_BYTES // 2),
    "...",
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_names(name):
    assert spec.check_name(name) == name
    assert spec.check_new_name(name) == name
    assert spec.check_snapshot_name(name) == name


def refused(table, check):
    found = wrong.faults(table, check)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("check", "table"),
    [
        (spec.check_name, wrong.NAMES),
        (spec.check_new_name, wrong.NEW_NAMES),
        (spec.check_snapshot_name, wrong.SNAPSHOTS),
        (spec.check_new_names, wrong.LISTS_OF_NAMES),
    ],
)
def test_bad_names(check, table):
    refused(table, check)


@pytest.mark.parametrize("entry", wrong.RESERVED_SNAPSHOTS, ids=lambda entry: entry.id)
def test_snapshots_that_mean_something_are_told(entry):
    assert spec.is_reserved_snap(entry.value)


def test_a_name_is_plain_text_whatever_it_was():
    for check in (spec.check_name, spec.check_new_name, spec.check_snapshot_name):
        assert type(check(wrong.Named.VOLUME)) is str
        assert f"{check(wrong.Named.VOLUME)}" == "volume-of-an-enumeration"


@pytest.mark.parametrize("name", ["snap", "nova-resize", "backup.7.snap.12", "clone_snap"])
def test_snapshot_names_of_others_can(name):
    assert not spec.is_reserved_snap(name)
    assert spec.check_snapshot_name(name) == name


@pytest.mark.parametrize("name", ["x" * spec.MAX_NAME_BYTES, "é" * 110])
def test_every_derived_name_fits_where_librbd_keeps_it(name):
    image_id = "f" * 32
    derived = [
        spec.draft_name(name),
        spec.deleted_name(name, image_id[:16]),
        spec.deleted_name(name),
        spec.clone_snap_v1(name),
        spec.lease_object(name),
        spec.record_object(image_id),
        spec.new_export_snap(name),
    ]
    # The object that maps a name to an image's id, and the longest file name there is.
    assert max(len(f"rbd_id.{each}".encode()) for each in derived) <= 255


def test_derived_names():
    assert re.fullmatch(r"volume-1\.[0-9a-f]{8}\.partial", spec.draft_name("volume-1"))
    assert spec.draft_name("volume-1") != spec.draft_name("volume-1")
    assert spec.deleted_name("volume-1") == "volume-1.deleted"
    assert spec.deleted_name("volume-1", "12ab") == "volume-1.12ab.deleted"
    assert spec.clone_snap_v1("volume-2") == "volume-2.clone_snap"
    assert spec.deleted_snap(7) == "rbdstore.deleted.7"
    assert spec.lease_object("volume-1") == "rbdstore.lease.volume-1"
    assert spec.record_object("12ab") == "rbdstore.image.12ab"
    assert spec.new_clone_snap().startswith("rbdstore.clone.")
    assert spec.new_clone_snap() != spec.new_clone_snap()
    exported = spec.new_export_snap("image.1")
    assert spec.is_export_snap(exported)
    assert spec.exported_as(exported) == "image.1"
    assert exported != spec.new_export_snap("image.1")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.partial", True),
        ("a.deleted", True),
        ("a", False),
        ("partial", False),
        ("a.deleted.b", False),
    ],
)
def test_what_is_unfinished_or_deleted(name, is_one):
    assert spec.is_unfinished_or_deleted(name) is is_one


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("backup.12ab-34cd.snap.1700000000", True),
        ("backup.12ab-34cd.snap.1700000000.25", True),
        ("backup.12ab.snap.", False),
        ("backup.12ab.snap.1700000000.25.7", False),
        ("backup.12ab.snap.1700000000 of mine", False),
        ("my backup.12ab.snap.17", False),
        ("backup.12ab.snap.17\n", False),
    ],
)
def test_snapshots_of_backups(name, is_one):
    assert spec.is_backup_snap(name) is is_one


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (ImageSpec("volumes", "v"), "volumes/v"),
        (ImageSpec("volumes", "v", "s"), "volumes/v@s"),
        (ImageSpec("volumes", "v", "s", "tenant"), "volumes/tenant/v@s"),
    ],
)
def test_specs_read_as_the_rbd_command_has_them(found, text):
    assert str(found) == text


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_location_comes_back_as_it_was(name):
    location = Location(name, FSID, "images", "snap")
    assert Location.parse(location.uri) == location
    assert location.uri.isascii()
    assert location.uri.count("/") == 5
    assert Location.parse(Location(name, FSID, name, name).uri) == Location(name, FSID, name, name)
    assert Location.parse(Location(name).uri) == Location(name)


def test_the_form_of_a_location():
    assert Location("a b", FSID, "images", "snap").uri == f"rbd://{FSID}/images/a%20b/snap"
    assert Location("a b").uri == "rbd://a%20b"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://access:SECRET@s3.example/bucket/key",
        "s3://access:SEC/RET@s3.example/bucket/key",
        "swift+https://account%3Auser:SECRET@keystone.example:5000/v3/images/key",
        "https://glance.example/image?token=SECRET",
        "rbd://access:SECRET@5f1d8f5e-7f7e-4b1b-9b1a-0c3d0f3f5d11/images/image-1/snap",
        "rbd://access:SEC/RET@images/image-1",
    ],
)
def test_what_is_secret_in_a_location_is_not_told(uri):
    for call, argument in ((Location.parse, uri), (spec.check_locations, uri)):
        with pytest.raises(exceptions.InvalidLocation) as caught:
            call(argument)
        assert uri.partition("://")[0] in str(caught.value)
        for secret in ("access", "SEC", "RET"):
            assert secret not in str(caught.value)


def test_the_old_form_says_neither_cluster_nor_pool():
    found = Location.parse("rbd://debian-12")
    assert (found.image, found.fsid, found.pool, found.snap) == ("debian-12", None, None, None)


def test_crafted_locations():
    refused(wrong.at(FSID, wrong.LOCATIONS), Location.parse)


def test_locations_of_elsewhere_are_locations():
    for entry in wrong.at(FSID, wrong.ELSEWHERE):
        found = Location.parse(entry.value)
        assert (found.fsid, found.pool) != (FSID, "images")
        assert Location.parse(found.uri) == found


def test_a_query_is_a_part_of_the_name():
    assert Location.parse(f"rbd://{FSID}/images/a%3Fb/snap").image == "a?b"
    assert Location.parse(f"rbd://{FSID}/images/a?b#c/snap").image == "a?b#c"
