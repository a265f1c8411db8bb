# SPDX-License-Identifier: Apache-2.0
"""Values as JSON with a digest before it: whatever becomes of a byte, it is noticed.

The digest is XXH3's, of 128 bits: it is to find damage, not forgers, who could write it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xxhash


def seal(values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values).encode()
    return _digest(text) + b" " + text


def unseal(data: bytes) -> Any:
    """Return what was sealed.

    :raises ValueError: it is damaged
    """
    mark, _space, text = data.partition(b" ")
    if mark != _digest(text):
        raise ValueError("it is damaged")
    return json.loads(text)


def _digest(text: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(text).encode()
