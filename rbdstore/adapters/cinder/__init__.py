# SPDX-License-Identifier: Apache-2.0
"""Cinder's volume driver::

    [rbd]
    volume_driver = rbdstore.adapters.cinder.RBDDriver
    rbd_pool = volumes
    ...

with the options of Cinder's own RBD driver, and those that this library has beside them. It only
translates: sizes, names, errors, and what a volume's type says. The work is
:class:`rbdstore.volumes.VolumeStore`'s.
"""

from cinder import interface
from cinder.volume import driver

from rbdstore.adapters.cinder.images import Images
from rbdstore.adapters.cinder.managing import Managing
from rbdstore.adapters.cinder.snapshots import Snapshots
from rbdstore.adapters.cinder.stats import Stats

__all__ = ["RBDDriver"]


@interface.volumedriver
class RBDDriver(
    Snapshots,
    Images,
    Managing,
    Stats,
    driver.CloneableImageVD,
    driver.MigrateVD,
    driver.ManageableVD,
    driver.ManageableSnapshotsVD,
):
    """Volumes in a pool of Ceph, through rbdstore."""
