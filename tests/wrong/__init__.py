# SPDX-License-Identifier: Apache-2.0
"""Wrong input, as tables: each argument that must be refused, with its error and what that says.

A table is a list of :class:`Wrong`. Those of names, sizes and locations are plain data, to be
given to whatever takes such a thing, be it a method or a command (:func:`typed`).
"""

from wrong.arguments import (
    ALGORITHMS,
    CALLBACKS,
    CALLBACKS_OF_CLONES,
    DISK_FORMATS,
    FEATURES,
    FLAGS,
    FLATTEN_MODES,
    FORMATS,
    IMAGE_STORES,
    KINDS,
    LIMITS,
    METADATA,
    METHODS,
    OPENERS,
    POLICIES,
    VOLUME_STORES,
    WAITS,
)
from wrong.bodies import BODIES, UNREADABLE
from wrong.entries import Wrong, faults, typed
from wrong.likenesses import Index, Named, Text
from wrong.locations import ELSEWHERE, LISTS_OF_LOCATIONS, LOCATIONS, at
from wrong.names import (
    LISTS_OF_NAMES,
    NAMES,
    NEW_NAMES,
    RESERVED_NAMES,
    RESERVED_SNAPSHOTS,
    SNAPSHOTS,
)
from wrong.options import (
    BACKENDS,
    CONFIGURATIONS,
    DRIVERS,
    FILE_OPTIONS,
    OPTIONS,
    RBD_OPTIONS,
)
from wrong.sizes import NO_SIZE, SIZES

__all__ = [
    "ALGORITHMS",
    "BACKENDS",
    "BODIES",
    "CALLBACKS",
    "CALLBACKS_OF_CLONES",
    "CONFIGURATIONS",
    "DISK_FORMATS",
    "DRIVERS",
    "ELSEWHERE",
    "FEATURES",
    "FILE_OPTIONS",
    "FLAGS",
    "FLATTEN_MODES",
    "FORMATS",
    "IMAGE_STORES",
    "KINDS",
    "LIMITS",
    "LISTS_OF_LOCATIONS",
    "LISTS_OF_NAMES",
    "LOCATIONS",
    "METADATA",
    "METHODS",
    "NAMES",
    "NEW_NAMES",
    "NO_SIZE",
    "OPENERS",
    "OPTIONS",
    "POLICIES",
    "RBD_OPTIONS",
    "RESERVED_NAMES",
    "RESERVED_SNAPSHOTS",
    "SIZES",
    "SNAPSHOTS",
    "UNREADABLE",
    "VOLUME_STORES",
    "WAITS",
    "Index",
    "Named",
    "Text",
    "Wrong",
    "at",
    "faults",
    "typed",
]
