# SPDX-License-Identifier: Apache-2.0
"""One wrong argument, and what must become of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from rbdstore import spec


@dataclasses.dataclass(frozen=True)
class Wrong:
    """An argument that is refused.

    :ivar id: what is wrong with it
    :ivar error: the class of the exception, exactly
    :ivar says: a part of its text
    """

    id: str
    value: Any
    error: type[Exception]
    says: str

    def fault(self, call: Callable[[Any], object]) -> str | None:
        """Say how ``call`` with this value fails to be refused as it should be."""
        try:
            result = call(self.value)
        except Exception as error:
            # A text that cannot be printed, or goes on over lines or pages, helps nobody.
            text = str(error)
            if type(error) is not self.error:
                return f"{self.id}: {type(error).__name__}, not {self.error.__name__}: {text!a}"
            if self.says not in text:
                return f"{self.id}: {text!a} does not say {self.says!r}"
            if not spec.is_plain(text) or len(text) > 1500:
                return f"{self.id}: no readable text: {text[:300]!a}"
            return None
        return f"{self.id}: taken, giving {result!r}"


def faults(entries: Iterable[Wrong], call: Callable[[Any], object]) -> list[str]:
    """How ``call`` fails to refuse each value of a table, by id; empty if it refuses them all."""
    return [fault for entry in entries if (fault := entry.fault(call)) is not None]


def typed(entries: Iterable[Wrong]) -> list[Wrong]:
    """Those of a table that can be typed on a command line: text without a NUL."""
    return [entry for entry in entries if isinstance(entry.value, str) and "\0" not in entry.value]


def table(error: type[Exception], says: str, **values: Any) -> list[Wrong]:
    return [Wrong(key.replace("_", " "), value, error, says) for key, value in values.items()]
