# SPDX-License-Identifier: Apache-2.0
"""Glance's images: a driver for glance_store, in place of its own ``rbd``.

::

    [DEFAULT]
    enabled_backends = ceph:rbdstore

    [ceph]
    rbd_store_pool = images
    rbd_store_user = glance

The section is that of the stock driver, and so are its option objects: two options of one name
cannot be registered in one section. Locations are ``rbd://<fsid>/<pool>/<image>/snap``, which
Cinder and Nova clone from. RBD has no access control lists, so ``set_acls`` is the base class's,
which says that there are none.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

import glance_store
from glance_store import capabilities, driver
from glance_store._drivers import rbd as stock
from glance_store.common import utils
from oslo_config import cfg
from oslo_utils import units

import rbdstore
from rbdstore import exceptions, loading, opts
from rbdstore.images import ImageStore
from rbdstore.transfer import reader

NAME: Final = "rbdstore"


# Errors. Where Glance looks for one class when it uploads and for another when it deletes, one is
# both.


class Unavailable(
    glance_store.BackendException,
    glance_store.RemoteServiceUnavailable,
    glance_store.exceptions.TimeoutError,
):
    """The cluster does not answer, or not as it should."""


class NotPermitted(glance_store.Forbidden, glance_store.StorageWriteDenied):
    """The cluster's user lacks a capability."""


class Elsewhere(glance_store.BadStoreUri, glance_store.Forbidden):
    """The location is of another cluster or pool, of which nothing is read or deleted here."""


ERRORS: Final[Mapping[type[exceptions.RbdStoreError], type[Exception]]] = {
    exceptions.RbdStoreError: glance_store.BackendException,
    exceptions.ConfigError: glance_store.BadStoreConfiguration,
    exceptions.InvalidInput: glance_store.Invalid,
    exceptions.InvalidLocation: Elsewhere,
    exceptions.NotFound: glance_store.NotFound,
    # Not that the image is gone, of which Glance would forget the record.
    exceptions.PoolNotFound: glance_store.BadStoreConfiguration,
    exceptions.Duplicate: glance_store.Duplicate,
    exceptions.InUse: glance_store.InUseByStore,
    exceptions.PermissionDenied: NotPermitted,
    exceptions.ReadOnly: glance_store.StorageWriteDenied,
    exceptions.StorageFull: glance_store.StorageFull,
    exceptions.Vanished: glance_store.NotFound,
    exceptions.ClusterError: Unavailable,
}
"""What each error is to Glance; one that is not here is what its nearest base class is."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise glance_store's errors in place of this library's."""
    try:
        yield
    except exceptions.RbdStoreError as error:
        kind = next(ERRORS[base] for base in type(error).__mro__ if base in ERRORS)
        raise kind(str(error)) from error


# Options


def _names(opt: cfg.Opt) -> set[str]:
    return {opt.dest, *(old.name for old in opt.deprecated_opts if old.name)}


_DRIVERS: Final = {
    group.name: options
    for group, options in loading.list_opts()
    if isinstance(group, cfg.OptGroup)
}
# Of what every backend has, what images need and the stock driver has not.
_FOR_IMAGES: Final = (
    "rbd_lease_seconds",
    "rbd_metrics",
    "rbd_transfer_window",
    "rbd_transfer_threads",
)


def _options() -> list[cfg.Opt]:
    """The stock driver's, and those of this library and its drivers that it has not."""
    found = {opt.dest: opt for opt in stock.Store.OPTIONS}
    found["rbdstore_driver"] = cfg.StrOpt(
        "rbdstore_driver",
        default="rbd",
        help="The driver of rbdstore that keeps the images, by its name, such as rbd or file.",
    )
    for opt in (opt for options in _DRIVERS.values() for opt in options):
        wanted = opt.dest in _FOR_IMAGES or opt not in opts.COMMON
        if wanted and not _names(opt) & found.keys():
            # Whoever uses another driver need not set it.
            found[opt.dest] = copy.copy(opt)
            found[opt.dest].required = False
    return list(found.values())


# The store


class StoreLocation(stock.StoreLocation):
    """Where an image is; glance_store looks for it here, by this name."""


