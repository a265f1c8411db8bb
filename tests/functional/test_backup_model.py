# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes that are written, grown and deleted in any order, on a real Ceph."""

import backup_machine
import pytest
from rbd_world import RbdWorld


# What fails is shrunk, for up to five minutes.
@pytest.mark.timeout(1800)
def test_every_backup_restores_to_what_it_is_of(sandbox, raw):
    backup_machine.run(RbdWorld(sandbox, raw, 2, None), examples=4, steps=25)
