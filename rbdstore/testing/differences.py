# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest: what differs in two long values is told at once, in CI too.

Elsewhere pytest tells where two contents begin to differ. In CI it shows all of both, and looks
for lines that are alike: with some hundred KiB that takes minutes, and what failed seems to hang.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeVar

import pytest

T = TypeVar("T")

_LONG: Final = 4000
"""So many characters are some fifty lines, which are compared in a moment."""

_CI: Final = ("CI", "BUILD_NUMBER")
"""What pytest knows it by."""


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(left: object, right: object) -> Generator[None, T, T]:
    if max(len(repr(left)), len(repr(right))) < _LONG:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        for name in _CI:
            patch.delenv(name, raising=False)
        return (yield)
