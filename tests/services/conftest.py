# SPDX-License-Identifier: Apache-2.0
"""The tests of the services, on either driver (:mod:`places`), with nothing left after each."""

import pathlib
import tempfile

import places
import pytest
import samples


def pytest_generate_tests(metafunc):
    """Try what the driver at hand has."""
    place = places.FilePlace
    if metafunc.config.getoption("driver") == "rbd":
        # Only here is it certain that there are rados and rbd.
        from rbd_place import RbdPlace as place  # noqa: N813
    for name, values, word in (
        ("clone_format", place.clone_formats, "format {}"),
        ("flatten_mode", place.flatten_modes, "{}"),
        ("features", (None, samples.OLD_FEATURES), "{} features"),
    ):
        if name in metafunc.fixturenames and not _marked(metafunc, name):
            ids = [word.format(_word(value)) for value in values]
            metafunc.parametrize(name, values, ids=ids)


def _marked(metafunc, name):
    marks = metafunc.definition.iter_markers("parametrize")
    return any(name in mark.args[0] for mark in marks)


def _word(value):
    return {None: "new", samples.OLD_FEATURES: "old"}.get(value, value)


@pytest.fixture(scope="session")
def _shared_place(request):
    if request.config.getoption("driver") == "rbd":
        from rbd_place import RbdPlace

        place = RbdPlace(request.getfixturevalue("ceph"))
        yield place
        place.close()
        return
    with tempfile.TemporaryDirectory(prefix="rbdstore-") as path:
        place = places.FilePlace(pathlib.Path(path))
        yield place
        place.close()


@pytest.fixture(scope="module")
def place(_shared_place):
    return _shared_place


@pytest.fixture(autouse=True)
def _nothing_left(place):
    """See that each test leaves nothing behind, down to objects and files."""
    yield
    try:
        assert place.leftovers() == []
    finally:
        # So that one failure is one failure.
        place.clear()


@pytest.fixture
def raw(place):
    with place.raw() as client:
        yield client


@pytest.fixture
def images(place):
    return place.images()


@pytest.fixture
def volumes(place):
    return place.volumes()


@pytest.fixture
def backups(place):
    return place.backups()


@pytest.fixture
def unchanged(raw):
    """See that a test changes nothing from where it calls this, or from its beginning."""
    before = [raw.state()]
    yield lambda: before.append(raw.state())
    assert raw.state() == before[-1]


@pytest.fixture
def image(images):
    """An image whose bytes are ``pattern("image", 9 MiB)``, deleted at the end."""
    stored = images.add("image-1", samples.pattern("image", 9 * samples.MiB))
    yield stored
    images.delete(stored.uri)
