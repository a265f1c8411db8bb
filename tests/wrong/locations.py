# SPDX-License-Identifier: Apache-2.0
"""Locations that are refused, and that would reach what is not theirs."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable

from rbdstore import exceptions, spec
from wrong.entries import Wrong, table
from wrong.names import LONGEST

OTHER_FSID = "5f1d8f5e-7f7e-4b1b-9b1a-0c3d0f3f5d11"

_WRITTEN = [
    (
        "is not an rbd:// location",
        {
            "empty": "",
            "a space": " ",
            "a name": "image-1",
            "a file": "file:///etc/passwd",
            "http": "http://<fsid>/images/image-1/snap",
            "upper case": "RBD://<fsid>/images/image-1/snap",
            "a leading space": " rbd://<fsid>/images/image-1/snap",
            "a leading newline": "\nrbd://<fsid>/images/image-1/snap",
            "one slash": "rbd:/<fsid>/images/image-1/snap",
            "no slashes": "rbd:<fsid>/images/image-1/snap",
            "the rbd command's form": "images/image-1@snap",
            "qemu's form": "rbd:images/image-1@snap",
            "a long way to go": "x" * (1 << 20),
        },
    ),
    (
        "parts; rbd://<fsid>/<pool>/<image>/<snapshot> has four",
        {
            "two parts": "rbd://images/image-1",
            "three parts": "rbd://<fsid>/images/image-1",
            "five parts": "rbd://<fsid>/images/tenant/image-1/snap",
            "a trailing slash": "rbd://<fsid>/images/image-1/snap/",
            "an empty part more": "rbd://<fsid>//images/image-1/snap",
            "many parts": "rbd://" + "a/" * 100_000,
            "an old form with a trailing slash": "rbd://image-1/",
            "a path upwards": "rbd://<fsid>/images/../volumes/image-1/snap",
        },
    ),
    (
        "cannot be empty or blank",
        {
            "nothing after the scheme": "rbd://",
            "four empty parts": "rbd://///",
            "no fsid": "rbd:///images/image-1/snap",
            "no pool": "rbd://<fsid>//image-1/snap",
            "no image": "rbd://<fsid>/images//snap",
            "no snapshot": "rbd://<fsid>/images/image-1/",
            "a blank image": "rbd://<fsid>/images/%20/snap",
            "a blank old form": "rbd://%20",
        },
    ),
    (
        "is no name",
        {
            "a dot for the image": "rbd://<fsid>/images/./snap",
            "two dots for the image": "rbd://<fsid>/images/../snap",
            "two dots for the pool": "rbd://<fsid>/../image-1/snap",
            "two quoted dots": "rbd://<fsid>/images/%2e%2E/snap",
            "an old form of a dot": "rbd://.",
            "an old form of two quoted dots": "rbd://%2e%2e",
        },
    ),
    (
        "contains '/' or '@'",
        {
            "a quoted slash": "rbd://<fsid>/images/a%2Fb/snap",
            "a quoted slash in lower case": "rbd://<fsid>/images/a%2fb/snap",
            "a quoted at": "rbd://<fsid>/images/image-1%40snap/snap",
            "an at": "rbd://<fsid>/images/image-1@snap/snap",
            "a namespace in the pool": "rbd://<fsid>/images%2Ftenant/image-1/snap",
            "a way into another pool": "rbd://<fsid>/images%2F..%2Fvolumes/image-1/snap",
            "a pool in the image": "rbd://<fsid>/images/..%2Fvolumes%2Fimage-1/snap",
            "a quoted location": "rbd://<fsid>%2Fimages%2Fimage-1%2Fsnap",
            "an old form of a pool and an image": "rbd://volumes%2Fimage-1",
            "an old form of an image and a snapshot": "rbd://image-1@snap",
            "a user and a password": "rbd://admin:secret@<fsid>/images/image-1/snap",
        },
    ),
    (
        "contains control characters",
        {
            "a quoted nul": "rbd://<fsid>/images/image-1%00/snap",
            "a quoted newline": "rbd://<fsid>/images/image%0A1/snap",
            "a newline": "rbd://<fsid>/images/image\n1/snap",
            "a nul": "rbd://<fsid>/images/image\x001/snap",
            "a quoted line separator": "rbd://<fsid>/images/image%E2%80%A81/snap",
            "a surrogate": "rbd://<fsid>/images/image\ud8001/snap",
            "an old form with a nul": "rbd://image%001",
        },
    ),
    (
        "begins or ends with a space",
        {
            "a trailing newline": "rbd://<fsid>/images/image-1/snap\n",
            "a trailing space": "rbd://<fsid>/images/image-1/snap ",
            "a quoted trailing space": "rbd://<fsid>/images/image-1%20/snap",
            "an old form with a trailing newline": "rbd://image-1\n",
        },
    ),
    (
        "is not UTF-8",
        {
            "half a letter": "rbd://<fsid>/images/image-1%c3/snap",
            "a byte that is never text": "rbd://<fsid>/images/%ff/snap",
            "a quoted surrogate": "rbd://<fsid>/images/%ed%a0%80/snap",
            "a slash in too many bytes": "rbd://<fsid>/images/a%c0%afb/snap",
            "two dots in too many bytes": "rbd://<fsid>/images/%c0%ae%c0%ae/snap",
        },
    ),
    (
        "the limit is",
        {
            "a long image": f"rbd://<fsid>/images/{'x' * (LONGEST + 1)}/snap",
            "a long pool": f"rbd://<fsid>/{'x' * 5000}/image-1/snap",
            "a long snapshot": f"rbd://<fsid>/images/image-1/{'%41' * (LONGEST + 1)}",
            "a long old form": f"rbd://{'x' * (1 << 20)}",
        },
    ),
    (
        "is reserved",
        {
            "an unfinished image": "rbd://<fsid>/images/image-1.12ab34cd.partial/snap",
            "a deleted image": "rbd://<fsid>/images/image-1.deleted/snap",
            "a deleted image, quoted": "rbd://<fsid>/images/image-1%2Edeleted/snap",
            "an object of a lease": "rbd://<fsid>/images/rbdstore.lease.image-1/snap",
            "a snapshot that carries clones": "rbd://<fsid>/images/image-1/rbdstore.clone.1",
            "an old form of an unfinished image": "rbd://image-1.12ab34cd.partial",
        },
    ),
]

LOCATIONS = [
    *table(
        exceptions.InvalidLocation,
        "a location is text, not ",
        none=None,
        bytes=b"rbd://image-1",
        a_number=7,
        a_bool=True,
        nan=math.nan,
        a_list=["rbd://image-1"],
        a_location_that_was_parsed=spec.Location("image-1"),
        a_path=pathlib.PurePath("rbd://image-1"),
        an_object=object(),
    ),
    *(
        Wrong(name, uri, exceptions.InvalidLocation, says)
        for says, uris in _WRITTEN
        for name, uri in uris.items()
    ),
]
"""What is no location at all. In these, ``<fsid>`` stands for the cluster's own: :func:`at`."""

