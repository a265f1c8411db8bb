# SPDX-License-Identifier: Apache-2.0
"""What the README tells people to type works, on the configuration it shows."""

import re
from pathlib import Path

import readme
import samples
import stores

DATA = samples.pattern("readme", 2 * samples.MiB)


def test_python_block(sandbox, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    conf = readme.block("ini").replace("/etc/ceph/ceph.conf", sandbox.conf_path)
    assert sandbox.conf_path in conf
    Path("rbdstore.conf").write_text(conf)
    Path("debian-12.raw").write_bytes(DATA)
    # The block ends with deletions: look before them.
    use, delete = re.split(r"(?=^volumes\.delete_snapshot)", readme.on_ceph(), flags=re.MULTILINE)

    names = {}
    exec(use, names)
    with stores.foreign(sandbox) as raw:
        for name in ("volume-1", "volume-2", "volume-3"):
            with raw.open("volumes", name, read_only=True) as image:
                assert image.size() == 20 << 30
                assert image.read(0, len(DATA) + 1) == DATA + b"\0"
        assert raw.read("images", "debian-12", "snap") == DATA
    assert "depth=3" in capsys.readouterr().out

    exec(delete, names)
    with stores.foreign(sandbox) as raw:
        assert raw.images("images") == raw.images("volumes") == []
        assert raw.trash("images") == raw.trash("volumes") == {}
