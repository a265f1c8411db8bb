# SPDX-License-Identifier: Apache-2.0
"""What the rbd driver promises of an image: its data, and who uses it."""

import pytest
import samples
import scratch
import stores
from samples import OLD_FEATURES
from scratch import GiB, KiB, MiB

from rbdstore import exceptions


class TestData:
    def test_read_and_write(self, either_pool):
        with scratch.an_image(either_pool, size=10 * MiB) as image:
            data = samples.pattern("data", 5 * MiB)
            image.write(3 * MiB + 7, data)
            image.write(0, bytearray(b"begin"))
            image.flush()
            with either_pool.open("a") as reader:
                assert reader.read(3 * MiB + 7, 5 * MiB) == data
                assert reader.read(0, 6) == b"begin\0"
                assert reader.read(10 * MiB - 3, 100) == b"\0\0\0"
                assert reader.read(10 * MiB, 100) == b""
                assert reader.read(20 * MiB, 100) == b""
            with pytest.raises(exceptions.InvalidInput):
                image.write(20 * MiB, b"x")

    def test_a_write_beyond_the_end_writes_nothing(self, either_pool):
        with scratch.an_image(either_pool) as image:
            size = image.size()
            for offset in (size - 1, size, size + 1):
                with pytest.raises(exceptions.InvalidSize):
                    image.write(offset, b"xy")
            assert image.read(size - 1, 1) == b"\0"

    def test_discard_is_exact_and_frees_objects(self, either_pool, raw):
        with scratch.an_image(either_pool, size=16 * MiB, data=b"\xff" * (16 * MiB)) as image:
            image.discard(MiB - 5, 10 * MiB + 10)
            image.flush()
            with either_pool.open("a") as reader:
                data = reader.read(0, 16 * MiB)
            assert data[: MiB - 5] == b"\xff" * (MiB - 5)
            assert not any(data[MiB - 5 : 11 * MiB + 5])
            assert data[11 * MiB + 5 :] == b"\xff" * (5 * MiB - 5)
            stored = [key for key in raw.objects("volumes") if key.startswith("rbd_data.")]
            # The second of the four lies in it as a whole.
            assert len(stored) == 3

    def test_discard_of_more_than_librbd_takes_at_once(self, pool):
        with scratch.an_image(pool, size=5 * GiB, data=b"x" * 100) as image:
            image.write(4 * GiB, b"y" * 100)
            image.discard(0, 5 * GiB)
            assert not any(image.read(0, 100) + image.read(4 * GiB, 100))

    def test_discard_hides_the_parents_data(self, pool):
        with scratch.an_image(pool, data=b"\xff" * (8 * MiB)) as image:
            scratch.new_snap(image, "s")
            pool.clone(pool, "a", "s", "c")
            with pool.open("c", read_only=False) as clone:
                clone.discard(100, 6 * MiB)
                assert clone.read(90, 20) == b"\xff" * 10 + b"\0" * 10
                assert not any(clone.read(100, 6 * MiB))
            pool.remove("c")

    def test_resize(self, either_pool):
        with scratch.an_image(either_pool, size=8 * MiB, data=b"x" * 100) as image:
            with pytest.raises(exceptions.InvalidSize):
                image.resize(MiB)
            image.resize(20 * MiB)
            assert image.size() == 20 * MiB
            image.resize(50, allow_shrink=True)
            assert image.size() == 50
            image.resize(100)
            assert image.read(0, 100) == b"x" * 50 + b"\0" * 50

    def test_extents(self, either_pool):
        with scratch.an_image(either_pool, size=64 * MiB, order=22) as image:
            image.write(8 * MiB, b"x" * (64 * KiB))
            image.write(40 * MiB, b"y" * 10)
            image.flush()
            whole = list(image.extents(0, image.size(), whole_object=True))
            assert [(extent.offset, extent.exists) for extent in whole] == [
                (8 * MiB, True),
                (40 * MiB, True),
            ]
            exact = list(image.extents(0, 10 * GiB))
            assert [extent.offset // (4 * MiB) for extent in exact] == [2, 10]
            scratch.new_snap(image, "s")
            assert list(image.extents(0, image.size(), from_snap="s")) == []
            image.discard(8 * MiB, 4 * MiB)
            image.write(60 * MiB, b"z")
            image.flush()
            changed = list(image.extents(0, image.size(), from_snap="s"))
            assert [(e.offset // (4 * MiB), e.exists) for e in changed] == [(2, False), (15, True)]
            with pytest.raises(exceptions.SnapshotNotFound):
                list(image.extents(0, MiB, from_snap="nope"))

    def test_extents_come_in_order_from_a_large_image(self, connect):
        pool = connect(rbd_store_chunk_size=1).open_pool("volumes")
        with scratch.an_image(pool, size=100 * GiB) as image:
            places = [0, 4 * GiB - MiB, 4 * GiB, 9 * GiB, 99 * GiB]
            for place in places:
                image.write(place, b"x" * MiB)
            image.flush()
            found = list(image.extents(0, 100 * GiB, whole_object=True))
            assert [extent.offset for extent in found] == places
            assert {extent.length for extent in found} == {MiB}

    def test_extents_count_the_parents_data(self, either_pool):
        with scratch.an_image(either_pool, data=b"x" * MiB) as image:
            scratch.new_snap(image, "s")
            either_pool.clone(either_pool, "a", "s", "c")
            with either_pool.open("c") as clone:
                assert any(extent.exists for extent in clone.extents(0, MiB))
            either_pool.remove("c")

    def test_rollback(self, either_pool):
        with scratch.an_image(either_pool, size=8 * MiB, data=b"old") as image:
            scratch.new_snap(image, "s")
            image.write(0, b"new")
            image.resize(16 * MiB)
            calls = []
            image.rollback("s", progress=lambda done, total: calls.append(done))
            assert image.size() == 8 * MiB
            assert image.read(0, 3) == b"old"
            assert calls
            with pytest.raises(exceptions.SnapshotNotFound):
                image.rollback("nope")

    def test_a_progress_that_raises_stops_the_work(self, pool):
        class StopError(Exception):
            pass

        def stop(done, total):
            raise StopError

        with scratch.an_image(pool, size=400 * MiB, data=b"x" * (20 * MiB)) as image:
            scratch.new_snap(image, "s")
            pool.clone(pool, "a", "s", "c")
            with pool.open("c", read_only=False) as clone:
                with pytest.raises(StopError):
                    clone.flatten(progress=stop)
                assert clone.parent() is not None
                calls = []
                clone.flatten(progress=lambda done, total: calls.append((done, total)))
                assert calls
                assert clone.parent() is None
                clone.flatten()
                assert clone.read(0, 3) == b"xxx"
            pool.remove("c", progress=lambda done, total: calls.append((done, total)))


class TestUse:
    def test_watchers(self, sandbox, pool):
        with scratch.an_image(pool) as image:
            assert len(image.watchers()) == 1
            with pool.open("a") as reader:
                assert reader.watchers() == image.watchers()
            with stores.held_open(sandbox, "volumes", "a"):
                others = set(image.watchers())
                assert len(others) == 2
                with pytest.raises(exceptions.InUse) as caught:
                    pool.remove("a")
                assert set(caught.value.watchers) == others
        assert pool.list_images() == []

    def test_lock(self, sandbox, connect, pool):
        other = connect("cinder").open_pool("volumes")
        with scratch.an_image(pool) as image:
            image.lock()
            image.lock()
            for call in (other.trash_move, other.remove):
                with pytest.raises(exceptions.InUse) as caught:
                    call("a")
                assert caught.value.watchers == tuple(image.watchers())
            with other.open("a", read_only=False) as second, pytest.raises(exceptions.InUse):
                second.lock()
            image.write(0, b"mine")
            assert pool.trash_list() == []

    def test_lock_where_there_is_none(self, connect):
        pool = connect(rbd_features=OLD_FEATURES).open_pool("volumes")
        with scratch.an_image(pool) as image:
            image.lock()
            image.write(0, b"x")

    def test_metadata(self, either_pool):
        with scratch.an_image(either_pool) as image:
            assert image.metadata() == {}
            image.set_metadata("key", "value")
            image.set_metadata("key", "ünï")
            for number in range(100):
                image.set_metadata(f"key-{number}", "x" * 100)
            found = image.metadata()
            assert found["key"] == "ünï"
            assert len(found) == 101

    def test_many_threads(self, pool):
        with scratch.an_image(pool, data=b"parent") as image:
            scratch.new_snap(image, "s")

            def work(number):
                for turn in range(3):
                    name = f"c{number}-{turn}"
                    pool.clone(pool, "a", "s", name)
                    with pool.open(name, read_only=False) as clone:
                        clone.write(0, name.encode())
                        clone.flush()
                        assert clone.read(0, 4) == name.encode()[:4]
                    pool.remove(name)

            scratch.together(20, work)
