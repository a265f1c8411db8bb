# SPDX-License-Identifier: Apache-2.0
"""The adapters, in one process with what loads them, on either driver (:mod:`places`)."""

import places
import pytest


@pytest.fixture(scope="session")
def _shared_place(request, tmp_path_factory):
    if request.config.getoption("driver") == "rbd":
        # Only here is it certain that there are rados and rbd.
        from rbd_place import RbdPlace

        place = RbdPlace(request.getfixturevalue("ceph"))
    else:
        place = places.FilePlace(tmp_path_factory.mktemp("datadir"))
    yield place
    place.close()


@pytest.fixture
def place(_shared_place):
    """The cluster, of which nothing may be left after the test."""
    yield _shared_place
    try:
        assert _shared_place.leftovers() == []
    finally:
        # So that one failure is one failure.
        _shared_place.clear()
