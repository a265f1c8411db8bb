# SPDX-License-Identifier: Apache-2.0
"""Who uses an image: watchers and the lock. And what is written on it: metadata."""

from __future__ import annotations

import pytest

from rbdstore import exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import Suite, filled, in_use, make, read, refused


class UseSuite(Suite):
    # Watchers

    def test_writers_are_watchers_and_readers_are_not(self, pool: Pool) -> None:
        make(pool, "a")
        with pool.open("a") as reader:
            assert reader.watchers() == []
            with pool.open("a", read_only=False) as writer:
                (address,) = writer.watchers()
                assert isinstance(address, str)
                assert address
                assert reader.watchers() == [address]
            assert reader.watchers() == []

    def test_each_writer_is_a_watcher(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as first:
            with pool.open("a", read_only=False), elsewhere.open("a", read_only=False) as third:
                assert len(first.watchers()) == 3
                assert sorted(third.watchers()) == sorted(first.watchers())
                with refused(exceptions.InUse, pool.spec("a")) as caught:
                    pool.remove("a")
                assert len(in_use(caught).watchers) == 3
            assert len(first.watchers()) == 1

    def test_two_writers_take_turns(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a")
        with (
            pool.open("a", read_only=False) as first,
            elsewhere.open("a", read_only=False) as second,
        ):
            for turn in range(3):
                first.write(2 * turn, b"1")
                first.flush()
                second.write(2 * turn + 1, b"2")
                second.flush()
        assert read(pool, "a") == filled(b"121212")

    def test_nobody_cuts_itself_off(self, pool: Pool, elsewhere: Pool) -> None:
        """Whether or not the driver can cut others off."""
        make(pool, "a")
        with pool.open("a", read_only=False) as writer, elsewhere.open("a") as image:
            with pytest.raises((exceptions.InUse, exceptions.NotSupported)) as caught:
                image.fence()
            assert caught.value.spec == pool.spec("a")
            writer.write(0, b"mine")
            writer.flush()
        assert read(pool, "a") == filled(b"mine")

    # The lock

    def test_the_lock(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a")
        with pool.open("a", read_only=False) as image:
            image.lock()
            image.lock()
            image.write(0, b"mine")
            image.flush()
            if "exclusive-lock" not in image.features():
                return
            for other in (pool, elsewhere):
                with refused(exceptions.InUse, pool.spec("a")) as caught:
                    other.trash_move("a")
                assert in_use(caught).watchers == tuple(image.watchers())
                with refused(exceptions.InUse, pool.spec("a")):
                    other.remove("a")
                with other.open("a", read_only=False) as second:
                    with refused(exceptions.InUse, pool.spec("a")) as caught:
                        second.lock()
                    assert in_use(caught).watchers
                    with refused(exceptions.ReadOnly, pool.spec("a")):
                        second.write(0, b"theirs")
                    with refused(exceptions.ReadOnly, pool.spec("a")):
                        second.discard(0, 100)
            assert image.read(0, 4) == b"mine"
        assert read(pool, "a") == filled(b"mine")
        # It ends with the handle.
        with elsewhere.open("a", read_only=False) as second:
            second.lock()
            second.write(0, b"next")
        pool.trash_move("a")

    def test_readers_neither_heed_nor_take_the_lock(self, pool: Pool) -> None:
        make(pool, "a", b"data")
        with pool.open("a", read_only=False) as image:
            image.lock()
            with pool.open("a") as reader:
                assert reader.read(0, 4) == b"data"
                if "exclusive-lock" in image.features():
                    with refused(exceptions.ReadOnly, pool.spec("a")):
                        reader.lock()

    # Metadata

    def test_metadata(self, pool: Pool, elsewhere: Pool) -> None:
        make(pool, "a")
        entries = {f"key-{number:03}": "x" * number for number in range(120)}
        # The first is empty.
        entries["ü key/@"] = "ünï"
        with pool.open("a", read_only=False) as image:
            for key, value in entries.items():
                image.set_metadata(key, value)
            assert image.metadata() == entries
            image.set_metadata("key-001", "new")
        with elsewhere.open("a") as image:
            assert image.metadata() == entries | {"key-001": "new"}

    def test_metadata_stay_with_the_image(self, pool: Pool) -> None:
        image_id = make(pool, "a")
        make(pool, "b")
        with pool.open("a", read_only=False) as image:
            image.set_metadata("key", "value")
        pool.rename("a", "c")
        pool.trash_move("c")
        pool.trash_restore(image_id, "a")
        with pool.open("a") as image:
            assert image.metadata() == {"key": "value"}
            image.metadata()["key"] = "mine"
            assert image.metadata() == {"key": "value"}
        with pool.open("b") as image:
            assert image.metadata() == {}
