# SPDX-License-Identifier: Apache-2.0
"""The README's tour on the Ceph that it starts."""

import tour


def test_the_tour_on_ceph(tmp_path):
    with tour.shell(tmp_path, tmp_path / "session", XDG_STATE_HOME=str(tmp_path)) as child:
        try:
            tour.take(child, "sandbox env")
            tour.take(child, "image add")
            left, status = tour.run(child, "rbd ls images; rbd ls volumes; rbd trash ls volumes")
            assert (left, status) == ("", 0)
        finally:
            tour.run(child, "rbdstore sandbox down")
