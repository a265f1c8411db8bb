# SPDX-License-Identifier: Apache-2.0
"""Moving bytes: into an image (``uploading``), and out of one (``reader``).

Reading, hashing and writing overlap, in a window (``window``) that bounds what is in memory.
"""

from rbdstore.transfer.bodies import Body
from rbdstore.transfer.hashing import Digests
from rbdstore.transfer.uploading import (
    check_algorithm,
    check_body,
    check_progress,
    fill,
    measure,
)

__all__ = [
    "Body",
    "Digests",
    "check_algorithm",
    "check_body",
    "check_progress",
    "fill",
    "measure",
]