ELSEWHERE = [
    *(
        Wrong(name, uri, exceptions.InvalidLocation, "is in cluster ")
        for name, uri in {
            "another cluster": f"rbd://{OTHER_FSID}/images/image-1/snap",
            "no cluster's fsid": "rbd://fsid/images/image-1/snap",
            "an fsid with a space in it": "rbd://<fsid>%20x/images/image-1/snap",
            "an fsid that is quoted twice": "rbd://%253Cfsid%253E/images/image-1/snap",
        }.items()
    ),
    *(
        Wrong(name, uri, exceptions.InvalidLocation, "is in pool ")
        for name, uri in {
            "another pool": "rbd://<fsid>/volumes/image-1/snap",
            "another pool, quoted": "rbd://<fsid>/%76olumes/image-1/snap",
            "another pool, all of it quoted": "rbd://<fsid>/%76%6F%6C%75%6D%65%73/image-1/snap",
            "a pool that is not there": "rbd://<fsid>/nowhere/image-1/snap",
            "the pool in upper case": "rbd://<fsid>/IMAGES/image-1/snap",
            "the pool, quoted twice": "rbd://<fsid>/%2569mages/image-1/snap",
            "the pool with a full stop": "rbd://<fsid>/images./image-1/snap",
            "the pool with a query": "rbd://<fsid>/images?/image-1/snap",
        }.items()
    ),
]
"""Good locations that are not of the pool ``images`` of this cluster."""


def at(fsid: str, table: Iterable[Wrong]) -> list[Wrong]:
    """A table of locations for the cluster of that fsid."""
    return [
        dataclasses.replace(entry, value=entry.value.replace("<fsid>", fsid))
        if isinstance(entry.value, str)
        else entry
        for entry in table
    ]


LISTS_OF_LOCATIONS = [
    *table(
        exceptions.InvalidLocation,
        "is one location, not a list of locations",
        one_location="rbd://image-1",
        an_empty_one="",
        one_location_as_bytes=b"rbd://image-1",
    ),
    *table(
        exceptions.InvalidLocation,
        "a list of locations is wanted, not ",
        none=None,
        a_number=3,
        an_object=object(),
        a_class=str,
    ),
    *table(
        exceptions.InvalidLocation,
        "a location is text, not ",
        none_in_a_list=[None],
        bytes_in_a_list=[b"rbd://image-1"],
        as_glance_has_them=[{"url": "rbd://image-1", "metadata": {}}],
        a_list_in_a_list=[["rbd://image-1"]],
    ),
]
