# SPDX-License-Identifier: Apache-2.0
"""The README's tour without Ceph."""

import filestore
import tour


def test_the_tour_on_files(tmp_path):
    with tour.shell(tmp_path, tmp_path / "session") as child:
        tour.take(child, "RBDSTORE_CONFIG")
        tour.take(child, "image add")
        cluster = filestore.connect(tmp_path / "demo")
        assert cluster.leftovers() == []
        cluster.close()
