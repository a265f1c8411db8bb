# SPDX-License-Identifier: Apache-2.0
"""Many threads at once, each with handles of its own."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from rbdstore import exceptions
from rbdstore.driver import Pool
from rbdstore.testing.suite.base import (
    DATA,
    KEYS,
    OBJECT,
    ORDER,
    SIZE,
    Suite,
    changed,
    filled,
    make,
    make_child,
    make_parent,
    read,
)

THREADS = 8

Result = TypeVar("Result")


def together(do: Callable[[int], Result], count: int = THREADS) -> list[Result]:
    """Call ``do(number)`` in that many threads at the same moment; what they return."""
    start = threading.Barrier(count)

    def turn(number: int) -> Result:
        start.wait()
        return do(number)

    with concurrent.futures.ThreadPoolExecutor(count) as executor:
        return list(executor.map(turn, range(count)))


def succeeds(do: Callable[[], object]) -> bool:
    """Whether it does; False if the name was taken."""
    try:
        do()
    except exceptions.Duplicate:
        return False
    return True


class ThreadSuite(Suite):
    def test_one_creates_a_name(self, pool: Pool) -> None:
        for turn in range(3):
            name = f"a{turn}"
            won = together(
                lambda number, name=name: succeeds(  # type: ignore[misc]
                    lambda: pool.create(name, SIZE + number, order=ORDER)
                )
            )
            assert won.count(True) == 1
            assert len(read(pool, name)) == SIZE + won.index(True)

    def test_one_gets_the_lease(self, pool: Pool) -> None:
        won = together(lambda number: pool.lease(KEYS[0], f"{number}", 600, f"host-{number}"))
        assert won.count(True) == 1
        assert pool.lease_owner(KEYS[0]) == f"host-{won.index(True)}"

    def test_entries_of_all_are_kept(self, pool: Pool) -> None:
        together(lambda number: pool.set_keys(KEYS[0], {f"{number}": b"x"}))
        assert set(pool.get_keys(KEYS[0])) == {f"{number}" for number in range(THREADS)}

    def test_all_write_to_one_image(self, pool: Pool) -> None:
        """At distinct places, of which two threads share an object."""
        length = OBJECT // 2 + 3
        make(pool, "a", size=THREADS * length)

        def fill(number: int) -> None:
            with pool.open("a", read_only=False) as image:
                image.write(number * length, bytes([number + 1]) * length)
                image.flush()

        together(fill, 4)
        expected = b"".join(bytes([number + 1]) * length for number in range(4))
        assert read(pool, "a") == filled(expected, THREADS * length)

    def test_all_read_one_image(self, pool: Pool) -> None:
        make_child(pool)
        assert set(together(lambda number: read(pool, "child"))) == {filled(DATA)}

    def test_each_has_an_image_of_its_own(self, pool: Pool) -> None:
        snap_id = make_parent(pool)

        def work(number: int) -> bytes:
            for turn in range(2):
                name = f"child-{number}-{turn}"
                pool.clone(pool, "parent", "s", name)
                with pool.open(name, read_only=False) as image:
                    image.write(OBJECT, bytes([number]))
                    image.flush()
                content = read(pool, name)
                pool.remove(name)
            return content

        for number, content in enumerate(together(work)):
            assert content == changed(filled(DATA), OBJECT, bytes([number]))
        with pool.open("parent") as image:
            assert image.children(snap_id) == []
