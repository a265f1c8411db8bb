# SPDX-License-Identifier: Apache-2.0
"""Small objects: content and a map of entries. What is written under a lease is in ``leases``."""

from __future__ import annotations

from rbdstore import exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import KEYS, Suite

KEY, OTHER = KEYS


class ObjectSuite(Suite):
    def test_an_object_that_is_not_there(self, pool: Pool) -> None:
        assert pool.read_object(KEY) == b""
        assert pool.get_keys(KEY) == {}
        pool.remove_keys(KEY, ["a"])
        pool.remove_object(KEY)
        pool.remove_object(KEY)

    def test_entries(self, pool: Pool) -> None:
        pool.set_keys(KEY, {"a": b"1", "b": b"2"})
        pool.set_keys(KEY, {"b": b"3", "c": b"4"})
        assert pool.get_keys(KEY) == {"a": b"1", "b": b"3", "c": b"4"}
        pool.remove_keys(KEY, ["a", "c", "nope"])
        assert pool.get_keys(KEY) == {"b": b"3"}

    def test_one_entry(self, pool: Pool) -> None:
        assert pool.get_key(KEY, "a") is None
        pool.set_keys(KEY, {"a": b"1", "b": b""})
        assert pool.get_key(KEY, "a") == b"1"
        assert pool.get_key(KEY, "b") == b""
        assert pool.get_key(KEY, "ab") is None

    def test_any_bytes_under_any_name(self, pool: Pool) -> None:
        entries = {"ü/@ name": bytes(range(256)), "empty": b"", "long": b"\0" * 100_000}
        pool.set_keys(KEY, entries)
        assert pool.get_keys(KEY) == entries

    def test_many_entries(self, pool: Pool) -> None:
        entries = {f"key-{number:05}": str(number).encode() for number in range(1500)}
        pool.set_keys(KEY, entries)
        assert pool.get_keys(KEY) == entries
        pool.remove_keys(KEY, list(entries)[1:])
        assert pool.get_keys(KEY) == {"key-00000": b"0"}

    def test_what_was_given_is_not_shared(self, pool: Pool) -> None:
        pool.set_keys(KEY, {"a": b"1"})
        pool.get_keys(KEY)["a"] = b"mine"
        assert pool.get_keys(KEY) == {"a": b"1"}

    def test_content_and_entries_are_one_object(self, pool: Pool) -> None:
        pool.set_keys(KEY, {"a": b"1"})
        assert pool.lease(KEY, "me", 60, "host")
        pool.write_leased(KEY, "me", b"content")
        assert pool.read_object(KEY) == b"content"
        assert pool.get_keys(KEY) == {"a": b"1"}
        pool.remove_object(KEY)
        assert pool.read_object(KEY) == b""
        assert pool.get_keys(KEY) == {}
        assert pool.lease_owner(KEY) is None
        assert pool.lease(KEY, "another", 60, "host")

    def test_objects_are_apart(self, pool: Pool, pool2: Pool) -> None:
        pool.set_keys(KEY, {"a": b"1"})
        assert pool.get_keys(OTHER) == {}
        assert pool2.get_keys(KEY) == {}
        pool.set_keys(OTHER, {"a": b"2"})
        pool.remove_object(KEY)
        assert pool.get_keys(OTHER) == {"a": b"2"}

    def test_every_connection_sees_them(self, pool: Pool, elsewhere: Pool) -> None:
        pool.set_keys(KEY, {"a": b"1"})
        elsewhere.set_keys(KEY, {"b": b"2"})
        assert pool.get_keys(KEY) == elsewhere.get_keys(KEY) == {"a": b"1", "b": b"2"}

    def test_the_inventory(self, pool: Pool, pool2: Pool) -> None:
        """Of a driver that has one; it need not."""
        pool.set_keys(KEY, {"a": b"1"})
        assert pool.lease(OTHER, "me", 60, "host")
        pool.create("image", 1 << 20)
        try:
            found = pool.inventory("suite.")
        except exceptions.NotSupported:
            pool.remove("image")
            return
        assert (set(found.objects), found.names, found.strays) == ({KEY, OTHER}, (), ())
        assert pool.inventory(KEY).objects == (KEY,)
        assert pool2.inventory("suite.").objects == ()
        pool.trash_move("image")
        (entry,) = pool.trash_list()
        assert pool.inventory("suite.") == found
        pool.trash_remove(entry.image_id)

    def test_they_are_no_images(self, pool: Pool) -> None:
        pool.set_keys(KEY, {"a": b"1"})
        assert pool.list_images() == []
        assert pool.trash_list() == []
        assert pool.stats().images == 0
