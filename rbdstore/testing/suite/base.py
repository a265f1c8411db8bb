# SPDX-License-Identifier: Apache-2.0
"""What every test is given, how it makes images, and what must not be left after it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

import pytest

from rbdstore import driver, exceptions
from rbdstore.driver import Cluster, Image, Pool
from rbdstore.spec import ImageSpec
from rbdstore.testing import differences

ORDER: Final = 16
OBJECT: Final = 1 << ORDER
"""Objects so small that an image of a few hundred KiB has several."""

DATA: Final = hashlib.shake_128(b"data").digest(2 * OBJECT + 1234)
"""What most images begin with: two objects and a part of a third."""

SIZE: Final = 4 * OBJECT + 567
"""Their size: an odd one, with an object that was never written and a part of one."""

KEYS: Final = ("suite.one", "suite.two")
"""The small objects that tests make."""

_ROUNDS = 20


class Suite:
    """Two empty pools for each test, and a look at them after it."""

    pools: ClassVar[tuple[str, str]]
    """The names of two pools, which nothing else uses meanwhile. To be set."""

    @pytest.fixture
    def connect(self) -> Callable[[], Cluster]:
        """What connects to the cluster, each time anew. To be overridden."""
        raise NotImplementedError("give the suite a fixture 'connect': see rbdstore.testing.suite")

    @pytest.fixture
    def connected(self, connect: Callable[[], Cluster]) -> Iterator[Callable[[], Cluster]]:
        """The same, and what it connects is closed after the test."""
        with contextlib.ExitStack() as stack:

            def connect_once() -> Cluster:
                opened = connect()
                stack.callback(opened.close)
                return opened

            yield connect_once

    @pytest.fixture
    def cluster(self, connected: Callable[[], Cluster]) -> Cluster:
        return connected()

    @pytest.fixture
    def pool(self, cluster: Cluster) -> Pool:
        return cluster.open_pool(self.pools[0])

    @pytest.fixture
    def pool2(self, cluster: Cluster) -> Pool:
        """Another pool of the cluster."""
        return cluster.open_pool(self.pools[1])

    @pytest.fixture
    def elsewhere(self, connected: Callable[[], Cluster]) -> Pool:
        """The first pool, by a connection of its own, as another host would have it."""
        return connected().open_pool(self.pools[0])

    @pytest.fixture(autouse=True)
    def _differences_are_told_at_once(self, pytestconfig: pytest.Config) -> None:
        if not pytestconfig.pluginmanager.is_registered(differences):
            pytestconfig.pluginmanager.register(differences)

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, pool: Pool, pool2: Pool) -> Iterator[None]:
        assert_empty(pool, pool2)
        yield
        for key in KEYS:
            pool.remove_object(key)
            pool2.remove_object(key)
        clear(pool, pool2)
        assert_empty(pool, pool2)


def make(pool: Pool, name: str, data: bytes = b"", size: int = SIZE) -> str:
    """Make an image that begins with ``data``; its id."""
    pool.create(name, size, order=ORDER)
    with pool.open(name, read_only=False) as image:
        if data:
            image.write(0, data)
            image.flush()
        return image.id


def snap(pool: Pool, name: str, snap: str) -> int:
    """Make a snap that can be cloned; its id."""
    with pool.open(name, read_only=False) as image:
        image.create_snap(snap)
        if pool.cluster.clone_format == 1:
            image.protect_snap(snap)
        return driver.find_snap(image, snap).id


def make_parent(pool: Pool, name: str = "parent", data: bytes = DATA) -> int:
    """Make an image with a snap ``s`` of it; the snap's id."""
    make(pool, name, data)
    return snap(pool, name, "s")


def make_child(pool: Pool) -> int:
    """Make a ``parent`` and a ``child`` of it; the id of the parent's snap ``s``."""
    snap_id = make_parent(pool)
    pool.clone(pool, "parent", "s", "child")
    return snap_id


def write(pool: Pool, name: str, offset: int, data: bytes) -> None:
    with pool.open(name, read_only=False) as image:
        image.write(offset, data)
        image.flush()


def resize(pool: Pool, name: str, size: int) -> None:
    with pool.open(name, read_only=False) as image:
        image.resize(size, allow_shrink=True)


def read(pool: Pool, name: str, snap_id: int | None = None) -> bytes:
    """All of an image, by a handle of its own, as it is or as it was at a snap."""
    with pool.open(name) as image:
        if snap_id is not None:
            image.set_snap(snap_id)
        return image.read(0, image.size())


def filled(data: bytes, size: int = SIZE) -> bytes:
    """What an image of that size reads that begins with ``data``."""
    return data[:size].ljust(size, b"\0")


def changed(before: bytes, offset: int, data: bytes) -> bytes:
    """What was ``before``, after ``data`` were written at ``offset``."""
    return before[:offset] + data + before[offset + len(data) :]


@contextlib.contextmanager
def refused(
    kind: type[exceptions.RbdStoreError], spec: ImageSpec | None = None
) -> Iterator[pytest.ExceptionInfo[exceptions.RbdStoreError]]:
    """See that the block raises that, about ``spec``."""
    with pytest.raises(kind) as caught:
        yield caught
    if spec is not None:
        assert caught.value.spec == spec


def in_use(caught: pytest.ExceptionInfo[exceptions.RbdStoreError]) -> exceptions.InUse:
    """The error, whose holders are to be looked at."""
    assert isinstance(caught.value, exceptions.InUse)
    return caught.value


def assert_empty(*pools: Pool) -> None:
    for pool in pools:
        where = f"pool {pool.name}"
        assert pool.list_images() == [], where
        assert pool.trash_list() == [], where
        for key in KEYS:
            assert pool.read_object(key) == b"", where
            assert pool.get_keys(key) == {}, where
            assert pool.lease_owner(key) is None, where


def clear(*pools: Pool) -> None:
    """Remove every image, children before their parents."""
    for _ in range(_ROUNDS):
        for pool in pools:
            for entry in pool.trash_list():
                pool.trash_restore(entry.image_id, f"{entry.name}.{entry.image_id}")
            for name in pool.list_images():
                with contextlib.suppress(exceptions.InUse):
                    with pool.open(name, read_only=False) as image:
                        remove_snaps(image)
                    pool.remove(name)
        if not any(pool.list_images() for pool in pools):
            return


def remove_snaps(image: Image) -> None:
    for found in image.snaps():
        if found.protected:
            image.unprotect_snap(found.name)
        image.remove_snap(found.id)
