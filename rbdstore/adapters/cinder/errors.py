# SPDX-License-Identifier: Apache-2.0
"""The library's errors as Cinder's, by one table of each of its services."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from cinder import exception

from rbdstore import exceptions

Table = Mapping[type[exceptions.RbdStoreError], type[exception.CinderException]]

TABLE: Final[Table] = {
    exceptions.ConfigError: exception.InvalidConfigurationValue,
    exceptions.InvalidInput: exception.InvalidInput,
    exceptions.InvalidBody: exception.ImageUnacceptable,
    exceptions.ConversionFailed: exception.ImageUnacceptable,
    exceptions.PoolNotFound: exception.VolumeBackendAPIException,
    exceptions.ImageNotFound: exception.VolumeNotFound,
    exceptions.SnapshotNotFound: exception.SnapshotNotFound,
    # With this one the service makes a volume available again that it was about to delete.
    exceptions.InUse: exception.VolumeIsBusy,
    exceptions.Duplicate: exception.Duplicate,
    exceptions.NotSupported: exception.NotSupportedOperation,
    exceptions.RbdStoreError: exception.VolumeBackendAPIException,
}
"""What is not here is what its base class is."""


def of_cinder(error: exceptions.RbdStoreError, table: Table = TABLE) -> exception.CinderException:
    """The same in Cinder's terms, with the same text."""
    found = next(table[kind] for kind in type(error).__mro__ if kind in table)
    return found(str(error))


@contextlib.contextmanager
def translated(table: Table = TABLE) -> Iterator[None]:
    """Raise Cinder's errors for the library's."""
    try:
        yield
    except exceptions.RbdStoreError as error:
        raise of_cinder(error, table) from error
