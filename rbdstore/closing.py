# SPDX-License-Identifier: Apache-2.0
"""What is open until it is closed, and can be used in a ``with``."""

from __future__ import annotations

import abc
import types
from typing import Self


class Closing(abc.ABC):
    @abc.abstractmethod
    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()