class Store(driver.Store):
    """The images of one pool. Nothing about an image is kept here, so one serves them all."""

    _CAPABILITIES = (
        capabilities.BitMasks.RW_ACCESS
        | capabilities.BitMasks.READ_RANDOM
        | capabilities.BitMasks.DRIVER_REUSABLE
    )
    OPTIONS = _options()

    def __init__(self, conf: cfg.ConfigOpts, backend: str | None = None) -> None:
        super().__init__(conf, backend)
        self._store: rbdstore.Store | None = None
        if self.backend_group:
            self.store_conf = driver.BackendGroupConfiguration(
                self.OPTIONS, self.backend_group, conf=self.conf
            )
        else:
            self.store_conf = self.conf.glance_store

    def get_schemes(self) -> tuple[str, ...]:
        # glance_store looks for a store by its driver's name as if that were a scheme.
        return (NAME, "rbd")

    def configure_add(self) -> None:
        """Connect, as the stock driver does.

        :raises BadStoreConfiguration: the section is wrong, or the cluster cannot be reached and
            there are other stores, which can do without this one
        :raises BackendException: it cannot be reached, and there is no other
        """
        self.close()
        try:
            self._store = rbdstore.connect(self.store_conf.rbdstore_driver, **self._values())
            if self.backend_group:
                # By it Glance finds the store of an image that it has no note of.
                self._url_prefix = self._store.images.uri("image").removesuffix("image/snap")
        except exceptions.RbdStoreError as error:
            others = self.backend_group and len(self.conf.enabled_backends) > 1
            if isinstance(error, exceptions.ClusterError) and not others:
                raise Unavailable(str(error)) from error
            raise glance_store.BadStoreConfiguration(
                store_name=self.backend_group or NAME, reason=error
            ) from error

    def close(self) -> None:
        """Disconnect; glance_store itself never does."""
        if self._store is not None:
            self._store.close()

    @capabilities.check
    def get(
        self,
        location: Any,
        offset: int = 0,
        chunk_size: int | None = None,
        context: object = None,
    ) -> tuple[Iterator[bytes], int]:
        """Return an iterator of an image's bytes, or of a range of them, and how many they are.

        :param chunk_size: the length of the range; None: all that follows
        """
        with translated():
            found = self._images().get(location.get_store_uri(), offset, chunk_size)
        return _pieces(found), found.size

    def get_size(self, location: Any, context: object = None) -> int:
        """How many bytes an image has."""
        with translated():
            return self._images().get_size(location.get_store_uri())

    @driver.back_compat_add
    @capabilities.check
    def add(
        self,
        image_id: str,
        image_file: Any,
        image_size: int,
        hashing_algo: str,
        context: object = None,
        verifier: Any = None,
    ) -> tuple[str, int, str | None, str | None, dict[str, str]]:
        """Store an image.

        :param image_size: how many bytes ``image_file`` has; 0: that is not known
        :param verifier: of the image's signature; is given all of the data
        :return: location, bytes, MD5, the other hash, and what Glance is to note
        """
        with translated():
            stored = self._images().add(
                str(image_id),
                _shown_to(verifier, image_file) if verifier else image_file,
                image_size or None,
                hashing_algo=hashing_algo,
            )
        noted = {"store": self.backend_group} if self.backend_group else {}
        return stored.uri, stored.size, stored.checksum, stored.os_hash_value, noted

    @capabilities.check
    def delete(self, location: Any, context: object = None) -> None:
        """Delete an image; where volumes or disks are clones of it, refuse."""
        with translated():
            self._images().delete(location.get_store_uri())

    def _images(self) -> ImageStore:
        if self._store is None:
            raise exceptions.ConfigError("the store has not been configured, see the log")
        return self._store.images

    def _values(self) -> dict[str, Any]:
        """The section's values, by names that the driver knows."""
        options = _DRIVERS.get(self.store_conf.rbdstore_driver, ())
        known = set().union(*map(_names, options))
        values = {
            opt.dest: getattr(self.store_conf, opt.dest)
            for opt in self.OPTIONS
            if opt.dest in known
        }
        if chunk_size := values.get("rbd_store_chunk_size"):
            # Where it is no power of two, the stock driver rounds it down as well.
            values["rbd_store_chunk_size"] = 1 << chunk_size.bit_length() - 1
        if timeout := values.get("rados_connect_timeout"):
            # Any negative number is none.
            values["rados_connect_timeout"] = max(-1, timeout)
        return values


def _pieces(found: reader.Reader) -> Iterator[bytes]:
    with translated(), found:
        yield from found


def _shown_to(verifier: Any, body: Any) -> Iterator[bytes]:
    for piece in utils.chunkreadable(body, 8 * units.Mi):
        verifier.update(piece)
        yield piece
