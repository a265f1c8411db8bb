# SPDX-License-Identifier: Apache-2.0
"""What this library's errors are to Glance."""

import glance_store
import pytest

from rbdstore import exceptions
from rbdstore.adapters import glance


def every_error(root=exceptions.RbdStoreError):
    yield root
    for kind in root.__subclasses__():
        yield from every_error(kind)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_is_translated(kind):
    with pytest.raises(Exception, match="that is why") as caught, glance.translated():
        raise kind("that is why")
    assert isinstance(
        caught.value, glance_store.GlanceStoreException | glance_store.BackendException
    )
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (exceptions.ImageNotFound, "NotFound"),
        (exceptions.SnapshotNotFound, "NotFound"),
        (exceptions.Vanished, "NotFound"),
        (exceptions.PoolNotFound, "BadStoreConfiguration"),
        (exceptions.ConfigError, "BadStoreConfiguration"),
        (exceptions.Duplicate, "Duplicate"),
        (exceptions.InUse, "InUseByStore"),
        (exceptions.InvalidBody, "Invalid"),
        (exceptions.InvalidName, "Invalid"),
        (exceptions.StorageFull, "StorageFull"),
        (exceptions.ReadOnly, "StorageWriteDenied"),
        # Uploads look for the one, deletions for the other.
        (exceptions.PermissionDenied, "StorageWriteDenied"),
        (exceptions.PermissionDenied, "Forbidden"),
        (exceptions.Unreachable, "BackendException"),
        (exceptions.Unreachable, "RemoteServiceUnavailable"),
        (exceptions.Timeout, "TimeoutError"),
        (exceptions.LeaseLost, "TimeoutError"),
    ],
)
def test_what_an_error_is_to_glance(kind, expected):
    with pytest.raises(getattr(glance_store.exceptions, expected)), glance.translated():
        raise kind("why")


def test_what_is_not_this_librarys_comes_out_as_it_is():
    with pytest.raises(KeyError), glance.translated():
        raise KeyError
