# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes that are written, grown and deleted in any order, without daemons."""

import backup_machine
import pytest
import worlds


# What fails is shrunk, for up to five minutes.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("deep_flatten", [True, False], ids=["new", "old"])
def test_every_backup_restores_to_what_it_is_of(deep_flatten):
    backup_machine.run(worlds.MemoryWorld(deep_flatten=deep_flatten), examples=40, steps=40)


@pytest.mark.timeout(1800)
def test_so_it_does_on_the_embedded_driver(tmp_path):
    backup_machine.run(worlds.FileWorld(tmp_path), examples=25, steps=40)
