# SPDX-License-Identifier: Apache-2.0
"""Cinder's volumes as instances and operators see them in the cluster, not through Cinder."""

import pytest
import samples

DATA = samples.pattern("cinder", 9 * samples.MiB + 512)

BOTH = pytest.mark.parametrize("backend", ["ours", "stock"])
OURS = pytest.mark.parametrize("backend", ["ours"])


def name(volume):
    return f"volume-{volume['id']}"


def filled(client, raw, backend, data=DATA):
    """Make a volume of 1 GiB that begins with data."""
    made = client.create(1, volume_type=backend)
    raw.write("volumes", name(made), data)
    return made


def begins(raw, volume, pool="volumes", like=DATA):
    """As much of a volume's data as it is to be compared with."""
    with raw.open(pool, name(volume), read_only=True) as image:
        return image.read(0, len(like))


def parent(raw, volume):
    """The image that a volume shares data with; None: it shares none."""
    found = raw.parent("volumes", name(volume))
    return found and found[1]
