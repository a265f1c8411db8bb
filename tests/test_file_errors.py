# SPDX-License-Identifier: Apache-2.0
"""Every exception of sqlite3, and what the file system raises, has a meaning here."""

import errno
import sqlite3

import pytest

from rbdstore import exceptions
from rbdstore.drivers.file import errors
from rbdstore.spec import ImageSpec

SPEC = ImageSpec("volumes", "volume-1")


def _classes():
    found = {
        thing
        for thing in vars(sqlite3).values()
        if isinstance(thing, type) and issubclass(thing, Exception)
    }
    return sorted(found, key=lambda kind: kind.__name__)


def test_the_enumeration_finds_them():
    assert {"OperationalError", "Warning"} <= {kind.__name__ for kind in _classes()}
    assert len(_classes()) >= 10


def test_the_table_has_each_class_and_nothing_else():
    assert set(errors.BY_CLASS) == set(_classes())


@pytest.mark.parametrize("kind", _classes())
def test_each_class_is_translated(kind):
    with pytest.raises(exceptions.RbdStoreError) as caught, errors.translated(SPEC):
        raise kind("it failed")
    assert type(caught.value.__cause__) is kind
    assert caught.value.spec == SPEC
    assert "it failed" in str(caught.value)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (sqlite3.SQLITE_FULL, exceptions.StorageFull),
        (sqlite3.SQLITE_BUSY, exceptions.Timeout),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, exceptions.Timeout),
        (sqlite3.SQLITE_READONLY, exceptions.PermissionDenied),
        (sqlite3.SQLITE_CANTOPEN, exceptions.Unreachable),
        (sqlite3.SQLITE_CORRUPT, exceptions.ClusterError),
        (sqlite3.SQLITE_IOERR, exceptions.ClusterError),
    ],
)
def test_a_result_tells_more_than_the_class(result, expected):
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = result
    assert type(errors.translate(error, SPEC)) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, exceptions.StorageFull),
        (errno.EDQUOT, exceptions.StorageFull),
        (errno.EACCES, exceptions.PermissionDenied),
        (errno.EROFS, exceptions.PermissionDenied),
        (errno.ETIMEDOUT, exceptions.Timeout),
        (errno.EIO, exceptions.ClusterError),
    ],
)
def test_an_error_of_the_file_system_is_told_by_its_number(number, expected):
    with pytest.raises(exceptions.RbdStoreError) as caught, errors.translated(SPEC):
        raise OSError(number, "it failed")
    assert type(caught.value) is expected
    assert caught.value.spec == SPEC


@pytest.mark.parametrize("error", [TypeError("no"), exceptions.StorageFull("no")])
def test_anything_else_passes(error):
    with pytest.raises(type(error)) as caught, errors.translated(SPEC):
        raise error
    assert caught.value is error
