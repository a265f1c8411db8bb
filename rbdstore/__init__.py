# SPDX-License-Identifier: Apache-2.0
"""Block images on Ceph RBD: images, and the volumes, snapshots and clones made from them.

::

    store = rbdstore.load("rbdstore.conf", "volumes")
    image = store.images.add("debian-12", fileobj)
    store.volumes.clone("volume-1", image.uri, size=20 * units.Gi)
    store.volumes.create_snapshot("volume-1", "snapshot-1")
    store.volumes.delete_snapshot("volume-1", "snapshot-1")
    store.volumes.delete("volume-1")
    store.images.delete(image.uri)

Sizes are bytes. What goes wrong on purpose is in :mod:`rbdstore.exceptions`.
"""

import importlib.metadata

from rbdstore.loading import connect, load
from rbdstore.store import Store

__all__ = ["Store", "__version__", "connect", "load"]

__version__ = importlib.metadata.version("rbdstore")
