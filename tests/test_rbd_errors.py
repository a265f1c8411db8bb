# SPDX-License-Identifier: Apache-2.0
"""Every exception of librados and librbd has a meaning here, and says it."""

import contextlib
import errno

import pytest

rados = pytest.importorskip("rados")
rbd = pytest.importorskip("rbd")

from rbdstore import exceptions  # noqa: E402
from rbdstore.drivers.rbd import errors  # noqa: E402
from rbdstore.spec import ImageSpec  # noqa: E402

SPEC = ImageSpec("volumes", "volume-1")


def _classes():
    """All exceptions of both modules, by their trees and by their names."""
    found = set()
    for module in (rados, rbd):
        found |= {
            thing
            for thing in vars(module).values()
            if isinstance(thing, type)
            and issubclass(thing, Exception)
            and thing.__module__ == module.__name__
        }
        roots = [module.Error]
        while roots:
            found.add(roots[-1])
            roots.extend(roots.pop().__subclasses__())
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def _made(kind):
    for arguments in ((), (1,), (1, 2)):
        with contextlib.suppress(TypeError):
            return kind("it failed", *arguments)
    raise AssertionError(f"how is a {kind} made?")


def test_the_enumeration_finds_them():
    names = {f"{kind.__module__}.{kind.__name__}" for kind in _classes()}
    assert {"rados.TimedOut", "rados.InProgress", "rbd.ImageBusy", "rbd.Timeout"} <= names
    assert len(names) >= 44


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_class_is_in_the_table(kind):
    assert kind in errors.BY_CLASS
    with pytest.raises(exceptions.RbdStoreError) as caught, errors.translated(SPEC):
        raise _made(kind)
    assert type(caught.value.__cause__) is kind
    assert caught.value.spec == SPEC
    assert str(caught.value).startswith("volumes/volume-1: ")


def test_the_table_has_nothing_else():
    assert set(errors.BY_CLASS) == set(_classes())


@pytest.mark.parametrize("bare", [rados.Error, rados.OSError, rbd.OSError])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENAMETOOLONG, exceptions.InvalidName),
        (errno.ETIMEDOUT, exceptions.Timeout),
        (errno.EINTR, exceptions.Timeout),
        (errno.ESHUTDOWN, exceptions.Unreachable),
        (errno.ENOTCONN, exceptions.Unreachable),
        (errno.ENOSPC, exceptions.StorageFull),
        (errno.EDQUOT, exceptions.StorageFull),
        (errno.EOPNOTSUPP, exceptions.NotSupported),
        (errno.EPERM, exceptions.PermissionDenied),
        (errno.EACCES, exceptions.PermissionDenied),
        (errno.EBUSY, exceptions.InUse),
        (errno.EEXIST, exceptions.Duplicate),
        (errno.EROFS, exceptions.ReadOnly),
        (errno.ENOENT, exceptions.ImageNotFound),
        (errno.EUCLEAN, exceptions.InUse),
        (errno.EIO, exceptions.ClusterError),
        (None, exceptions.ClusterError),
    ],
)
def test_a_bare_class_is_told_by_its_number(bare, number, expected):
    assert type(errors.translate(bare("it failed", errno=number))) is expected


@pytest.mark.parametrize("sign", [1, -1])
def test_a_commands_number_has_either_sign(sign):
    assert type(errors.from_errno(sign * errno.ETIMEDOUT, "df")) is exceptions.Timeout
    error = errors.from_errno(sign * errno.EIO, "df: it failed")
    assert error.errno == errno.EIO
    assert "df: it failed" in str(error)


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (exceptions.PoolNotFound, "no such pool or namespace"),
        (exceptions.ImageNotFound, "no such image"),
        (exceptions.SnapshotNotFound, "no such snapshot"),
    ],
)
def test_the_caller_says_what_is_missing(missing, text):
    with pytest.raises(missing, match=text), errors.translated(SPEC, missing=missing):
        raise rbd.ImageNotFound("it failed", errno=errno.ENOENT)


def test_a_lacking_capability_is_named():
    with (
        pytest.raises(exceptions.PermissionDenied) as caught,
        errors.translated(SPEC, user="cinder"),
    ):
        raise rbd.PermissionError("it failed", errno=errno.EPERM)
    assert "ceph auth caps client.cinder" in str(caught.value)
    assert "osd capability `profile rbd pool=volumes`" in str(caught.value)


def test_what_is_enough_to_read_is_named():
    with (
        pytest.raises(exceptions.PermissionDenied) as caught,
        errors.translated(SPEC, user="nova", reads=True),
    ):
        raise rbd.PermissionError("it failed", errno=errno.EPERM)
    assert "`profile rbd-read-only pool=volumes`" in str(caught.value)


@pytest.mark.parametrize(
    ("service", "cap"), [("mon", "profile rbd"), ("mgr", "profile rbd pool=volumes")]
)
def test_what_a_command_wants_is_named(service, cap):
    error = errors.from_errno(-errno.EACCES, "df", SPEC, user="nova", service=service)
    assert f"the {service} capability `{cap}`" in str(error)


def test_the_lower_number_is_kept():
    error = errors.translate(rbd.IOError("it failed", errno=errno.EIO))
    assert error.errno == errno.EIO
    assert "it failed" in str(error)


@pytest.mark.parametrize("error", [TypeError("no"), OSError("no"), exceptions.StorageFull("no")])
def test_anything_else_passes(error):
    with pytest.raises(type(error)) as caught, errors.translated(SPEC):
        raise error
    assert caught.value is error
