# SPDX-License-Identifier: Apache-2.0
"""What the documentation of backups shows works."""

import textwrap
from pathlib import Path

import rbdstore

TEXT = (Path(__file__).parents[1] / "doc/source/operator/backup.rst").read_text()

CONFIGURATION = """\
[rbdstore]
enabled_backends = volumes:file, backups:file
default_backend = volumes
[volumes]
rbd_pool = volumes
file_store_datadir = {folder}
[backups]
backup_ceph_pool = backups
file_store_datadir = {folder}
"""


def test_the_example_works(tmp_path):
    conf = tmp_path / "service.conf"
    conf.write_text(CONFIGURATION.format(folder=tmp_path / "data"))
    block = TEXT.partition(".. code-block:: python")[2].partition("\nNames of options")[0]
    with rbdstore.load(str(conf)) as store:
        store.volumes.create("volume-1", 5 << 20)
        exec(textwrap.dedent(block), {"rbdstore": rbdstore, "conf": str(conf)})
        assert [volume.name for volume in store.volumes.list()] == ["volume-1", "volume-2"]
    with rbdstore.load(str(conf), "backups") as vault:
        assert [backup.id for backup in vault.backups.list()] == ["tuesday"]
