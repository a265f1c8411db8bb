# SPDX-License-Identifier: Apache-2.0
"""What becomes of reads and writes that go on while their caller does something else."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Completion(abc.ABC, Generic[T]):
    """Of one operation of an image. It belongs to the thread that the image belongs to."""

    @abc.abstractmethod
    def wait(self) -> None:
        """Return when the operation has ended, well or not, and nothing more is done for it."""

    @abc.abstractmethod
    def result(self) -> T:
        """Wait, and return what the operation gives, or raise what it failed with."""


class Ended(Completion[T]):
    """Of an operation that was over before anybody could wait for it."""

    def __init__(self, given: T) -> None:
        self._given = given

    def wait(self) -> None:
        """Nothing to wait for."""

    def result(self) -> T:
        return self._given


class Postponed(Completion[T]):
    """Of an operation that is only done when somebody wants its result."""

    def __init__(self, operation: Callable[[], T]) -> None:
        self._operation = operation

    def wait(self) -> None:
        """Nothing has begun."""

    def result(self) -> T:
        return self._operation()
